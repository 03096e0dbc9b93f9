"""`backtest compare-intervals`: what finer bars change of a study's liquidations."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, progress, say, say_json
from backtest.errors import UsageError


def compare_intervals(
    path: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study, or the folder that holds study.toml.")],
    fine: Annotated[str, typer.Option(help="Length of the finer bars.")] = "1m",
    last_for_mark: Annotated[
        bool, typer.Option("--last-for-mark", help="Let last prices stand in for mark, where no such bars are stored.")
    ] = False,
    lake: LakeFolder = LAKE,
    json_out: Json = False,
) -> None:
    """Replay the same entries on finer bars: which liquidations appear, vanish or move."""
    from backtest.data.stand_in import LastForMark
    from backtest.data.store import Lake
    from backtest.study.config import load_study
    from backtest.study.intervals import compare_intervals as compared
    from backtest.study.runner import study_jobs
    from backtest.units import duration_ms, duration_text

    study = load_study(path)
    try:
        fine_ms = duration_ms(fine)
    except ValueError as error:
        raise UsageError.at("--fine", str(error), "write it like 1m or 5m") from None
    if last_for_mark:
        note("last prices stand in for mark: this compares bars with bars, it does not count the venue's liquidations")
    source = LastForMark(lake) if last_for_mark else Lake(lake)
    with progress("replay", "jobs") as report:
        changes = compared(study, source, fine_ms, study_jobs(study, str(path)), report)
    if json_out:
        say_json([asdict(change) for change in changes])
        return
    own = duration_text(study.market.interval_ms)
    headings = ("strategy", "reaction", "runs", f"liquidated on {own}", f"on {fine}", "appear", "vanish", "move")
    print_table(headings, [list(asdict(change).values()) for change in changes], align="llr")
    say(
        f"appear, vanish: liquidated on {fine} or on {own} bars only; move: on both, but not within the same {own} bar."
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare-intervals")(compare_intervals)
