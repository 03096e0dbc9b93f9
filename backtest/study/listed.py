"""Entries from a list: written out in the study, or read from a file of trades (CSV, freqtrade's results)."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from backtest.engine.plan import NONE
from backtest.study import reader
from backtest.study.naming import SIDES, leverage_text, side_name
from backtest.study.reader import BadValueError, Section
from backtest.units import time_ms, time_text
from backtest.venues.symbols import normalize_symbol

T = TypeVar("T")
Row = Mapping[str, Any]

# What the columns are called: by us, by freqtrade, by vectorbt. Names are compared in small letters, `_` for a space.
TIME = ("time", "entry_time", "entry_ms", "open_timestamp", "open_date", "entry_timestamp", "entry_index")
SYMBOL = ("symbol", "pair", "column")
SIDE = ("side", "direction", "is_short")
LEVERAGE = ("leverage",)
UNTIL = ("exit_time", "exit_ms", "close_timestamp", "close_date", "exit_timestamp", "exit_index")
SHOWN = 10  # problems of one file that are told
YES_NO = {"true": "short", "false": "long", "1": "short", "0": "long"}

_LEVERAGE = reader.scaled(100, "1", "1000")
_SIDE = reader.choice(*SIDES)


@dataclass(frozen=True, slots=True, order=True)
class Listed:
    """One entry of a list, at a bar's open."""

    time_ms: int
    symbol: str
    side: int
    leverage_e2: int
    until_ms: int = NONE  # its own end; NONE: the study's horizon

    @property
    def text(self) -> str:
        """Write the entry as a study holds it.

        >>> Listed(1621296000000, "BTCUSDT", 1, 1000, 1621339200000).text
        '2021-05-18T00:00:00 BTCUSDT long 10x until 2021-05-18T12:00:00'
        """
        until = "" if self.until_ms == NONE else f" until {_text(self.until_ms)}"
        return f"{self.form}{until}"

    @property
    def form(self) -> str:
        """Write what makes the entry another one than others."""
        return f"{_text(self.time_ms)} {self.symbol} {side_name(self.side)} {leverage_text(self.leverage_e2)}"


def _text(ms: int) -> str:
    return time_text(ms, seconds=True).replace(" ", "T")


@dataclass(frozen=True, slots=True)
class Frame:
    """What the entries of a list must fit: the study's market."""

    venue: str
    symbols: tuple[str, ...]
    interval_ms: int
    start_ms: int
    stop_ms: int

    def entry(self, time: object, symbol: object, side: object, leverage: object, until: object = None) -> Listed:
        """Check one entry; a time between two bars is moved to the next open.

        Raises BadValueError for what cannot be an entry here.
        """
        moment = self._open(time)
        name = normalize_symbol(str(symbol), self.venue)
        if name not in self.symbols:
            raise BadValueError(f"{name} is no symbol of the study", "add it to market.symbols, or take the entry out")
        if not self.start_ms <= moment < self.stop_ms:
            raise BadValueError(f"{time_text(moment)} is not between start and stop", "widen them, or take it out")
        word = str(side).strip().lower()
        end = NONE if until in (None, "") else self._open(until)
        if end != NONE and end <= moment:
            raise BadValueError(f"ends at {time_text(end)}, not after its entry", "mend its end, or take it out")
        return Listed(moment, name, SIDES[_SIDE(YES_NO.get(word, word))], _LEVERAGE(leverage), end)

    def _open(self, time: object) -> int:
        return -(-_moment(time) // self.interval_ms) * self.interval_ms


def _moment(raw: object) -> int:
    text = str(raw).strip()
    if text.isdecimal():
        return int(text)
    try:
        return time_ms(text)
    except ValueError:
        raise BadValueError(f"{text!r} is no time", "write it as 2021-05-18T12:00, UTC, or as epoch ms") from None


def read_listed(section: Section, frame: Frame, folder: Path) -> tuple[Listed, ...]:
    """Read the entries that `list` writes out or the file `from` holds, in order of time.

    An entry may have an end of its own, before the study's horizon. In a file, a missing column of symbols is filled
    from the study's, of sides or leverages from the section's `side` or `leverage`, where that is one value.
    """
    if section.has("list"):
        lines = section.get("list", _lines)
        rows = [(f"entry {n}", lambda line=line: frame.entry(*_words(line))) for n, line in enumerate(lines or (), 1)]
        return _checked(section, "list", rows)
    defaults: dict[tuple[str, ...], Sequence[object]] = {
        SYMBOL: frame.symbols,
        SIDE: tuple(section.many("side", _SIDE, ()) or ()),
        LEVERAGE: tuple(section.many("leverage", _decimal, ()) or ()),
        UNTIL: (None,),
    }
    path = folder / (section.get("from", reader.text("[^\n]+", "a file", '"trades.csv"')) or "")
    if not section.ok:
        return ()
    try:
        table = _rows_of(path)
        known = (TIME, SYMBOL, SIDE, LEVERAGE, UNTIL)
        columns = [_column(table, names, defaults.get(names, ())) for names in known]
    except BadValueError as bad:
        section.problem("from", f"{path}: {bad.what}", bad.remedy)
        return ()
    rows = [
        (f"{path} row {n}", lambda row=row: frame.entry(*(column(row) for column in columns)))
        for n, row in enumerate(table, 1)
    ]
    return _checked(section, "from", rows)


def _lines(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list | tuple) or not raw or not all(isinstance(line, str) for line in raw):
        raise BadValueError("is not a list of entries", 'write ["2021-05-18T00:00 BTCUSDT long 10x", …]')
    return tuple(raw)


def _words(line: str) -> list[str]:
    words = line.split()
    if len(words) not in (4, 6) or words[4:5] not in ([], ["until"]):
        raise BadValueError(f'"{line}" is no entry', "write it as time, symbol, side and leverage, and until its end")
    return [*words[:3], words[3].removesuffix("x"), *words[5:]]


def _decimal(raw: object) -> Decimal:
    return Decimal(_LEVERAGE(raw)) / 100


def _checked(section: Section, key: str, rows: Sequence[tuple[str, Callable[[], Listed]]]) -> tuple[Listed, ...]:
    """Check every entry, note the first problems, and give the entries in order of time."""
    entries: dict[str, tuple[Listed, str]] = {}
    problems = []
    for place, check in rows:
        try:
            entry = check()
            if entry.form in entries:
                raise BadValueError(f"{entry.form} is {entries[entry.form][1]} already", "take one of them out")
            entries[entry.form] = entry, place
        except BadValueError as bad:
            problems.append((f"{place}: {bad.what}", bad.remedy))
    for what, remedy in problems[:SHOWN]:
        section.problem(key, what, remedy)
    if len(problems) > SHOWN:
        section.problem(key, f"and {len(problems) - SHOWN} more")
    if not rows:
        section.problem(key, "holds no entry")
    return tuple(sorted(entry for entry, _ in entries.values()))


def lines_of(rows: Sequence[Mapping[Any, Any]], symbol: object, side: object, leverage: object) -> list[str]:
    """Write trades as the lines of a `list`; what is not None holds for every row, whatever its columns say.

    Raises BadValueError for a column that is missing.
    """
    named = [{_plain(str(name)): value for name, value in row.items()} for row in rows]
    given = {SYMBOL: symbol, SIDE: side, LEVERAGE: leverage}
    columns = [
        _column(named, names, [None] if names == UNTIL else [])
        for names in (TIME, SYMBOL, SIDE, LEVERAGE, UNTIL)
        if given.get(names) is None
    ]
    lines = []
    for row in named:
        found = iter([_word(column(row)) for column in columns])
        time = next(found)
        name, word, level = (next(found) if value is None else str(value) for value in given.values())
        until = next(found)
        end = f" until {until}" if until else ""
        lines.append(f"{time} {name} {YES_NO.get(word.lower(), word)} {level}{end}")
    return lines


def _word(value: object) -> str:
    """Write a value without a space; what is missing, NaN and NaT included, is empty."""
    if value is None or value != value:
        return ""
    return str(value.isoformat()) if isinstance(value, dt.date) else str(value).strip().replace(" ", "T")


# --- files ---------------------------------------------------------------------------------------------------------


def _rows_of(path: Path) -> list[Row]:
    """Read a file of trades: CSV, freqtrade's JSON, or the zip that freqtrade keeps it in."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadValueError(f"cannot be read ({error.strerror})", "check the path; it begins at the study") from None
    try:
        if path.suffix == ".zip":
            content = _from_zip(content)
        text = content.decode("utf-8-sig")
        rows = (
            _trades(json.loads(text)) if path.suffix in (".json", ".zip") else list(csv.DictReader(io.StringIO(text)))
        )
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadValueError(f"is no file of trades ({error})", "take CSV, or what freqtrade exports") from None
    return [{_plain(str(name)): value for name, value in row.items()} for row in rows]


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _from_zip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [
            n for n in archive.namelist() if n.endswith(".json") and not n.endswith(("_config.json", ".meta.json"))
        ]
        if len(names) != 1:
            raise KeyError(f"{len(names)} results in it")
        return archive.read(names[0])


def _trades(content: Any) -> list[Row]:
    """Find the trades: a list of them, or freqtrade's results of one strategy."""
    if isinstance(content, dict):
        strategies = content["strategy"]
        if len(strategies) != 1:
            raise ValueError(f"it holds {len(strategies)} strategies")
        content = next(iter(strategies.values()))["trades"]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("its trades are no list of tables")
    return content


def _column(rows: Sequence[Row], names: Sequence[str], default: Sequence[T]) -> Callable[[Row], object]:
    """Give how a value is found in a row: by the first column of these names, else the one default."""
    known = rows[0] if rows else {}
    found = next((name for name in names if name in known), None)
    if found is not None:
        return lambda row: row[found]
    if len(default) == 1:
        return lambda row: default[0]
    raise BadValueError(f"has no column {' or '.join(names[:2])}", "add it" + _or_default(names))


def _or_default(names: Sequence[str]) -> str:
    return f", or set entries.{names[0]} to one value" if names in (SIDE, LEVERAGE) else ""
