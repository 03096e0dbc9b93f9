"""What a run is worth, bar by bar, against a sum made by hand from its rows."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backtest.errors import IntegrityError, StudyError
from backtest.study.equity import equity_curve
from backtest.study.story import replayed_ledger
from backtest.units import E8, HOUR_MS

from .small import Ran, make_lake, ran, small_study

OWN = ("margin", "free", "reserve", "transit")


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    study = small_study(entries={"leverage": [5, 20, 100]})  # so much leverage is refused
    return ran(study, make_lake(Path(tmp_path_factory.mktemp("lake"))))


def worth_e8(outcome: Mapping[str, Any], ledger: Mapping[str, pa.Table], bar_ms: int, close_e8: int) -> int:
    """Sum up by hand what a run is worth at the close of a bar: balances, and the position at the mark."""
    side = 1 if outcome["side"] == "long" else -1
    balance = sum(
        row["amount_e8"] * ((row["credit"] in OWN) - (row["debit"] in OWN))
        for row in ledger["transfers"].to_pylist()
        if row["time_ms"] <= bar_ms
    )
    qty = cost = 0
    for fill in ledger["fills"].to_pylist():
        if fill["time_ms"] <= bar_ms:
            change = fill["qty_e8"] * side
            cost += fill["cost_e8"] if change > 0 else -round(Fraction(cost * -change, qty))
            qty += change
    value = Fraction(qty * close_e8, E8)
    return int(balance + (value // 1 - cost if side > 0 else cost + -value // 1))


def test_equity_is_what_ledger_and_mark_give_at_each_close(replayed: Ran) -> None:
    tape = replayed.data.result.tape
    close_e8 = dict(zip(tape.time_ms.tolist(), tape.mark_close_e8.tolist(), strict=True))
    kinds = {}
    for row in replayed.rows:
        kinds.setdefault((row["strategy"], row["reaction"], row["exit_reason"], row["liquidated"]), row)
    assert {kind[2] for kind in kinds} == {"liquidated", "horizon", "closed", "data_end", "refused"}
    for outcome in (row for row in kinds.values() if row["exit_reason"] != "refused"):
        ledger = replayed_ledger(replayed.study, replayed.data, replayed.jobs, outcome)
        time_ms, equity_e8 = equity_curve(replayed.data, outcome, ledger["transfers"], ledger["fills"])
        assert (time_ms[0], equity_e8[0]) == (outcome["entry_ms"], outcome["equity_start_e8"])
        assert set(np.diff(time_ms)) == {HOUR_MS}
        assert time_ms[-1] - HOUR_MS <= outcome["exit_ms"] <= time_ms[-1]
        by_hand = [worth_e8(outcome, ledger, time - HOUR_MS, close_e8[time - HOUR_MS]) for time in time_ms[1:].tolist()]
        assert equity_e8[1:-1].tolist() == by_hand[:-1]
        assert equity_e8[-1] == outcome["equity_end_e8"]


def test_a_refused_run_has_no_equity(replayed: Ran) -> None:
    outcome = next(row for row in replayed.rows if row["exit_reason"] == "refused")
    with pytest.raises(StudyError, match="was refused \\(leverage_cap\\)"):
        equity_curve(replayed.data, outcome, pa.table({}), pa.table({}))


def test_rows_that_do_not_lead_to_the_end_are_noticed(replayed: Ran) -> None:
    outcome = next(row for row in replayed.rows if row["exit_reason"] == "horizon")
    ledger = replayed_ledger(replayed.study, replayed.data, replayed.jobs, outcome)
    with pytest.raises(IntegrityError, match="do not lead to its end"):
        equity_curve(replayed.data, outcome, ledger["transfers"].slice(0, 3), ledger["fills"])
