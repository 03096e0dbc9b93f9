"""Tier files of freqtrade and ccxt: kept as dated snapshots, never overwritten."""

from __future__ import annotations

import json

import pytest

from backtest.data.check import check
from backtest.data.snapshots import import_tiers, is_tier_file, snapshots
from backtest.data.store import Lake
from backtest.errors import CoverageError, DataError, IntegrityError, UsageError
from backtest.units import time_ms, time_text
from backtest.venues.tiers import fidelity, tier_tables

TIER = {"tier": 1.0, "currency": "USDT", "minNotional": 0.0, "maxNotional": 50000.0, "maintenanceMarginRate": 0.004}
CCXT = {
    "BTC/USDT:USDT": [
        {**TIER, "maxLeverage": 125.0, "info": {}},
        {**TIER, "tier": 2.0, "minNotional": 50000.0, "maxNotional": 500000.0, "maintenanceMarginRate": 0.005}
        | {"maxLeverage": 100.0},
    ],
    "HOLE/USDT:USDT": [{**TIER, "minNotional": 5.0, "maxLeverage": 20.0}],
}


def tier_file(folder, content=CCXT):
    path = folder / "binance_leverage_tiers.json"
    path.write_text(json.dumps(content))
    return path


def test_tiers_of_freqtrade_and_ccxt_become_a_dated_snapshot(tmp_path):
    path = tier_file(tmp_path)
    assert is_tier_file(path)
    place, refused = import_tiers(tmp_path, path, "binance", "2024-10-24")
    assert place == tmp_path / "snapshots/binance-tiers-2024-10-24.json"
    assert list(refused) == ["HOLEUSDT"]
    (table,) = tier_tables("binance", "BTCUSDT", str(place))
    assert (table.first_ms, table.last_ms) == (time_ms("2024-10-24"), time_ms("2024-10-25") - 1)
    assert [(tier.cap_e8, tier.deduction_e8) for tier in table.tiers] == [
        (50_000 * 10**8, 0),
        (500_000 * 10**8, 50 * 10**8),
    ]
    assert [(one.day, one.venue, one.table) for one in snapshots(tmp_path)] == [("2024-10-24", "binance", "tiers")]


def test_a_snapshot_of_tiers_is_never_overwritten(tmp_path):
    place, _ = import_tiers(tmp_path, tier_file(tmp_path), "binance", "2024-10-24")
    before = place.read_bytes()
    import_tiers(tmp_path, tier_file(tmp_path), "binance", "2024-10-24")
    other = {"BTC/USDT:USDT": [{**TIER, "maxLeverage": 50.0}]}
    with pytest.raises(DataError, match="is there already and says something else"):
        import_tiers(tmp_path, tier_file(tmp_path, other), "binance", "2024-10-24")
    assert place.read_bytes() == before
    import_tiers(tmp_path, tier_file(tmp_path, other), "binance", "2024-10-25")
    assert len(snapshots(tmp_path)) == 2


def test_a_folder_of_snapshots_gives_the_table_of_each_day(tmp_path):
    other = {"BTC/USDT:USDT": [{**TIER, "maxLeverage": 50.0}], "ETH/USDT:USDT": CCXT["BTC/USDT:USDT"]}
    for day, content in (("2024-10-24", CCXT), ("2024-10-30", CCXT), ("2024-11-02", other), ("2024-11-09", CCXT)):
        import_tiers(tmp_path, tier_file(tmp_path, content), "binance", day)
    mode = f"{tmp_path}/snapshots/"
    tables = tier_tables("binance", "BTCUSDT", mode)
    assert [(time_text(table.first_ms)[:10], time_text(table.last_ms)[:10], len(table.tiers)) for table in tables] == [
        ("2024-10-24", "2024-10-30", 2),
        ("2024-11-02", "2024-11-02", 1),
        ("2024-11-09", "2024-11-09", 2),
    ]
    assert len(tier_tables("binance", "ETHUSDT", mode)) == 1
    classes = [fidelity(tables, time_ms(day), time_ms(day), mode) for day in ("2024-10-27", "2024-11-05", "2024-01-01")]
    assert classes == ["exact", "bounded", "extrapolated"]
    with pytest.raises(CoverageError, match="no snapshot of tiers names it"):
        tier_tables("binance", "XRPUSDT", mode)
    (tmp_path / "snapshots/binance-tiers-2024-11-09.json").write_text("{")
    with pytest.raises(CoverageError, match="is not JSON"):
        tier_tables("binance", "BTCUSDT", mode)


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_a_snapshot_is_reported_before_its_tiers_are_used(tmp_path, seed):
    place, _ = import_tiers(tmp_path, tier_file(tmp_path), "binance", "2024-10-24")
    content = bytearray(place.read_bytes())
    content[seed * 7919 % len(content)] ^= 1 << seed % 8
    place.write_bytes(content)
    with pytest.raises((IntegrityError, CoverageError)):
        tier_tables("binance", "BTCUSDT", str(place))
    assert "hash says" in check(Lake(tmp_path))[0].what


@pytest.mark.parametrize(
    ("content", "day", "error"),
    [
        (CCXT, "yesterday", UsageError),
        ({"BTC/USDT:USDT": [{"maintenanceMarginRate": 1}]}, "2024-10-24", DataError),
        ({"BTC/USDT:USDT": 3}, "2024-10-24", DataError),
        ({"HOLE/USDT:USDT": CCXT["HOLE/USDT:USDT"]}, "2024-10-24", DataError),
        ([CCXT], "2024-10-24", DataError),
    ],
)
def test_a_file_that_gives_no_tiers_is_refused(tmp_path, content, day, error):
    with pytest.raises(error):
        import_tiers(tmp_path, tier_file(tmp_path, content), "binance", day)
    assert snapshots(tmp_path) == []
