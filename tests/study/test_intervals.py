"""The same entries on finer bars: what changes, what cannot, and what is stored of the real thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import run as command
from backtest.data.imports import ImportOptions, import_file
from backtest.data.manifest import Dataset
from backtest.data.sources import synthetic
from backtest.data.stand_in import LastForMark
from backtest.data.store import Lake
from backtest.errors import CoverageError, UsageError
from backtest.study.canonical import study_toml
from backtest.study.config import Study, parse_study
from backtest.study.intervals import Change, compare_intervals
from backtest.study.runner import study_jobs
from backtest.units import HOUR_MS, MINUTE_MS

from .small import STRATEGIES, small_study

QUARTER_MS = 15 * MINUTE_MS
CONTROLS = ("hold", "post-all", "smaller-75", "smaller-50", "smaller-25")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Sixty days of a wild market by the quarter of an hour; hours are joined from them."""
    lake = Lake(tmp_path_factory.mktemp("quarters"))
    made = synthetic.generate(3, symbols=("BTCUSDT",), interval_ms=QUARTER_MS, days=60, model=synthetic.BENCH)
    synthetic.write(lake, made)
    return lake


@pytest.fixture(scope="module")
def study() -> Study:
    return small_study(entries={"every": "24h", "side": ["long", "short"], "leverage": [5, 20], "horizon": "10d"})


@pytest.fixture(scope="module")
def changes(lake: Lake, study: Study) -> dict[tuple[str, str], Change]:
    found = compare_intervals(study, lake, QUARTER_MS, study_jobs(study, "small"))
    return {(change.strategy, change.reaction): change for change in found}


def test_where_nothing_acts_a_position_dies_in_the_same_hour(changes: dict[tuple[str, str], Change]) -> None:
    for name in CONTROLS:
        change = changes[name, "both"]
        assert (change.appear, change.vanish, change.move) == (0, 0, 0), name
    assert changes["hold", "both"].coarse > 50


def test_counts_add_up_and_no_shuffled_twin_is_among_them(changes: dict[tuple[str, str], Change]) -> None:
    assert {name for name, _ in changes} == {*CONTROLS, *(str(strategy["name"]) for strategy in STRATEGIES)}
    for change in changes.values():
        assert change.runs == changes["hold", "both"].runs
        assert change.fine == change.coarse + change.appear - change.vanish


def test_a_bot_that_waits_less_is_late_less_often(changes: dict[tuple[str, str], Change]) -> None:
    change = changes["exit", "next_open"]
    assert change.fine < change.coarse
    assert change.vanish > 0


def test_bars_must_be_finer_and_fit(lake: Lake, study: Study) -> None:
    for wrong in (HOUR_MS, 7 * MINUTE_MS, 2 * HOUR_MS):
        with pytest.raises(UsageError, match="does not divide"):
            compare_intervals(study, lake, wrong, [])


def test_bars_that_are_not_there_are_named(lake: Lake, study: Study) -> None:
    with pytest.raises(CoverageError, match="only coarser bars are there: 15m"):
        compare_intervals(study, lake, MINUTE_MS, study_jobs(study, "small"))


def test_the_command_prints_the_table_and_gives_it_to_scripts(
    lake: Lake, study: Study, changes: dict[tuple[str, str], Change], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(study_toml(study))
    argv = ["compare-intervals", str(file), "--fine", "15m", "--lake", str(lake.root)]
    assert command(argv) == 0
    assert "liquidated on 1h" in capsys.readouterr().out
    assert command([*argv, "--json"]) == 0
    told = [Change(**row) for row in json.loads(capsys.readouterr().out)]
    assert told == list(changes.values())


# --- last prices for mark ---


def test_last_prices_stand_in_only_where_that_is_asked_for(lake: Lake, study: Study) -> None:
    seen = LastForMark(lake.root)
    mark = Dataset("binance", "mark_price", "BTCUSDT", "15m")
    last = lake.read(mark._replace(table="klines"))
    assert seen.read(mark, columns=["low"])["low"].equals(last["low"])
    assert seen.read(mark).schema.names == lake.read(mark).schema.names
    assert not lake.read(mark)["low"].equals(last["low"])
    assert seen.datasets() == lake.datasets()
    assert seen.manifest_hash(seen.datasets()) != lake.manifest_hash(lake.datasets())
    assert {entry.dataset.table for entry in seen.entries([mark])} == {"klines"}


# --- the months that are stored by the minute ---

MINUTES = {
    "LINKUSDT": ("1m-2026-01/LINK_USDT_USDT", "one-year-1h/LINK_USDT_USDT-1h", "2026-01-04", "2026-02-06"),
    "SUIUSDT": ("1m-2026-01/SUI_USDT_USDT", None, "2026-01-13", "2026-02-06"),
    "LAYERUSDT": (
        "layer-1m-2025-05/LAYER_USDT_USDT",
        "layer-1m-2025-05/LAYER_USDT_USDT-8h",
        "2025-05-05",
        "2025-06-03",
    ),
}
# No table of LAYER's tiers is stored: a common one of a small coin stands in.
SMALL_COIN = {
    "LAYERUSDT": [{"minNotional": 0, "maxNotional": 1_000_000, "maintenanceMarginRate": 0.02, "maxLeverage": 25}]
}


@pytest.mark.real
@pytest.mark.parametrize("symbol", MINUTES)
def test_minutes_against_hours_on_what_is_stored(symbol: str, real_data: Path, tmp_path: Path) -> None:
    """No mark is stored by the minute, so last prices stand in for it in both replays."""
    bars, funding, start, stop = MINUTES[symbol]
    lake, own, binance = Lake(tmp_path), real_data / "binance-usdm-freqtrade", ImportOptions(venue="binance")
    import_file(lake, own / f"{bars}-1m-futures.feather", binance)
    universe = real_data / "binance-usdm-universe" / "funding.parquet"
    import_file(lake, universe if funding is None else own / f"{funding}-funding_rate.feather", binance)
    tiers = tmp_path / "tiers.json"
    tiers.write_text(json.dumps(SMALL_COIN))
    market = {"venue": "binance", "symbols": [symbol], "interval": "1h", "start": start, "stop": stop, "gaps": "flag"}
    form = {
        "study": {"name": "minutes", "capital": "10_000"},
        "market": market | ({"tiers": str(tiers)} if symbol in SMALL_COIN else {}),
        "entries": {"every": "24h", "leverage": [10, 20], "horizon": "10d"},
        "strategy": STRATEGIES,
    }
    study = parse_study(form, "minutes")
    found = compare_intervals(study, LastForMark(tmp_path), MINUTE_MS, study_jobs(study, "minutes"))
    changes = {(change.strategy, change.reaction): change for change in found}
    for name in CONTROLS:
        change = changes[name, "both"]
        assert (change.appear, change.vanish, change.move) == (0, 0, 0), name
    assert changes["hold", "both"].coarse > 20
    assert changes["exit", "next_open"].vanish > 0
