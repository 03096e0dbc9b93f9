"""Wrong kernels: each is one edit of what the engine compiles, and a law, a property or the oracle must catch it.

A mutant is made in a copy of the package and run there in plain Python, with the test named beside it, which passes on
the kernel as it is. `pytest -s -m slow tests/engine/test_mutants.py` prints what caught what.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAWS, INTEGERS = "test_ledger_laws.py::test_", "test_arithmetic.py::test_"
FORMULAS = "../venues/margin.py"  # the text that the engine compiles
ORACLE, POOL_ORACLE = "oracle", "oracle of pools"  # the fuzzer, over generated worlds
WORLDS = "200"


@dataclass(frozen=True)
class Mutant:
    """A wrong kernel: what is wrong with it, the edit, and what must catch it."""

    name: str
    file: str
    right: str
    wrong: str
    caught_by: str
    worlds: int = 60


FIRST_EVENT = LAWS + "liquidation_comes_at_the_first_event_where_the_predicate_holds_and_at_none_before"
FILLS = LAWS + "nobody_fills_better_than_the_market"
BANDS = "test_band.py::test_nothing_happens_and_nothing_is_worse_inside_a_band"
SKIP = LAWS + "skipping_changes_nothing"
ORDER = LAWS + "the_order_of_rows_does_not_matter"

MUTANTS = (
    Mutant(
        "< for <= in the predicate",
        "path.py",
        "return equity <= maintenance",
        "return equity < maintenance",
        FIRST_EVENT,
    ),
    Mutant(
        "last price for mark",
        "opening.py",
        "    mark = tape.bars[bar].mark_open_e8\n    run.bar = bar",
        "    mark = tape.bars[bar].trade_open_e8\n    run.bar = bar",
        FIRST_EVENT,
    ),
    Mutant(
        "deduction dropped",
        FORMULAS,
        "times_up(value, rate) - deduction + reserve",
        "times_up(value, rate) + reserve",
        FIRST_EVENT,
    ),
    Mutant(
        "tier off by one",
        FORMULAS,
        "                return k\n",
        "                return k + 1\n",
        FIRST_EVENT,
    ),
    Mutant(
        "tier border belongs to the tier above",
        FORMULAS,
        "if least <= caps[k]:",
        "if least < caps[k]:",
        INTEGERS + "a_tier_is_chosen_on_the_exact_product",
    ),
    Mutant(
        "maintenance rounded down",
        "margin.py",
        "return scale_ceil(value[0], value[1], rate)",
        "return scale_ceil(value[0], value[1], rate) - (1 if (value[0] * 10**8 + value[1]) * rate % 10**16 else 0)",
        INTEGERS + "the_predicate_is_exact_at_20_000_near_ties",
    ),
    Mutant(
        "profit of a short rounded for it",
        FORMULAS,
        "cost - up(value)",
        "cost - down(value)",
        INTEGERS + "the_predicate_is_exact_at_20_000_near_ties",
    ),
    Mutant(
        "funding sign",
        "opening.py",
        "pays = (rate > 0) == (run.side > 0)",
        "pays = (rate > 0) != (run.side > 0)",
        LAWS + "funding_is_notional_times_rate",
    ),
    Mutant(
        "fee on margin for fee on notional",
        "position.py",
        "fee = mul_ceil(value, run.taker)",
        "fee = mul_ceil(abs(wallet), run.taker)",
        LAWS + "fees_are_the_rate_of_the_value",
    ),
    Mutant(
        "look-ahead by one bar",
        "opening.py",
        "    mark = tape.bars[bar].mark_open_e8\n    run.bar = bar",
        "    mark = tape.bars[min(bar + 1, len(tape.bars) - 1)].mark_open_e8\n    run.bar = bar",
        LAWS + "no_future",
    ),
    Mutant(
        "a buyer's value rounded down",
        "position.py",
        "return whole + (1 if buying and rest > 0 else 0)",
        "return whole",
        FILLS,
    ),
    Mutant(
        "slippage for the run",
        "position.py",
        "return price + worse if buying else price - worse",
        "return price - worse if buying else price + worse",
        FILLS,
    ),
    Mutant(
        "exit at the mark",
        "opening.py",
        "close_all(tape, plan, desk, run, tape.bars[bar].trade_open_e8, mark, at.C_EXIT)",
        "close_all(tape, plan, desk, run, mark, mark, at.C_EXIT)",
        FILLS,
    ),
    Mutant(
        "put back to the reserve",
        "position.py",
        "at.K_PUT_BACK, at.FREE, at.MARGIN",
        "at.K_PUT_BACK, at.FREE, at.RESERVE",
        LAWS + "what_is_put_back_returns_to_the_position",
    ),
    Mutant(
        "a debt is not covered",
        "position.py",
        "    if run.balance[at.MARGIN] < 0:\n",
        "    if False:\n",
        LAWS + "conservation",
        300,
    ),
    Mutant(
        "a transfer with one side",
        "ledger.py",
        "    run.balance[debit] -= amount\n",
        "    run.balance[debit] -= 0 if debit == at.RESERVE else amount\n",
        LAWS + "balances_and_positions_rebuild",
    ),
    Mutant(
        "a bar's high not looked at",
        "coast.py",
        "            low, high = tape.bars[bar].mark_low_e8, tape.bars[bar].mark_high_e8",
        "            low, high = tape.bars[bar].mark_low_e8, tape.bars[bar].mark_low_e8",
        SKIP,
    ),
    Mutant(
        "thresholds forgotten by the skip",
        "band.py",
        "if plan.buffer_max_e8 >= 0:",
        "if False:",
        SKIP,
    ),
    Mutant(
        "liquidation forgotten by the skip",
        "band.py",
        "within = positive(within, headroom, off)\n    if plan.headroom",
        "within = positive(within, headroom, off - 1e12)\n    if plan.headroom",
        SKIP,
    ),
    Mutant(
        "a band outlives its wallet",
        "band.py",
        "    return run.clear_low <= low and high <= run.clear_high and run.balance[at.MARGIN] >= run.clear_wallet",
        "    return run.clear_low <= low and high <= run.clear_high and run.clear_wallet < 1 << 62",
        SKIP,
    ),
    Mutant(
        "a band outlives its position",
        "position.py",
        "    run.clear_wallet = run.known_wallet = INT64_MAX\n",
        "",
        SKIP,
        400,
    ),
    Mutant(
        "the worst buffer not looked for",
        "band.py",
        "within = positive(within, minus(headroom, limit, minus(initial, 1.0, maintenance)), off * (1.0 + abs(limit)))",
        "within = within",
        BANDS,
    ),
    Mutant(
        "memory of the run before",
        "replay.py",
        "        desk.tray.memory[:] = 0.0\n",
        "",
        ORDER,
        worlds=200,
    ),
    Mutant(
        "high for low: the adverse extreme not visited",
        "walk.py",
        "adverse, other = (low, high) if run.side > 0 else (high, low)",
        "adverse, other = (high, mark) if run.side > 0 else (low, mark)",
        FIRST_EVENT,
    ),
    Mutant(
        "bankruptcy price rounded for the run",
        "position.py",
        "return mul_div_ceil(value, E8, run.qty) if",
        "return mul_div_floor(value, E8, run.qty) if",
        ORACLE,
    ),
    Mutant(
        "cooldown ignored at the open",
        "opening.py",
        "if last >= 0 and run.time_ms - last < plan.cooldown_ms[rule]:",
        "if False:",
        ORACLE,
    ),
    Mutant(
        "latency ignored",
        "actions.py",
        "run.latency_from_ms + plan.latency_ms",
        "run.latency_from_ms",
        ORACLE,
    ),
    Mutant(
        "a latency from the close of the shortest bar",
        "walk.py",
        "tape.bars[run.bar].close_ms if plan.next_open",
        "run.time_ms + tape.interval_ms if plan.next_open",
        ORACLE,
    ),
    Mutant(
        "the data end the shortest bar after the last open",
        "replay.py",
        "run.time_ms = last.close_ms",
        "run.time_ms = last.time_ms + tape.interval_ms",
        ORACLE,
    ),
    Mutant(
        "a reaction takes no time",
        "opening.py",
        "run.pending_ms[wake] = from_ms + plan.reaction_ms",
        "run.pending_ms[wake] = from_ms",
        ORACLE,
    ),
    Mutant(
        "segments are passed whatever funding takes",
        "coast.py",
        "        if run.balance[at.MARGIN] - amount < least_wallet:\n            break\n",
        "",
        SKIP,
        300,
    ),
    Mutant(
        "the first step past a crossing is taken for it",
        "path.py",
        "            step = 0  # it turns in between\n",
        "            break\n",
        ORACLE,
    ),
    Mutant(
        "a reaction within the bar counts from its close",
        "walk.py",
        "tape.bars[run.bar].close_ms if plan.next_open else run.time_ms",
        "tape.bars[run.bar].close_ms",
        "test_reaction.py::test_a_reaction_within_the_bar_is_next_open",
    ),
)
OUTSIDE = (
    Mutant(
        "a signal known one bar early",
        "feed.py",
        "    bar = np.searchsorted(time_ms, steps.available_ms)\n",
        "    bar = np.maximum(np.searchsorted(time_ms, steps.available_ms) - 1, 0)\n",
        LAWS + "no_future",
        300,
    ),
    Mutant(
        "when an event became known ignored",
        "../study/outside.py",
        "np.maximum(dates.due_ms - lead_ms, dates.since_ms)",
        "dates.due_ms - lead_ms",
        LAWS + "no_future",
        300,
    ),
    Mutant(
        "distance measured on the wrong side",
        "distance.py",
        "return max(mark - way, 1) if run.side > 0 else mark + way",
        "return max(mark - way, 1) if run.side < 0 else mark + way",
        ORACLE,
    ),
    Mutant(
        "distances forgotten by the skip",
        "band.py",
        "    if plan.distance:\n",
        "    if False:\n",
        ORACLE,
    ),
    Mutant(
        "a band outlives the true range it was made of",
        "dated.py",
        "            renewed = True\n",
        "",
        ORACLE,
    ),
    Mutant(
        "a dated wake passed over by the skip",
        "replay.py",
        "due = min(entry.exit_bar, run.feed_due)",
        "due = entry.exit_bar",
        ORACLE,
    ),
)
FAST = ("deduction dropped", "funding sign", "fee on margin for fee on notional", "slippage for the run")


def plant(mutant: Mutant, folder: Path) -> None:
    """Copy the package and its engine tests, and make the edit."""
    for name in ("backtest", "strategies", "tests/engine"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    path = folder / "backtest" / "engine" / mutant.file
    source = path.read_text(encoding="utf-8")
    assert source.count(mutant.right) == 1, f"{mutant.name}: the text to edit is not once in {mutant.file}"
    path.write_text(source.replace(mutant.right, mutant.wrong), encoding="utf-8")


def hunt(mutant: Mutant, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what must catch a mutant, in the copy."""
    if mutant.caught_by in (ORACLE, POOL_ORACLE):
        command = ["-m", "tests.engine.fuzz", "--seed", "0", "--count", WORLDS, "--minutes", "10", "--no-shrink"]
        command += ["--pool"] if mutant.caught_by == POOL_ORACLE else []
    else:
        command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/engine/{mutant.caught_by}"]
    environment = {**os.environ, "BACKTEST_JIT": "0", "LAW_WORLDS": str(mutant.worlds), "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def check_caught(mutant: Mutant, folder: Path) -> None:
    plant(mutant, folder)
    done = hunt(mutant, folder)
    said = done.stdout + done.stderr
    assert done.returncode == 1, f"{mutant.name} is not caught by {mutant.caught_by}:\n{said[-2000:]}"
    assert (
        "repeat with" if mutant.caught_by in (ORACLE, POOL_ORACLE) else "1 failed" if "1 failed" in said else "FAILED"
    ) in said
    print(f"\n{mutant.name:46} caught by {mutant.caught_by.rpartition('::')[2]}")


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.name in FAST], ids=lambda m: m.name)
def test_a_wrong_kernel_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    check_caught(mutant, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [m for m in (*MUTANTS, *OUTSIDE) if m.name not in FAST], ids=lambda m: m.name)
def test_every_wrong_kernel_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    check_caught(mutant, tmp_path)


def test_most_are_caught_by_a_law_and_not_by_the_oracle() -> None:
    assert len({m.name for m in MUTANTS}) >= 15
    assert sum(m.caught_by != ORACLE for m in MUTANTS) >= 10
