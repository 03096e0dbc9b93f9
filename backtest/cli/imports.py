"""`backtest data import`: files into the lake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.options import clock_option, duration_option, map_option, time_option, zone_option
from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, say_json
from backtest.errors import BacktestError, UsageError

if TYPE_CHECKING:
    from backtest.data.sources.rows import ImportOptions
    from backtest.data.store import MergeResult


def import_(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, or folders to search: freqtrade, Binance Vision, others.")
    ],
    lake: LakeFolder = LAKE,
    venue: Annotated[str | None, typer.Option(help="Venue, where the file does not say: binance, bybit, …")] = None,
    table: Annotated[str | None, typer.Option(help="klines, mark_price, funding_rate, series, asset_marks, …")] = None,
    symbol: Annotated[str | None, typer.Option(help="Symbol, such as BTCUSDT, or the name of a valued asset.")] = None,
    interval: Annotated[str | None, typer.Option(help="Length of a bar, such as 1h; event for other tables.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="COLUMN=FILE_COLUMN for any CSV or Parquet file: time=ts,open=o; or a number."),
    ] = None,
    header: Annotated[str | None, typer.Option(help="Columns of a CSV without a header: time,open,…")] = None,
    time_unit: Annotated[str | None, typer.Option(help="s, ms, us, ns, or a pattern such as %m/%d/%Y.")] = None,
    utc_offset: Annotated[
        str, typer.Option(help="How far the file's clock is ahead of UTC, such as 3h or -5h.")
    ] = "0s",
    scale: Annotated[float, typer.Option(help="Multiply prices by this.")] = 1.0,
    start: Annotated[str | None, typer.Option(help="Take rows from this UTC date or time on.")] = None,
    stop: Annotated[str | None, typer.Option(help="Take rows before this UTC date or time.")] = None,
    available_after: Annotated[
        str | None, typer.Option(help="Series: how long after its time a value is known, such as 1d.")
    ] = None,
    clock: Annotated[
        str | None, typer.Option(help="Series: time of day at which a day of publication (available_ms) published.")
    ] = None,
    zone: Annotated[str, typer.Option(help="Whose clock that is.")] = "America/New_York",
    sort: Annotated[bool, typer.Option("--sort", help="Sort rows that are out of order.")] = False,
    drop_last: Annotated[
        bool, typer.Option("--drop-last", help="Leave out the last bar: it may be unfinished.")
    ] = False,
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Leave out rows without a value.")] = False,
    seen: Annotated[str | None, typer.Option(help="Leverage tiers: the day on which they were in force.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Let new rows win over stored ones.")] = False,
    as_json: Json = False,
) -> None:
    """Import files into the lake; leverage tiers of freqtrade or ccxt become a dated snapshot beside it.

    Importing a file twice changes nothing.
    """
    from backtest.data.sources.rows import ImportOptions

    options = ImportOptions(
        venue=venue,
        table=table,
        symbol=symbol,
        interval=interval,
        columns=map_option(map_ or ()),
        header=tuple(header.split(",")) if header else None,
        time_unit=time_unit,
        utc_offset_ms=_signed_duration("--utc-offset", utc_offset),
        scale=scale,
        start_ms=time_option("--start", start),
        stop_ms=time_option("--stop", stop),
        available_after_ms=duration_option("--available-after", available_after),
        available_at=None if clock is None else clock_option("--clock", clock),
        zone=zone_option("--zone", zone),
        sort=sort,
        drop_last=drop_last,
        drop_empty=drop_empty,
        replace_rows=replace,
    )
    _import(paths, lake, options, seen, as_json=as_json)


def register(app: typer.Typer) -> None:
    app.command("import")(import_)


def _import(paths: Sequence[Path], lake: Path, options: ImportOptions, seen: str | None, *, as_json: bool) -> None:
    """Import what can be imported; then tell all problems of the rest."""
    from backtest.data.imports import import_path
    from backtest.data.readers import columns_taken
    from backtest.data.snapshots import is_tier_file
    from backtest.data.store import Lake

    results: list[MergeResult] = []
    errors: list[BacktestError] = []
    for path in paths:
        try:
            if is_tier_file(path):
                _import_tiers(lake, path, options.venue, seen)
                continue
            report = import_path(Lake(lake), path, options, results.extend)
            if taken := columns_taken(path, options):
                note(f"{path.name}: {', '.join(taken)}")
        except BacktestError as error:
            errors.append(error)
        else:
            for file in report.unrecognised:
                note(f"left alone: {file}; name its columns with --map to import it")
    if results or as_json:
        _print_merges(results, as_json=as_json)
    if errors:
        raise type(errors[0])(*(problem for error in errors for problem in error.problems))


def _import_tiers(lake: Path, path: Path, venue: str | None, seen: str | None) -> None:
    from backtest.data.snapshots import import_tiers

    if venue is None or seen is None:
        raise UsageError.at(path, "does not say of which venue and day it is", "give --venue and --seen 2024-10-24")
    place, refused = import_tiers(lake, path, venue, seen)
    note(f"written: {place}; a study takes it as tiers")
    for symbol, why in refused.items():
        note(f"left out: {symbol}: {' '.join(why.split())}")


def _print_merges(results: Sequence[MergeResult], *, as_json: bool) -> None:
    if as_json:
        names = ("rows_read", "rows_added", "rows_replaced")
        say_json([result.dataset._asdict() | {name: getattr(result, name) for name in names} for result in results])
    else:
        rows = [(*result.dataset, result.rows_read, result.rows_added, result.rows_replaced) for result in results]
        print_table(("venue", "table", "symbol", "interval", "read", "added", "replaced"), rows, align="llllr")


def _signed_duration(option: str, text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    return sign * (duration_option(option, text.lstrip("+-")) or 0)
