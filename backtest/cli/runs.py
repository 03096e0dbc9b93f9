"""`backtest explain`, `verify`, `what-if`: one run told, a study checked."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, progress, say, say_json
from backtest.errors import IntegrityError, Problem, UsageError

if TYPE_CHECKING:
    from backtest.study.reproduce import Sampled, Verification
    from backtest.study.telling import AnyStory

Debug = Annotated[
    bool, typer.Option("--debug", help="Call the rules in plain Python, so that breakpoint() in one works.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished study.")]


def explain(
    folder: Folder,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="A run, as outcomes.parquet names it.")],
    lake: LakeFolder = LAKE,
    html: Annotated[Path | None, typer.Option(help="Write it as a page to this file, with its bars drawn.")] = None,
    debug: Debug = False,
    json_out: Json = False,
) -> None:
    """Tell one run number by number: entry, actions, funding, and why it was liquidated."""
    if debug:
        _plain_python()
    from backtest.report.story import unlike_history
    from backtest.study.explain import explain as explained
    from backtest.study.reproduce import PARTS
    from backtest.study.results import open_results
    from backtest.study.telling import facts, narrate, numbers

    results = open_results(folder)
    found = explained(results, run_id, lake, debug=debug)
    if found.changed:
        note("changed since the study was run: " + ", ".join(PARTS.get(part, part) for part in found.changed))
    if (made := unlike_history(results.manifest["study"])) is not None:
        note(made)
    if html is not None:
        from backtest.data.disk import write_atomic
        from backtest.report.explain_page import RunPage, render_explanation

        ended = found.story.outcome["exit_reason"] == "liquidated"
        told = list(narrate(found.story))
        page = render_explanation(RunPage(run_id, told, numbers(found.story), found.bars, ended, found.money))
        write_atomic(html, page.encode())
        note(f"page: {html}")
    if json_out:
        say_json(facts(found.story))
    elif html is None:
        for line in narrate(found.story):
            say(line)


def what_if(
    symbol: Annotated[str, typer.Option(help="Instrument, such as BTCUSDT.")],
    side: Annotated[str, typer.Option(help="long or short.")],
    leverage: Annotated[str, typer.Option(help="Leverage set at entry.")],
    on: Annotated[str, typer.Option(help="Day of the entry, 00:00 UTC.")],
    rule: Annotated[
        list[str] | None, typer.Option(help='A rule, such as "deleverage:trigger=0.5"; may be given again.')
    ] = None,
    horizon: Annotated[str, typer.Option(help="How long the position is held.")] = "30d",
    capital: Annotated[str, typer.Option(help="Capital in quote; half of it is posted.")] = "10_000",
    venue: Annotated[str, typer.Option(help="binance or bybit.")] = "binance",
    interval: Annotated[str, typer.Option(help="Length of the mark-price bars.")] = "1h",
    finer: Annotated[
        list[str] | None,
        typer.Option(help="Length of finer bars that stand where they fill others, such as 1m; may be given again."),
    ] = None,
    margin_mode: Annotated[str, typer.Option(help="isolated or cross.")] = "isolated",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="A hedge that the rules may open: opposite:10, other:ETHUSDT:10, or a valued asset with its keys, "
            "asset:BTC-PUT:account=own,step=0.01,fee_bps=3,slippage_bps=100; may be given again."
        ),
    ] = None,
    reaction: Annotated[str | None, typer.Option(help="Only intrabar, or only next_open; both if not said.")] = None,
    reaction_latency: Annotated[
        str, typer.Option(help="What passes between what wakes a rule and its call, such as 2m.")
    ] = "0s",
    lake: LakeFolder = LAKE,
    debug: Debug = False,
    json_out: Json = False,
) -> None:
    """Tell one position's story without a rule and with it."""
    if debug:
        _plain_python()
    from backtest.study.telling import facts, narrate
    from backtest.study.what_if import Position, parse_rule
    from backtest.study.what_if import what_if as stories_of

    several = tuple(layer or ()), reaction_latency, tuple(finer or ())
    position = Position(symbol, side, leverage, on, venue, interval, horizon, capital, margin_mode, *several)
    stories = stories_of(position, [parse_rule(text) for text in rule or ()], lake, reaction=reaction, debug=debug)
    if json_out:
        say_json([facts(story) for story in stories])
        return
    for story in stories:
        for line in narrate(story):
            say(line)
        say("")
    _print_ends(stories)


def _plain_python() -> None:
    """Have the replay interpreted in this process; it chooses so when it is loaded."""
    if "backtest.engine.compile" in sys.modules:
        raise UsageError.at("--debug", "the replay is loaded already, compiled", "call it in a process of its own")
    os.environ["BACKTEST_JIT"] = "0"


def _print_ends(stories: list[AnyStory]) -> None:
    from backtest.units import E8, time_text

    rows = []
    for story in stories:
        o = story.outcome
        lost = time_text(o["liquidation_ms"]) if o["liquidated"] else None
        end, cost = o["equity_end_e8"] / E8, (o["fees_e8"] + o["funding_e8"]) / E8
        rows.append([o["strategy"], o["reaction"], o["exit_reason"], lost, f"{end:,.2f}", f"{cost:,.2f}", o["actions"]])
    headings = ("strategy", "reaction", "end", "liquidated", "equity at the end", "fees and funding", "actions")
    print_table(headings, rows, align="llllr")


def verify(
    folder: Folder,
    lake: LakeFolder = LAKE,
    sample: Annotated[int, typer.Option(min=0, help="Replay so many runs in the decimal oracle too.")] = 0,
    json_out: Json = False,
) -> None:
    """Run a finished study again in a fresh process and compare every file; say what differs and why."""
    from backtest.study import reproduce
    from backtest.study.results import open_results

    results = open_results(folder)
    note("running the study again")
    checked = reproduce.reproduce(results, lake)
    sampled = None
    if sample:
        with progress("oracle", "runs") as report:
            sampled = reproduce.sample(results, lake, sample, report)
    if json_out:
        say_json(reproduce.facts(checked, sampled))
    else:
        _print_verification(checked, sampled)
    problems = list(_problems(folder, checked, sampled))
    if problems:
        raise IntegrityError(*problems)


def _print_verification(checked: Verification, sampled: Sampled | None) -> None:
    rows = [
        (file.name, file.damage or "as written", "same" if file.same else file.difference) for file in checked.files
    ]
    print_table(("file", "stored", "second run"), rows, align="l")
    if checked.reproduces:
        say("It reproduces: every file is the same, byte for byte.")
    if checked.parts:
        say(checked.why)
    if sampled is not None:
        say(
            f"Decimal oracle: {sampled.runs:,} runs replayed ({sampled.liquidated:,} liquidated), "
            f"{len(sampled.differences):,} differ."
        )


def _problems(folder: Path, checked: Verification, sampled: Sampled | None) -> list[Problem]:
    problems = []
    for file in checked.files:
        if file.damage:
            problems.append(Problem(str(folder / file.name), file.damage, "run the study again"))
        elif not file.same:
            problems.append(Problem(str(folder / file.name), f"does not reproduce ({file.difference})", checked.why))
    if sampled is not None:
        for run_id, lines in sampled.differences.items():
            problems += [Problem(run_id, line) for line in lines]
    return problems


def rerun(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    lake: LakeFolder = LAKE,
) -> None:
    """Run a finished study again from its manifest."""
    from backtest import conductor
    from backtest.study.results import open_results

    results = open_results(folder)
    conductor.compare(results.study, lake, out, str(folder), reproduce=results.manifest["reproduce"])


def png(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures; default: png in DIR.")] = None,
) -> None:
    """Draw the charts of a finished study's report as PNG files (needs Chromium)."""
    from backtest.data.disk import write_atomic
    from backtest.report.pictures import pictures
    from backtest.study.results import open_results

    page = (open_results(folder).folder / "report.html").read_text(encoding="utf-8")
    target = out or folder / "png"
    target.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures(page):
        write_atomic(target / f"{name}.png", picture)
        say(str(target / f"{name}.png"))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(explain)
    app.command("what-if")(what_if)
    app.command()(verify)
    app.command()(png)
    app.command(hidden=True)(rerun)
