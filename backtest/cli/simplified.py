"""`backtest simplified`: how many liquidations each simplification of the margin rules gets wrong."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, progress, say, say_json

if TYPE_CHECKING:
    from backtest.study.simplified import Count, LadderCount

LARGER = 100  # the second capital, where none is given: large enough that tier 2 and above matter


def simplified(
    path: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study, or the folder that holds study.toml.")],
    lake: LakeFolder = LAKE,
    capital: Annotated[
        list[str] | None,
        typer.Option(help="Capital of a position; repeat it for more. Default: the study's, and a hundred times it."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for simplified.csv; default: beside the study.")] = None,
    json_out: Json = False,
) -> None:
    """Count the liquidations that simplified margin rules miss or invent, on the `hold` positions of a study."""
    from backtest.data.disk import write_atomic
    from backtest.data.store import Lake
    from backtest.engine.compile import is_compiled
    from backtest.study.config import load_study
    from backtest.study.simplified import count, count_ladder, counts_csv, judge_all

    study = load_study(path)
    capitals = [_capital(text) for text in capital] if capital else [study.capital_e8, LARGER * study.capital_e8]
    if not is_compiled():
        note("compiling the replay for this machine: about a minute, once")
    with progress("replay", "groups") as report:
        verdicts = judge_all(study, Lake(lake), capitals, report)
    counts, ladder = count(verdicts), count_ladder(verdicts)
    folder = out or (path if path.is_dir() else path.parent)
    write_atomic(folder / "simplified.csv", counts_csv(counts).encode())
    if json_out:
        say_json({"rules": [asdict(row) for row in counts], "ladder": [asdict(row) for row in ladder]})
        return
    _print(counts, ladder)
    say("")
    say(f"by leverage too: {folder / 'simplified.csv'}")


def _capital(text: str) -> int:
    from backtest.errors import UsageError
    from backtest.units import e8_text, to_e8

    try:
        value_e8 = to_e8(text.replace("_", ""))
    except ValueError as error:
        raise UsageError.at("--capital", str(error), "write an amount such as 10_000") from None
    if not 0 < value_e8 <= to_e8(1_000_000_000):
        raise UsageError.at("--capital", f"is {e8_text(value_e8)}", "take more than 0, at most 1_000_000_000")
    return value_e8


def _print(counts: list[Count], ladder: list[LadderCount]) -> None:
    whole = [row for row in counts if row.leverage_e2 is None]
    for capital_e8 in dict.fromkeys(row.capital_e8 for row in whole):
        rows = [row for row in whole if row.capital_e8 == capital_e8]
        _print_rules(capital_e8, rows)
        _print_symbols(rows)
        _print_ladder([row for row in ladder if row.capital_e8 == capital_e8])


def _print_rules(capital_e8: int, rows: list[Count]) -> None:
    from backtest.study.simplified import ALL

    overall = [row for row in rows if row.symbol == ALL]
    say("")
    print_table(
        ("rule", "liquidations", "missed", "false", "wrong", "early", "median h", "late", "median h"),
        [
            (
                row.rule,
                row.liquidations,
                row.missed,
                row.false_alarms,
                _percent(row.wrong_share),
                row.early,
                _hours(row.hours_early),
                row.late,
                _hours(row.hours_late),
            )
            for row in overall
        ],
        title=f"Capital {_amount(capital_e8)}: {overall[0].positions:,} positions that the venue accepts, all symbols",
    )


def _print_symbols(rows: list[Count]) -> None:
    symbols = list(dict.fromkeys(row.symbol for row in rows))
    cell = {(row.rule, row.symbol): row for row in rows}
    say("")
    print_table(
        ("rule", *symbols),
        [
            (rule, *(_errors(cell[rule, symbol], first=place == 0) for symbol in symbols))
            for place, rule in enumerate(dict.fromkeys(row.rule for row in rows))
        ],
        title="Missed + false, by symbol (full rule: liquidations)",
    )


def _print_ladder(rows: list[LadderCount]) -> None:
    say("")
    print_table(
        (
            "symbol",
            "liquidations",
            "in tier 2+",
            "share",
            "highest tier",
            "in part only",
            "no ladder: never",
            "no ladder: late",
            "median h",
        ),
        [
            (
                row.symbol,
                row.liquidations,
                row.upper,
                _percent(row.upper / row.liquidations if row.liquidations else None),
                row.highest,
                row.partial,
                row.missed,
                row.late,
                _hours(row.hours_late),
            )
            for row in rows
        ],
        title="Liquidations in tier 2 or above, and the same at the rate of tier 1",
    )


def _errors(row: Count, *, first: bool) -> str:
    return f"{row.liquidations:,}" if first else f"{row.missed:,} + {row.false_alarms:,}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def _hours(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _amount(value_e8: int) -> str:
    from backtest.units import E8

    return f"{value_e8 / E8:,.0f}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simplified)
