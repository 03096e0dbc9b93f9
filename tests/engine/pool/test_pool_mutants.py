"""Wrong pool kernels: each is one edit of what the engine compiles, and a law or the oracle must catch it.

As in tests/engine/test_mutants.py. `pytest -s -m slow tests/engine/pool/test_pool_mutants.py` prints what caught what.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_mutants import POOL_ORACLE, Mutant, check_caught

LEDGER = "pool/test_pool_ledger_laws.py::test_"
TIME = "pool/test_pool_time_laws.py::test_"
LIQUIDATION = "pool/test_pool_liquidation_laws.py::test_"
FIRST_EVENT = LIQUIDATION + "liquidation_comes_at_the_first_event_where_the_predicate_holds_and_at_none_before"
FUNDING = LEDGER + "funding_is_paid_by_every_leg_on_its_own_notional"
SKIP = TIME + "skipping_changes_nothing"
EMPTY = LEDGER + "flat_means_empty"
ASSETS = "pool/test_asset_laws.py::test_"
BESIDE = "pool/test_beside_laws.py::test_a_leg_beside_the_pool_is_a_run_of_its_own_and_the_pool_one_without_it"
STANDS = ASSETS + "who_cannot_stand_at_an_open_is_liquidated_there"

MUTANTS = (
    Mutant(
        "a hedge charged for its larger leg only",
        "pool/units.py",
        "            equity += profit\n            maintenance += leg_maintenance\n",
        "            equity += profit\n            maintenance = max(maintenance, leg_maintenance)\n",
        FIRST_EVENT,
    ),
    Mutant(
        "collateral without its ratio",
        "pool/units.py",
        "scale_floor(whole, rest, plan.collateral_ratio_e8[j])",
        "scale_floor(whole, rest, 10**8)",
        FIRST_EVENT,
    ),
    Mutant(
        "collateral counted for every unit but the core's",
        "pool/units.py",
        "    if unit == 0:\n        for j in range(plan.collateral_count):\n            equity +=",
        "    if unit > 0:\n        for j in range(plan.collateral_count):\n            equity +=",
        FIRST_EVENT,
    ),
    Mutant(
        "a coin contract that gains like a linear one",
        "pool/values.py",
        "_profit(-side, value, cost)",
        "_profit(side, value, cost)",
        FIRST_EVENT,
    ),
    Mutant(
        "sync that never reaches the closes",
        "pool/path.py",
        "desk.ends[i] = market.bars[bar, i].mark_close_e8",
        "desk.ends[i] = market.bars[bar, i].mark_open_e8",
        FIRST_EVENT,
    ),
    Mutant(
        "the last instrument of a basket does not move",
        "pool/path.py",
        "    for i in range(len(into)):\n",
        "    for i in range(max(1, len(into) - 1)):\n",
        POOL_ORACLE,
    ),
    Mutant(
        "both extremes in the order of the first leg",
        "pool/path.py",
        "if other_equity - other_maintenance < equity - maintenance:",
        "if run.side[0] < 0:",
        POOL_ORACLE,
    ),
    Mutant(
        "layers pay no funding",
        "pool/opening.py",
        "    for slot in range(plan.slot_count):\n        if run.qty[slot] == 0:\n",
        "    for slot in range(plan.core_count):\n        if run.qty[slot] == 0:\n",
        FUNDING,
        200,
    ),
    Mutant(
        "the rate of a bar that is left out is lost",
        "pool/market.py",
        "funding = np.add.reduceat(tape.segment_funding_e8[inside], first)",
        "funding = tape.segment_funding_e8[inside][last]",
        FUNDING,
        200,
    ),
    Mutant(
        "coin funding on the price too",
        "pool/values.py",
        "return mul_div_ceil(qty, rate, mark) if pays else mul_div_floor(qty, rate, mark)",
        "return mul_div_ceil(qty, rate, mark) if pays else mul_div_ceil(qty, rate, mark)",
        FUNDING,
        200,
    ),
    Mutant(
        "a layer's fee out of the core's wallet",
        "pool/books.py",
        "at.K_FEE, wallet, at.FEES, asset, fee, cause, rule)",
        "at.K_FEE, at.MARGIN, at.FEES, asset, fee, cause, rule)",
        LEDGER + "fees_are_the_rate_of_the_value",
        200,
    ),
    Mutant(
        "collateral forgotten in a flat wallet",
        "pool/legs.py",
        "    if unit == 0:\n        sell_collaterals",
        "    if unit > 0:\n        sell_collaterals",
        EMPTY,
    ),
    Mutant(
        "a wallet under water left alone",
        "pool/legs.py",
        "debt = max(0, -run.balance[asset, wallet])",
        "debt = 0",
        LEDGER + "conservation_in_every_asset",
    ),
    Mutant(
        "a transfer of coin with one side",
        "pool/books.py",
        "    run.balance[asset, credit] += amount\n",
        "    run.balance[asset, credit] += 0 if credit == at.FREE else amount\n",
        LEDGER + "balances_rebuild",
    ),
    Mutant(
        "who sells a coin contract rounds for himself",
        "pool/values.py",
        "return _down((qty, price)) if buying else _up((qty, price))",
        "return _down((qty, price))",
        LEDGER + "values_are_rounded_against_the_run",
    ),
    Mutant(
        "look-ahead by one bar",
        "pool/opening.py",
        "desk.marks[i] = market.bars[bar, i].mark_open_e8",
        "desk.marks[i] = market.bars[min(bar + 1, len(market.bars) - 1), i].mark_open_e8",
        TIME + "no_future",
    ),
    Mutant(
        "a bar's highs not looked at by the skip",
        "pool/skip.py",
        'low, high = market.bars[bar]["mark_low_e8"], market.bars[bar]["mark_high_e8"]',
        'low, high = market.bars[bar]["mark_low_e8"], market.bars[bar]["mark_low_e8"]',
        SKIP,
    ),
    Mutant(
        "layers' own wallets forgotten by the skip",
        "pool/units.py",
        "    for unit in range(plan.slot_count):\n        if not is_at_risk(plan, run, unit) and (unit",
        "    for unit in range(1):\n        if not is_at_risk(plan, run, unit) and (unit",
        TIME + "skipping_changes_nothing_where_only_a_layer_may_die",
    ),
    Mutant(
        "memory of the run before",
        "pool/replay.py",
        "        desk.memory[:] = 0.0\n",
        "",
        TIME + "runs_of_one_batch_know_nothing_of_each_other",
    ),
    Mutant(
        "the smallest maintenance is closed first",
        "pool/forced.py",
        "if chosen < 0 or maintenance > most:",
        "if chosen < 0 or maintenance < most:",
        POOL_ORACLE,
    ),
    Mutant(
        "only one leg of a pool is ever closed",
        "pool/forced.py",
        "    while is_liquidated(market, plan, run, unit, desk.marks):\n",
        "    if is_liquidated(market, plan, run, unit, desk.marks):\n",
        POOL_ORACLE,
    ),
    Mutant(
        "what a layer takes from the reserve not counted for the day",
        "pool/layers.py",
        "return INSUFFICIENT_RESERVE if plan.latency_ms > 0 else leave_reserve(plan, run, amount)",
        "return INSUFFICIENT_RESERVE if plan.latency_ms > 0 or amount > run.balance[QUOTE, at.RESERVE] else DONE",
        POOL_ORACLE,
    ),
    Mutant(
        "a hedge's liquidation called the price's",
        "pool/forced.py",
        "return BY_PRICE if equity <= maintenance else BY_HEDGE_MARGIN",
        "return BY_PRICE",
        "pool/test_pool_oracle.py::test_a_whole_hedge_dies_of_its_margin_on_the_way_up",
    ),
    Mutant(
        "an isolated leg's breach counted as a layer's",
        "pool/forced.py",
        "        if unit >= plan.core_count:\n            run.layer_liquidations += 1\n",
        "        if unit > 0:\n            run.layer_liquidations += 1\n",
        BESIDE,
    ),
    Mutant(
        "margin of an isolated leg left in the pool",
        "pool/replay.py",
        "pooled = entry.posted_e8 - plan.isolated_count * part",
        "pooled = entry.posted_e8",
        BESIDE,
    ),
    Mutant(
        "an asset counted for all that it is worth",
        "pool/values.py",
        "scale_floor(value[0], value[1], plan.leg_ratio_e8[slot]), 0, 0",
        "value[0], 0, 0",
        ASSETS + "at_a_higher_ratio_the_core_is_never_liquidated_earlier",
    ),
    Mutant(
        "a price paid twice",
        "pool/legs.py",
        "-run.side[slot] * value, cause, rule)",
        "-2 * run.side[slot] * value, cause, rule)",
        ASSETS + "paid_assets_move_their_value_and_margined_ones_do_not",
    ),
    Mutant(
        "what was written is owed rounded down",
        "pool/values.py",
        "        linear_profit(run.side[slot], value, run.cost[slot]),\n        mul_ceil",
        "        run.side[slot] * (value[0] - run.cost[slot]),\n        mul_ceil",
        "pool/test_pool_replay.py::test_what_was_written_is_owed_rounded_up",
    ),
    Mutant(
        "an asset settled a bar late",
        "pool/market.py",
        "(times < asset.time_ms[-1] + asset.interval_ms)",
        "(times < asset.time_ms[-1] + 2 * asset.interval_ms)",
        ASSETS + "nothing_is_traded_that_is_not_listed_and_all_is_settled_at_the_end",
    ),
    Mutant(
        "the predicate of a bought asset alone",
        "pool/units.py",
        " and plan.leg_unit[slot] == unit and plan.leg_form[slot] != BOUGHT:",
        " and plan.leg_unit[slot] == unit:",
        ASSETS + "what_is_bought_and_paid_leaves_nothing_in_its_own_account",
    ),
    Mutant(
        "margins of the bars before",
        "pool/opening.py",
        "run.old_margins, run.margins = run.margins, run.segment\n",
        "run.old_margins, run.margins = run.margins, run.segment - 1\n",
        STANDS,
    ),
    Mutant(
        "a bar without a row has the close of the next one",
        "pool/market.py",
        "[known] = asset.close_e8[row[known]]",
        "[known] = asset.close_e8[np.minimum(row[known] + 1, len(asset.close_e8) - 1)]",
        ASSETS + "marks_of_fills_are_marks_of_the_bar",
    ),
    Mutant(
        "a bought asset paid with the core's margin",
        "pool/layers.py",
        "return bool(plan.leg_unit[slot] == 0 and plan.leg_form[slot] != BOUGHT)",
        "return bool(plan.leg_unit[slot] == 0)",
        ASSETS + "more_of_what_is_owned_never_liquidates_the_core_earlier",
    ),
    Mutant(
        "an asset at its best for the skip",
        "pool/units.py",
        "mark = low[i] if run.side[slot] > 0 else high[i]",
        "mark = high[i] if run.side[slot] > 0 else low[i]",
        POOL_ORACLE,
    ),
    Mutant(
        "what is written asks for no margin",
        "pool/legs.py",
        "margin = mul_ceil(qty, market.segments[run.margins, instrument].initial_e8)",
        "margin = 0",
        POOL_ORACLE,
    ),
)
FAST = ("collateral without its ratio", "collateral forgotten in a flat wallet")


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.name in FAST], ids=lambda m: m.name)
def test_a_wrong_pool_kernel_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    check_caught(mutant, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.name not in FAST], ids=lambda m: m.name)
def test_every_wrong_pool_kernel_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    check_caught(mutant, tmp_path)


def test_most_are_caught_by_a_law_and_not_by_the_oracle() -> None:
    assert len({m.name for m in MUTANTS}) >= 15
    assert sum(m.caught_by != POOL_ORACLE for m in MUTANTS) >= 18
