"""`backtest data`: pull or import into the lake, list it, check it, ask it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backtest.cli import assets, calendar, imports, pull
from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, say, say_json
from backtest.cli.rows import Form, FormOption, OutOption, give_rows
from backtest.errors import DataError
from backtest.units import time_text

data = typer.Typer(name="data", help="Pull, import, list, check and query market data.", no_args_is_help=True)


pull.register(data)
imports.register(data)
calendar.register_import(data)
assets.register(data)


def register(app: typer.Typer) -> None:
    app.add_typer(data)


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
        findings = checks.check_paths(paths, time.time_ns() // 1_000_000)
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
    form: FormOption = None,
    out: OutOption = None,
    as_json: Json = False,
) -> None:
    """Ask the lake in SQL: views klines, mark_price, funding_rate, series, … in natural units.

    The gap ledger: ledger, coverage, gaps, sources, corrections, files, listings, findings. A column x_ms is also
    there as the UTC time x.
    """
    from backtest.data.sql import query

    give_rows(query(lake, select, report), Form.json if as_json else form, out)


def _empty(lake: Path) -> str:
    return f"{lake} holds nothing yet; fill it with: backtest data pull majors, or backtest data import PATH"
