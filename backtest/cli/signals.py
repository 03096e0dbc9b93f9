"""`backtest signals`: see the signals there are, and the values of one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.options import require_order
from backtest.cli.output import LAKE, Json, LakeFolder, print_table, say, say_json
from backtest.cli.rows import Form, FormOption, OutOption, give_rows
from backtest.errors import UsageError
from backtest.units import time_ms, time_text

if TYPE_CHECKING:
    import pyarrow as pa

    from backtest.signals.kinds import Kind
    from backtest.signals.spec import Signal

SHOWN = 20  # rows that a person is shown
END = "2200-01-01"


def register(app: typer.Typer) -> None:
    app.command("signals")(signals)


def signals(
    name: Annotated[str | None, typer.Argument(help="Show this signal with its parameters, or its values.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Print the values of this instrument.")] = None,
    venue: Annotated[str, typer.Option(help="binance or bybit.")] = "binance",
    interval: Annotated[str, typer.Option(help='Length of its bars, such as "4h"; its own if not said.')] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help='A parameter, such as "window=21"; may be given again.')
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A Python file with signals of your own.")] = None,
    start: Annotated[str, typer.Option(help="First moment, UTC.")] = "1970-01-01",
    stop: Annotated[str, typer.Option(help="End, exclusive.")] = END,
    lake: LakeFolder = LAKE,
    form: FormOption = None,
    out: OutOption = None,
    as_json: Json = False,
) -> None:
    """List the signals that a rule can name, with parameters, limits and one line each; or print one's values."""
    from backtest.data.store import Lake
    from backtest.signals.compute import compute
    from backtest.signals.spec import SignalSpec

    if symbol is None:
        _list(name, file, as_json)
        return
    if name is None:
        raise UsageError.at("--symbol", "needs the name of a signal", "write backtest signals NAME --symbol BTCUSDT")
    given = tuple(_setting(text) for text in settings or ())
    spec = SignalSpec(name, name, interval, given, "" if file is None else str(file))
    span = {"start_ms": _moment("--start", start), "stop_ms": _moment("--stop", stop)}
    require_order(("--start", span["start_ms"]), ("--stop", span["stop_ms"]))
    found = compute(spec, Lake(lake), venue=venue, symbol=symbol, **span)
    give_rows(_rows(found), Form.json if as_json else form, out, SHOWN)


def _list(name: str | None, file: Path | None, as_json: bool) -> None:
    from backtest.signals.compute import find_kind
    from backtest.signals.registry import SIGNALS
    from backtest.signals.spec import SignalSpec
    from backtest.signals.user import load_signal_file

    if name is not None:
        found = [find_kind(SignalSpec(name, name, file="" if file is None else str(file)))[0]]
    else:
        found = list((SIGNALS if file is None else load_signal_file(file)).values())
    if as_json:
        say_json([_form(kind) for kind in found])
        return
    rows = [(kind.name, kind.interval, kind.unit, kind.help, ", ".join(_presets(kind))) for kind in found]
    print_table(("signal", "interval", "unit", "what it gives", "presets"), rows, align="l")
    say("")
    _print_settings(found)


def _presets(kind: Kind) -> list[str]:
    from backtest.signals.registry import PRESETS, SIGNALS

    return [name for name, preset in PRESETS.items() if SIGNALS[preset.use] is kind]


def _print_settings(found: Iterable[Kind]) -> None:
    rows = [
        (kind.name, name, setting.default_text, setting.limits, setting.help)
        for kind in found
        for name, setting in kind.settings.items()
    ]
    print_table(("signal", "parameter", "default", "limits", "meaning"), rows, align="llrrl")


def _form(kind: Kind) -> dict[str, object]:
    params = {
        name: {"default": setting.default, "limits": setting.limits, "help": setting.help}
        for name, setting in kind.settings.items()
    }
    words = {"name": kind.name, "help": kind.help, "unit": kind.unit, "interval": kind.interval}
    return words | {"presets": _presets(kind), "params": params}


def _setting(text: str) -> tuple[str, object]:
    """Read NAME=VALUE; the value as a study file would have it, or else as it stands.

    >>> _setting("edges=[15, 20]"), _setting("price=mark")
    (('edges', [15, 20]), ('price', 'mark'))
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError.at("--set", f'"{text}" sets nothing', 'write --set "window=21"')
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value


def _moment(option: str, text: str) -> int:
    try:
        return time_ms(text)
    except ValueError as error:
        raise UsageError.at(option, str(error)) from None


def _rows(signal: Signal) -> pa.Table:
    import pyarrow as pa

    times = [time_text(at, seconds=True) for at in signal.available_ms.tolist()]
    return pa.table({"available": times, "available_ms": signal.available_ms, "value": signal.value})
