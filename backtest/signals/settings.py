"""Parameters of signals: their defaults, limits and meaning, and how a value that a user gives is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from backtest.errors import Problem, SignalError, did_you_mean

Value = float | int | str | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One parameter. `read` gives the typed value, or raises ValueError where it is none; `limits` says what is one."""

    default: Value
    limits: str
    help: str
    read: Callable[[object], Value]

    @property
    def default_text(self) -> str:
        """Write the default as a study file would, without quotes."""
        if isinstance(self.default, tuple):
            return ", ".join(f"{value:g}" for value in self.default)
        return self.default if isinstance(self.default, str) else f"{self.default:g}"


def number(default: float, *, low: float, high: float, help: str) -> Setting:
    """Declare a number with its limits and one line of help that names the unit.

    >>> number(30, low=0, high=100, help="level of the RSI").read(25)
    25.0
    """
    return Setting(float(default), f"{low:g} to {high:g}", help, lambda raw: _number(raw, low, high))


def whole(default: int, *, low: int, high: int, help: str) -> Setting:
    """Declare a whole number, such as a count of bars."""

    def read(raw: object) -> int:
        value = _number(raw, low, high)
        if value != int(value):
            raise ValueError
        return int(value)

    return Setting(default, f"{low} to {high}, whole", help, read)


def numbers(default: Sequence[float], *, low: float, high: float, help: str) -> Setting:
    """Declare numbers in ascending order."""

    def read(raw: object) -> tuple[float, ...]:
        if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
            raise ValueError
        values = tuple(_number(part, low, high) for part in raw)
        if list(values) != sorted(set(values)):
            raise ValueError
        return values

    return Setting(tuple(map(float, default)), f"ascending, {low:g} to {high:g}", help, read)


def choice(default: str, options: Sequence[str], *, help: str) -> Setting:
    """Declare one word of several."""

    def read(raw: object) -> str:
        if not isinstance(raw, str) or raw not in options:
            raise ValueError
        return raw

    return Setting(default, " | ".join(options), help, read)


def series(default: str, *, help: str) -> Setting:
    """Declare a series of the lake, as venue/symbol."""

    def read(raw: object) -> str:
        if not isinstance(raw, str) or (raw and raw.count("/") != 1):
            raise ValueError
        return raw

    return Setting(default, "venue/symbol", help, read)


def price_or_series(default: str, prices: Iterable[str], *, help: str) -> Setting:
    """Declare one of the prices, or a series of the lake as venue/symbol."""
    names = tuple(prices)

    def read(raw: object) -> str:
        if not isinstance(raw, str) or not (raw in names or raw.count("/") == 1):
            raise ValueError
        return raw

    return Setting(default, " | ".join((*names, "venue/symbol")), help, read)


def text(*, help: str) -> Setting:
    """Declare a text."""

    def read(raw: object) -> str:
        if not isinstance(raw, str):
            raise ValueError
        return raw

    return Setting("", "text", help, read)


def _number(raw: object, low: float, high: float) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not low <= raw <= high:
        raise ValueError
    return float(raw)


def read_settings(settings: Mapping[str, Setting], given: Mapping[str, object], where: str) -> SimpleNamespace:
    """Complete and check parameters, all problems at once.

    Raises `SignalError` for a name that is no parameter and for a value that is not within the limits.
    """
    problems = []
    values = {name: setting.default for name, setting in settings.items()}
    for name, raw in given.items():
        setting = settings.get(name)
        if setting is None:
            problems.append(Problem(where, f'no parameter "{name}"', did_you_mean(name, settings)))
            continue
        try:
            values[name] = setting.read(raw)
        except ValueError:
            remedy = f"give {setting.limits} ({setting.help})"
            problems.append(Problem(where, f"{name} = {raw!r} is out of range", remedy))
    if problems:
        raise SignalError(*problems)
    return SimpleNamespace(**values)
