"""A basket with a symbol that stands isolated beside the shared account: its file, its runs, its stories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from backtest.data.sources import synthetic
from backtest.data.store import Lake
from backtest.errors import StudyError
from backtest.study.assumptions import assumptions
from backtest.study.canonical import resolved
from backtest.study.config import Study, parse_study
from backtest.study.rule_files import load_rules
from backtest.study.story import Ledger, replayed_ledger
from backtest.study.telling import narrate, tell_run
from backtest.study.verify import verify_runs
from backtest.study.verify_pools import POOL

from .small import DAYS, SEED, Ran, ran, small_study

BASKET = ["BTCUSDT", "ETHUSDT", "LTCUSDT"]
ALONE = "margin.ETHUSDT"


def study_with(isolated: list[str], **entries: object) -> Study:
    given = {"basket": True, "margin_mode": "cross", "leverage": [5, 20]} | entries
    given |= {"isolated": isolated} if isolated else {}
    rules = [{"name": "deleverage", "rules": [{"use": "deleverage", "trigger": 0.5, "step": 0.25}]}]
    return small_study(strategies=rules, market={"symbols": BASKET}, entries=given)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    made = Lake(Path(tmp_path_factory.mktemp("isolated")))
    made.merge(synthetic.pieces(synthetic.generate(SEED, symbols=BASKET, days=DAYS)))
    return ran(study_with(["ETHUSDT"]), made)


def told(done: Ran, row: dict[str, Any]) -> list[str]:
    tables = replayed_ledger(done.study, done.data, done.jobs, row)
    return list(narrate(tell_run(done.study, done.data, row, Ledger.of(tables), row)))


def test_the_symbol_has_an_account_of_its_own(beside: Ran) -> None:
    """A third of the margin is posted there, and nothing of it ever pays for the others."""
    row = beside.rows[0]
    transfers = replayed_ledger(beside.study, beside.data, beside.jobs, row)["transfers"].to_pylist()
    posts = {t["credit"]: t["amount_e8"] for t in transfers if t["kind"] == "post"}
    posted = beside.study.capital_e8 // 2
    assert posts == {ALONE: posted // 3, "margin": posted - posted // 3}
    assert not [t for t in transfers if {t["debit"], t["credit"]} == {"margin", ALONE}]


def test_kernel_and_oracle_agree(beside: Ran) -> None:
    outcomes = beside.tables["outcomes"]
    chosen = outcomes.take(pa.array(range(0, len(outcomes), 9)))
    assert sum(chosen["liquidated"].to_pylist()) > 3
    assert verify_runs(beside.study, beside.data, beside.jobs, load_rules(), chosen, twin=POOL) == {}


def test_every_liquidation_is_told_of_the_account_that_died_first(beside: Ran) -> None:
    alone = shared = 0
    for row in [row for row in beside.rows if row["liquidated"]]:
        lines = told(beside, row)
        first = next(line for line in lines if "LIQUIDATION" in line)
        assert ", cause " in first
        alone += f"LIQUIDATION of {ALONE}, cause" in first
        shared += "LIQUIDATION, cause" in first
    assert alone
    assert shared


def test_the_form_reads_back_and_the_report_says_it() -> None:
    study = study_with(["ETHUSDT"])
    assert parse_study(resolved(study), "isolated") == study
    assert study != study_with([])
    said = dict(assumptions(study, pa.table({"tier_fidelity": ["exact"]})))
    assert said["Isolated"].startswith("ETHUSDT: ")


@pytest.mark.parametrize(
    ("isolated", "entries", "message"),
    [
        (["ETHUSD"], {}, r'isolated: names ETHUSD, .*did you mean "ETHUSDT"'),
        (["BTCUSDT"], {}, "isolated: names BTCUSDT, the first symbol"),
        (["ETHUSDT"], {"basket": False}, "isolated: names symbols, and there is no basket"),
    ],
)
def test_what_cannot_stand_beside_a_basket_is_refused(
    isolated: list[str], entries: dict[str, object], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        study_with(isolated, **entries)
