"""`backtest data pull`: fetch what a recipe names and the lake lacks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.options import day_option
from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, progress, say, say_json
from backtest.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from backtest.data.manifest import Dataset
    from backtest.data.pull.recipe import Recipe
    from backtest.data.pull.run import Missing, PullReport

_TABLES = "klines,mark_price,funding_rate"


def pull(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe: a file, or the name of one that comes along, such as majors.")
    ] = None,
    lake: LakeFolder = LAKE,
    venue: Annotated[
        str | None, typer.Option(help="Without a recipe: binance, binance-coinm, bybit, cboe or deribit.")
    ] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="Symbols, such as BTCUSDT; may be repeated.")] = None,
    table: Annotated[str, typer.Option(help="Tables, with commas between.")] = _TABLES,
    interval: Annotated[str, typer.Option(help="Length of a bar.")] = "1h",
    start: Annotated[str | None, typer.Option(help="First UTC day; default 2019-09-01.")] = None,
    stop: Annotated[str | None, typer.Option(help="UTC day before which it ends; default: up to yesterday.")] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Bybit klines: from its public files of trades, delisted contracts too.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Where a source has corrected itself, let its new rows win.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be fetched, and fetch nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch history from the venues' archives and interfaces: only what is missing, whole UTC days up to yesterday.

    It may be interrupted; the next call goes on. Stored files are compared with their source by checksum.
    """
    from backtest.data.pull.recipe import read_recipe, read_section
    from backtest.data.pull.run import plan
    from backtest.data.pull.run import pull as pull_recipe
    from backtest.data.store import Lake

    wanted: Recipe
    if recipe is not None:
        wanted = read_recipe(_recipe_file(recipe))
    else:
        days = {"start": day_option("--start", start), "stop": day_option("--stop", stop)}
        section: dict[str, object] = {"venue": venue, "symbols": symbol or [], "tables": table.split(",")}
        section |= {"interval": interval, "archive": archive}
        wanted = read_section(section | {name: day for name, day in days.items() if day}, "options")
    now_ms = time.time_ns() // 1_000_000
    if dry_run:
        _print_plan(plan(Lake(lake), wanted, now_ms), wanted.snapshots, as_json=as_json)
        return
    with progress("pulling", "files") as report:
        done = pull_recipe(Lake(lake), wanted, now_ms, replace_rows=replace, progress=report)
    _print_report(done, as_json=as_json)


def register(app: typer.Typer) -> None:
    app.command("pull")(pull)
    app.command("download", hidden=True)(pull)


def _recipe_file(recipe: str) -> Path:
    """Find a recipe by its path, or by name among those that come along."""
    path = Path(recipe)
    if path.suffix == ".toml" or path.exists():
        return path
    package = Path(__file__).parents[1]
    shipped = package / "_shipped" / "datasets"
    folder = shipped if shipped.is_dir() else package.parent / "datasets"
    known: Mapping[str, Path] = {file.stem: file for file in folder.glob("*.toml")}
    if recipe not in known:
        raise UsageError.at(recipe, "is no recipe", did_you_mean(recipe, known))
    return known[recipe]


def _print_plan(missing: list[Missing], snapshots: tuple[tuple[str, str], ...], *, as_json: bool) -> None:
    if as_json:
        names = ("first", "last", "months", "days", "to_compare", "files")
        say_json([part.dataset._asdict() | {name: getattr(part, name) for name in names} for part in missing])
        return
    for venue, table in snapshots:
        note(f"today's {table} of {venue}, unless they are there")
    if not missing and not snapshots:
        note("nothing is missing")
    if missing:
        rows = [(*p.dataset, p.first or None, p.last or None, p.months, p.days, p.to_compare) for p in missing]
        headings = ("venue", "table", "symbol", "interval", "first", "last", "months", "days", "checksums")
        print_table(headings, rows, align="llllllr")
        for name in (name for part in missing for name in part.files):
            say(f"would fetch: {name}")


def _print_report(done: PullReport, *, as_json: bool) -> None:
    totals: dict[Dataset, list[int]] = {}
    for result in done.results:
        counts = totals.setdefault(result.dataset, [0, 0])
        counts[0] += result.rows_added
        counts[1] += result.rows_replaced
    if as_json:
        say_json(
            {
                "datasets": [
                    dataset._asdict() | {"rows_added": added, "rows_replaced": replaced}
                    for dataset, (added, replaced) in totals.items()
                ],
                "snapshots": done.snapshots,
                "revised": done.revised,
                "absent": {str(dataset): [p.text for p in absent] for dataset, absent in done.absent.items()},
                "requests": done.requests,
            }
        )
        return
    for dataset, absent in done.absent.items():
        note(f"{dataset}: no source has {_spans([period.text for period in absent])}")
    for name in done.revised:
        note(f"{name} has changed at its source since it was stored")
    for path in done.snapshots:
        note(f"written: {path}")
    if totals:
        rows = [(*dataset, *counts) for dataset, counts in totals.items()]
        print_table(("venue", "table", "symbol", "interval", "added", "replaced"), rows, align="llllr")
    else:
        note("nothing was missing")


def _spans(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} periods, {min(names)} to {max(names)}"
