"""Rows on their way into the lake: what a reader hands over, and the checks that every row must pass.

A reader only names columns and units. Everything else is decided here, once: options, validation with all problems at
once, `available_ms`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from backtest.data import detect
from backtest.data.detect import Floats, Ints, Prices
from backtest.data.manifest import Dataset
from backtest.errors import Problem, UsageError
from backtest.schema import INTERVAL_TABLES
from backtest.units import duration_text, time_text

# Prices of these tables are positive; a premium may be negative.
PRICE_TABLES = ("klines", "mark_price", "index_price")
PRICE_COLUMNS = Prices._fields
MARGIN_COLUMNS = ("initial_margin", "maintenance_margin")
_TO_MS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the user says about a file; None where the file's own name or format says it.

    `columns` maps table columns to file columns ("time" is the table's time), or to a number that stands in every row.
    `header` names the columns of a file that does not. `time_unit` is "s", "ms", "us", "ns",
    or a pattern such as "%m/%d/%Y" for text. `utc_offset_ms` is what the file's clock is ahead of UTC. `available_at`
    is the time of day, by the clocks of `zone`, at which what a column of days calls published was published.
    """

    venue: str | None = None
    table: str | None = None
    symbol: str | None = None
    interval: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    header: tuple[str, ...] | None = None
    time_unit: str | None = None
    utc_offset_ms: int = 0
    scale: float = 1.0
    start_ms: int | None = None
    stop_ms: int | None = None
    available_after_ms: int | None = None
    available_at: dt.time | None = None
    zone: ZoneInfo | None = None
    sort: bool = False
    drop_last: bool = False
    drop_empty: bool = False
    replace_rows: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one dataset as a file has them: columns by table name, times raw in `time_unit`, NaN where missing."""

    path: Path
    dataset: Dataset
    time: Ints
    values: Mapping[str, Floats]
    time_unit: str = "ms"
    label: str = ""  # tells datasets of one file apart in messages
    line: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.line):
            object.__setattr__(self, "line", np.arange(1, len(self.time) + 1))

    def take(self, index: Ints, symbol: str | None = None) -> Rows:
        """Give some of the rows, as another symbol's where one is named."""
        values = {name: column[index] for name, column in self.values.items()}
        taken = replace(self, time=self.time[index], values=values, line=self.line[index])
        if symbol is None:
            return taken
        return replace(taken, dataset=self.dataset._replace(symbol=symbol), label=f" {symbol}")


def settle(rows: Rows, options: ImportOptions) -> tuple[Rows, list[Problem]]:
    """Bring raw rows to UTC milliseconds and apply the user's options; report times in another unit than declared."""
    problems = list(_unit_problems(rows))
    if problems:
        return rows, problems
    times, over = _TO_MS[rows.time_unit]
    if over > 1 and (rows.time % over).any():
        at = int(np.flatnonzero(rows.time % over)[0])
        return rows, [Problem(_where(rows, at), f"time {rows.time[at]} {rows.time_unit} is not a whole millisecond")]
    time_ms = rows.time * times // over - options.utc_offset_ms
    scaled = {
        name: column * options.scale
        if name in (*PRICE_COLUMNS, *MARGIN_COLUMNS, "value") and options.scale != 1
        else column
        for name, column in rows.values.items()
    }
    rows = replace(rows, time=time_ms, values=scaled, time_unit="ms")
    if options.sort:
        rows = rows.take(np.argsort(rows.time, kind="stable"))
    keep = np.ones(len(rows.time), bool)
    if options.start_ms is not None:
        keep &= rows.time >= options.start_ms
    if options.stop_ms is not None:
        keep &= rows.time < options.stop_ms
    if options.drop_empty:
        keep &= ~np.isnan(rows.values["value" if "value" in rows.values else "open"])
    if options.drop_last and rows.dataset.table in INTERVAL_TABLES and keep.any():
        keep[np.flatnonzero(keep)[-1]] = False
    return (rows if keep.all() else rows.take(np.flatnonzero(keep))), []


def validate(rows: Rows) -> list[Problem]:
    """List everything that is wrong with settled rows: one problem a kind of defect, with its first row and count."""
    if not len(rows.time):
        return [Problem(rows.path.name, "has no rows")]
    return list(_order_problems(rows)) + list(_value_problems(rows))


def to_frame(rows: Rows, options: ImportOptions) -> pa.Table:
    """Give validated rows as a table of the lake's schema, `available_ms` included."""
    table = rows.dataset.schema
    columns: dict[str, pa.Array] = {table.key[0]: pa.array(rows.time)}
    for column in table.columns:
        values = rows.values.get(column.name)
        if values is not None and column.type == "int64":
            missing = np.isnan(values)
            columns[column.name] = pa.array(np.where(missing, 0, values).astype(np.int64), mask=missing)
        elif values is not None:
            columns[column.name] = pa.array(values, pa.float64(), from_pandas=True)
        elif column.name not in columns:
            columns[column.name] = pa.nulls(len(rows.time), pa.int64() if column.type == "int64" else pa.float64())
    if "available_ms" not in rows.values:
        columns["available_ms"] = pa.array(rows.time + _known_after_ms(rows, options))
    return pa.table([columns[name] for name in table.names], schema=table.arrow())


def _known_after_ms(rows: Rows, options: ImportOptions) -> int:
    if rows.dataset.interval_ms is not None:
        return rows.dataset.interval_ms
    if rows.dataset.table == "series" and options.available_after_ms is None:
        raise UsageError(
            Problem(
                rows.path.name,
                "nothing says when the values were published",
                "map available_ms to a column, or say how long after its time a value is known (--available-after 1d)",
            )
        )
    return options.available_after_ms or 0


def _unit_problems(rows: Rows) -> Iterator[Problem]:
    if rows.dataset.table == "series":  # values may speak of any year
        return
    units = detect.time_units(rows.time)
    wrong = np.flatnonzero(units != detect.UNITS.index(rows.time_unit))
    if wrong.size:
        found = detect.UNITS[int(units[wrong[0]])]
        yield Problem(
            _where(rows, int(wrong[0])),
            f"time {rows.time[wrong[0]]} is in {found}, not {rows.time_unit} ({wrong.size} rows)",
            f"say so with the time unit {found}" if wrong.size == len(rows.time) else "the file mixes units; repair it",
        )


def _order_problems(rows: Rows) -> Iterator[Problem]:
    unsorted = detect.out_of_order(rows.time)
    if unsorted.size:
        yield _problem(rows, unsorted, "is earlier than the row before it", "sort the file, or import it with sort")
    again = np.empty(0, np.int64)
    if rows.dataset.table != "series" or "available_ms" not in rows.values:  # a value may be published anew
        funding = rows.dataset.table == "funding_rate"
        again = detect.repeated(detect.settlement_minute(rows.time) if funding else rows.time)
    if again.size:
        yield _problem(rows, again, f"repeats {time_text(int(rows.time[again[0]]))}", "remove the repeated rows")
    bar_ms, step = rows.dataset.interval_ms, detect.usual_step(rows.time)
    if bar_ms is not None and step is not None and step > 0 and step != bar_ms:
        wanted, found = duration_text(bar_ms), duration_text(step)
        yield Problem(rows.path.name, f"is taken as {wanted} bars, but most rows are {found} apart")


def _value_problems(rows: Rows) -> Iterator[Problem]:
    table, values = rows.dataset.table, rows.values
    if table == "asset_marks":
        yield from _asset_problems(rows)
    for name in (name for name in PRICE_COLUMNS if name in values and table != "asset_marks"):
        bad = detect.bad_prices(values[name]) if table in PRICE_TABLES else detect.bad_numbers(values[name], 1e3)
        if bad.size:
            remedy = "a price is a number over 0 and under 9e10" if table in PRICE_TABLES else "a premium is a fraction"
            yield _problem(rows, bad, f"{name} is {values[name][bad[0]]}", remedy)
    if table in INTERVAL_TABLES:
        wrong = detect.ohlc_contradictions(Prices(*(values[name] for name in PRICE_COLUMNS)))
        if wrong.size:
            bar = ", ".join(f"{name} {values[name][wrong[0]]}" for name in PRICE_COLUMNS)
            yield _problem(rows, wrong, f"bar contradicts itself: {bar}", "correct or remove the bar")
    for name in ("volume", "quote_volume", "trade_count"):
        negative = np.flatnonzero(values[name] < 0) if name in values else np.empty(0, np.int64)
        if negative.size:
            yield _problem(rows, negative, f"{name} is {values[name][negative[0]]}", "it cannot be negative")
    for name, limit in (("funding_rate", 1.0), ("value", np.inf)):
        bad = detect.bad_numbers(values[name], limit) if name in values else np.empty(0, np.int64)
        if bad.size:
            remedy = "a rate is a fraction, 0.0001 for 0.01 %" if name == "funding_rate" else "drop empty rows"
            yield _problem(rows, bad, f"{name} is {values[name][bad[0]]}", remedy)


def _asset_problems(rows: Rows) -> Iterator[Problem]:
    for name in (*PRICE_COLUMNS, *MARGIN_COLUMNS):
        bad = detect.bad_values(rows.values[name])
        if bad.size:
            yield _problem(rows, bad, f"{name} is {rows.values[name][bad[0]]}", "it is 0 or more, and under 9e10")
    initial, maintenance = (rows.values[name] for name in MARGIN_COLUMNS)
    over = np.flatnonzero(maintenance > initial)
    if over.size:
        what = f"maintenance_margin {maintenance[over[0]]} is over initial_margin {initial[over[0]]}"
        yield _problem(rows, over, what, "an asset is opened with no less than it is held with: correct the margins")


def _problem(rows: Rows, index: Ints, what: str, remedy: str) -> Problem:
    count = f" ({index.size} rows)" if index.size > 1 else ""
    return Problem(_where(rows, int(index[0])), what + count, remedy)


def _where(rows: Rows, row: int) -> str:
    return f"{rows.path.name}{rows.label} row {rows.line[row]}"
