"""`backtest demo`, `compare`: studies, and what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.live import live_replay
from backtest.cli.memory import return_what_is_freed
from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, say, say_json

if TYPE_CHECKING:
    from backtest.conductor import Comparison
    from backtest.study.config import Study

DEMO_DAYS = 365
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads that replay; default: the study's, else all processors. The results are the same."
    ),
]


def compare(
    path: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study, or the folder that holds study.toml.")],
    lake: LakeFolder = LAKE,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: beside the study.")] = None,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and count the runs, replay none.")
    ] = False,
    json_out: Json = False,
) -> None:
    """Replay a study and compare its strategies by liquidation count."""
    from backtest import conductor
    from backtest.report.story import unlike_history
    from backtest.study.canonical import resolved
    from backtest.study.config import load_study

    study = load_study(path)
    file = path / "study.toml" if path.is_dir() else path
    if dry_run:
        planned = conductor.dry_run(study, lake, str(file))
        if json_out:
            say_json({name: getattr(planned, name) for name in ("jobs", "runs", "symbols", "finer", "assets")})
            return
        for rows in (planned.symbols, planned.finer, planned.assets):
            if rows:
                print_table(list(rows[0]), [list(row.values()) for row in rows])
        say(f"{planned.runs:,} {planned.unit}: {planned.jobs} strategies and reactions, controls included.")
        if (made := unlike_history(resolved(study))) is not None:
            say(made)
        return
    folder = out or file.parent
    finished = _run(study, lake, folder, str(file), [f"backtest compare {file.name} --lake LAKE"], workers)
    if json_out:
        say_json(_facts(finished))
    else:
        _print(study, finished)


def demo(
    seed: Annotated[int, typer.Option(help="Another seed is another market.")] = 1,
    folder: Annotated[Path, typer.Option(help="Where the demo is built.")] = Path("build/demo"),
) -> None:
    """Run a first comparison on a bundled synthetic market."""
    from backtest.data.sources import synthetic
    from backtest.data.store import Lake
    from backtest.study.config import parse_study

    lake = folder / f"lake-{seed}"
    if not (lake / "manifest.json").exists():
        note(f"building the synthetic market, seed {seed}")
        synthetic.write(Lake(lake), synthetic.generate(seed, symbols=("BTCUSDT",), days=DEMO_DAYS))
    study = parse_study(DEMO_STUDY, "demo")
    say("SYNTHETIC market: the prices are made up, the rules are the venue's.")
    finished = _run(study, lake, folder / f"seed-{seed}", "demo", [f"backtest demo --seed {seed}"])
    _print(study, finished)


DEMO_STUDY: dict[str, object] = {
    "study": {"name": "demo", "seed": 1, "capital": "10_000"},
    "market": {
        "venue": "binance",
        "symbols": ["BTCUSDT"],
        "interval": "1h",
        "start": "2023-01-01",
        "stop": "2024-01-01",
        "tiers": "as-of",
    },
    "entries": {"every": "24h", "side": ["long", "short"], "leverage": [5, 10, 20], "horizon": "30d"},
    "strategy": [
        {"name": "deleverage", "rules": [{"use": "deleverage", "trigger": 0.25, "step": 0.25}]},
        {"name": "top-up", "rules": [{"use": "top_up", "trigger": 0.25, "amount_pct": 10}]},
        {"name": "exit", "rules": [{"use": "exit", "trigger": 0.25}]},
    ],
}


def _run(
    study: Study, lake: Path, folder: Path, where: str, reproduce: list[str], workers: int | None = None
) -> Comparison:
    from backtest import conductor
    from backtest.engine.compile import is_compiled
    from backtest.study.kernels import is_pool_compiled
    from backtest.study.pools import takes_pool
    from backtest.study.unfinished import INTERRUPTED, interrupted

    return_what_is_freed()
    if not is_compiled():
        note("compiling the replay for this machine: about a minute, once")
    if not is_pool_compiled() and any(takes_pool(study, symbol) for symbol in study.market.symbols):
        note("compiling the replay of several legs for this machine: two or three minutes, once")
    try:
        with live_replay("runs" if study.entries.continuous is None else "accounts") as (report, tally):
            return conductor.compare(
                study, lake, folder, where, reproduce=reproduce, workers=workers, progress=report, tally=tally
            )
    except KeyboardInterrupt:
        left = interrupted(folder)
        if left is not None:
            note(f"{len(left['finished'])} of {left['jobs']} jobs are finished and kept in {folder / INTERRUPTED}")
        raise


def _facts(finished: Comparison) -> dict[str, object]:
    totals = finished.totals
    return {
        "folder": str(finished.folder),
        "runs": totals.runs,
        "run_bars": totals.run_bars,
        "bars_visited": totals.bars_visited,
        "seconds": finished.seconds,
    }


def _print(study: Study, finished: Comparison) -> None:
    from backtest.report.accounts import AccountsModel
    from backtest.report.accounts_page import accounts_text
    from backtest.report.terminal import summary_text
    from backtest.study.canonical import resolved

    totals, model = finished.totals, finished.model
    say(accounts_text(model) if isinstance(model, AccountsModel) else summary_text(resolved(study), model.summary))
    visited = 100 * totals.bars_visited / max(totals.run_bars, 1)
    say(
        f"{totals.runs:,} runs, {totals.run_bars:,} run-bars ({visited:.1f} % visited) replayed in "
        f"{totals.replay_seconds:.1f} s; {finished.seconds['all']:.1f} s in all."
    )
    say(f"report: {finished.folder / 'report.html'}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(demo)
    app.command()(compare)
