"""`backtest lookahead`: does any decision of a study change when the future does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backtest.cli.output import LAKE, Json, LakeFolder, print_table, progress, say, say_json
from backtest.errors import RuleError

SHOWN = 20


def lookahead(
    path: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study, or the folder that holds study.toml.")],
    lake: LakeFolder = LAKE,
    json_out: Json = False,
) -> None:
    """Put another future after several times, and report every decision before them that changes."""
    from backtest.data.store import Lake
    from backtest.study.config import load_study
    from backtest.study.lookahead import lookahead as look
    from backtest.study.runner import study_jobs
    from backtest.units import time_text

    study = load_study(path)
    with progress("lookahead", "cuts") as report:
        seen = look(study, Lake(lake), study_jobs(study, str(path)), report)
    if json_out:
        say_json({"replays": seen.replays, "rows": seen.rows, "changed": [asdict(one) for one in seen.changed]})
    elif seen.changed:
        rows = [[c.run_id, c.table, time_text(c.time_ms), time_text(c.cut_ms)] for c in seen.changed[:SHOWN]]
        print_table(("run", "differs in", "at", "future changed from"), rows, align="l")
    else:
        say(
            f"{seen.replays:,} runs were replayed over two futures; none of the {seen.rows:,} transfers, fills and "
            "actions before them changed."
        )
    if seen.changed:
        what = f"{len(seen.changed):,} of {seen.replays:,} runs did something else when the future changed"
        raise RuleError.at(path, what, "find what knows the future, beginning with the first run listed")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(lookahead)
