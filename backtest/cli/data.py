"""`backtest data`: pull or import into the lake, list it, check it, ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli import pull
from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, say, say_json
from backtest.cli.rows import encoded, print_rows
from backtest.errors import BacktestError, DataError, UsageError
from backtest.units import duration_ms, time_ms, time_text

if TYPE_CHECKING:
    from backtest.data.store import MergeResult


class Form(StrEnum):
    """How rows are written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


data = typer.Typer(name="data", help="Pull, import, list, check and query market data.", no_args_is_help=True)


pull.register(data)


def register(app: typer.Typer) -> None:
    app.add_typer(data)


@data.command("import")
def import_(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, or folders to search: freqtrade, Binance Vision, others.")
    ],
    lake: LakeFolder = LAKE,
    venue: Annotated[str | None, typer.Option(help="Venue, where the file does not say: binance, bybit, …")] = None,
    table: Annotated[str | None, typer.Option(help="klines, mark_price, index_price, funding_rate, series, …")] = None,
    symbol: Annotated[str | None, typer.Option(help="Symbol, such as BTCUSDT.")] = None,
    interval: Annotated[str | None, typer.Option(help="Length of a bar, such as 1h; event for other tables.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="COLUMN=FILE_COLUMN for any CSV or Parquet file; time=ts, open=o …"),
    ] = None,
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
    sort: Annotated[bool, typer.Option("--sort", help="Sort rows that are out of order.")] = False,
    drop_last: Annotated[
        bool, typer.Option("--drop-last", help="Leave out the last bar: it may be unfinished.")
    ] = False,
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Leave out rows without a value.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Let new rows win over stored ones.")] = False,
    as_json: Json = False,
) -> None:
    """Import files into the lake. Importing a file twice changes nothing."""
    from backtest.data.imports import import_path
    from backtest.data.sources.rows import ImportOptions
    from backtest.data.store import Lake

    options = ImportOptions(
        venue=venue,
        table=table,
        symbol=symbol,
        interval=interval,
        columns=_columns(map_ or ()),
        time_unit=time_unit,
        utc_offset_ms=_signed_duration("--utc-offset", utc_offset),
        scale=scale,
        start_ms=_time("--start", start),
        stop_ms=_time("--stop", stop),
        available_after_ms=_duration("--available-after", available_after),
        sort=sort,
        drop_last=drop_last,
        drop_empty=drop_empty,
        replace_rows=replace,
    )
    results: list[MergeResult] = []
    errors: list[BacktestError] = []
    for path in paths:
        try:
            report = import_path(Lake(lake), path, options, results.extend)
        except BacktestError as error:
            errors.append(error)
        else:
            for file in report.unrecognised:
                note(f"left alone: {file}; name its columns with --map to import it")
    _print_merges(results, as_json=as_json)
    if errors:
        raise type(errors[0])(*(problem for error in errors for problem in error.problems))


def _print_merges(results: Sequence[MergeResult], *, as_json: bool) -> None:
    if as_json:
        names = ("rows_read", "rows_added", "rows_replaced")
        say_json([result.dataset._asdict() | {name: getattr(result, name) for name in names} for result in results])
    elif results:
        rows = [(*result.dataset, result.rows_read, result.rows_added, result.rows_replaced) for result in results]
        print_table(("venue", "table", "symbol", "interval", "read", "added", "replaced"), rows, align="llllr")


@data.command("ls")
def ls(lake: LakeFolder = LAKE, as_json: Json = False) -> None:
    """List what the lake holds: ranges, rows, missing bars."""
    from backtest.data.store import Lake

    coverage = Lake(lake).coverage()
    if as_json:
        names = ("first_ms", "last_ms", "rows", "missing", "files", "sources")
        say_json([held.dataset._asdict() | {name: getattr(held, name) for name in names} for held in coverage])
        return
    if not coverage:
        note(_empty(lake))
        return
    rows = [
        (*held.dataset, time_text(held.first_ms), time_text(held.last_ms), held.rows, held.missing) for held in coverage
    ]
    print_table(("venue", "table", "symbol", "interval", "first", "last", "rows", "missing"), rows, align="llllllr")


@data.command("check")
def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders to check before an import.")] = None,
    lake: LakeFolder = LAKE,
    venue: Annotated[str | None, typer.Option(help="Only this venue.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    as_json: Json = False,
) -> None:
    """List gaps, repeats, contradictions and unit mistakes, in the lake or in files; repair nothing.

    Exit code 4 where there is an error among them.
    """
    from backtest.data import check as checks
    from backtest.data.store import Lake

    if paths:
        findings = [finding for path in paths for file in _files(path) for finding in checks.check_file(file)]
    else:
        findings = checks.check(Lake(lake), venue=venue, symbol=symbol, table=table)
        if not Lake(lake).datasets():
            note(_empty(lake))
    if as_json:
        say_json([asdict(finding) for finding in findings])
    for finding in () if as_json else findings:
        say(str(finding))
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(DataError.exit_code)


@data.command("sql")
def sql(
    select: Annotated[
        str, typer.Argument(help='One SELECT, such as "SELECT symbol, max(high) FROM mark_price GROUP BY 1".')
    ],
    lake: LakeFolder = LAKE,
    report: Annotated[
        Path | None, typer.Option(help="Folder of a report: adds outcomes, transfers, fills and actions.")
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="How to print it; default: by the name of --out, else table.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a file (.csv, .json, .parquet) instead.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the lake in SQL: views klines, mark_price, funding_rate, coverage, gaps, … in natural units.

    A column x_ms is also there as the UTC time x.
    """
    from backtest.data.sql import query

    rows = query(lake, select, report)
    form = Form.json if as_json else form or _form_of(out)
    if form is Form.table and out is None:
        print_rows(rows)
    elif out is None and form is Form.parquet:
        raise UsageError.at("--format parquet", "cannot be printed", "name a file with --out")
    elif out is None:
        say(encoded(rows, form.value).decode().rstrip("\n"))
    else:
        from backtest.data.disk import write_atomic

        write_atomic(out, encoded(rows, form.value))
        note(f"{rows.num_rows:,} rows in {out}")


def _form_of(out: Path | None) -> Form:
    if out is None:
        return Form.table
    try:
        return Form(out.suffix.removeprefix("."))
    except ValueError:
        raise UsageError.at(
            out, "does not say its form", "end it in .csv, .json or .parquet, or give --format"
        ) from None


def _empty(lake: Path) -> str:
    return f"{lake} holds nothing yet; fill it with: backtest data pull majors, or backtest data import PATH"


def _files(path: Path) -> list[Path]:
    """Give a file itself, or the files of a folder that a reader recognises."""
    from backtest.data.imports import reader_of

    return [file for file in sorted(path.rglob("*")) if file.is_file() and reader_of(file)] if path.is_dir() else [path]


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    """Read `--map open=o --map close=c`, or all in one with commas."""
    columns: dict[str, str] = {}
    for pair in ",".join(pairs).split(",") if pairs else ():
        column, sign, file_column = pair.partition("=")
        if not (column and sign and file_column):
            raise UsageError.at("--map", f'"{pair}" is not COLUMN=FILE_COLUMN', "write it like time=ts,open=o")
        columns[column.strip()] = file_column.strip()
    return columns


def _duration(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else duration_ms(text)
    except ValueError as error:
        raise UsageError.at(option, str(error)) from None


def _signed_duration(option: str, text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    return sign * (_duration(option, text.lstrip("+-")) or 0)


def _time(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else time_ms(text)
    except ValueError as error:
        raise UsageError.at(option, str(error)) from None
