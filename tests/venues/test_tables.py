"""Dated tables: the row in force, how well it is known, and what is wrong with a table."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backtest.errors import CoverageError
from backtest.units import DAY_MS, time_ms
from backtest.venues.contracts import contract_at
from backtest.venues.fees import taker_fee_e8, taker_fee_steps
from backtest.venues.funding import funding_terms
from backtest.venues.report import compute
from backtest.venues.rulebook import rulebook
from backtest.venues.symbols import load_table, normalize_symbol
from backtest.venues.tiers import as_of, fidelity, read_tiers, tier_tables

BTC = tier_tables("binance", "BTCUSDT")


@pytest.mark.parametrize(
    ("symbol", "venue", "expected"),
    [
        ("BTC/USDT:USDT", "binance", "BTCUSDT"),
        ("BTC/USD:BTC", "binance", "BTCUSD_PERP"),
        ("BTC/USD:BTC", "bybit", "BTCUSD"),
        ("BTC/USDC:USDC", "bybit", "BTCPERP"),
        (" btcusdt ", "bybit", "BTCUSDT"),
    ],
)
def test_symbols_have_one_spelling(symbol: str, venue: str, expected: str) -> None:
    assert normalize_symbol(symbol, venue) == expected


@pytest.mark.parametrize(
    ("moment", "first"),
    [
        ("2020-01-01", "2021-06-22"),
        ("2021-06-22T03:29", "2021-06-22"),
        ("2021-06-22T03:30", "2021-06-22T03:30"),
        ("2022-03-01", "2022-02-13"),
        ("2022-05-20", "2022-02-13"),
        ("2026-11-01", "2025-08-21"),
    ],
)
def test_the_newest_table_that_has_begun_is_in_force(moment: str, first: str) -> None:
    assert as_of(BTC, time_ms(moment)).first_ms == time_ms(first)


def test_the_announced_change_of_2021_moved_the_cap_of_tier_four() -> None:
    before, after = (as_of(BTC, time_ms(f"2021-06-22T03:{minute}")).tiers[3] for minute in ("29", "30"))
    assert (before.cap_e8, after.cap_e8) == (10_000_000 * 10**8, 5_000_000 * 10**8)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2022-02-13", "2022-04-17", "exact"),
        ("2022-02-13", "2022-04-18", "bounded"),
        ("2022-04-18", "2022-04-19", "bounded"),
        ("2022-05-21", "2022-09-27T23:59", "exact"),
        ("2020-01-01", "2022-03-01", "extrapolated"),
        ("2026-07-02T23:59", "2026-07-03", "current"),
        ("2022-02-13", "2022-02-14", "exact"),
    ],
)
def test_fidelity_is_the_worst_class_of_the_range(start: str, end: str, expected: str) -> None:
    assert fidelity(BTC, time_ms(start), time_ms(end)) == expected


def test_one_table_for_all_dates_is_called_current() -> None:
    tables = tier_tables("binance", "BTCUSDT", "current")
    assert len(tables) == 1
    assert fidelity(tables, time_ms("2022-03-01"), time_ms("2022-03-02"), "current") == "current"


def test_a_date_chooses_the_table_of_that_day() -> None:
    assert tier_tables("binance", "BTCUSDT", "2022-03-01") == (as_of(BTC, time_ms("2022-03-01")),)


def test_a_day_that_was_seen_counts_to_its_end() -> None:
    assert BTC[3].last_ms == time_ms("2022-04-17") + DAY_MS - 1


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_every_packaged_table_is_read_and_in_order(venue: str) -> None:
    for symbol in load_table(venue, "tiers")["symbols"]:
        tables = tier_tables(venue, symbol)
        assert all(a.first_ms <= a.last_ms <= b.first_ms for a, b in pairwise(tables))
        assert all(table.source for table in tables)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (
            [{"cap": "10", "rate": "0.01"}, {"floor": "11", "cap": "20", "rate": "0.02"}],
            "not the cap of the tier before",
        ),
        ([{"cap": "10", "rate": "0.01"}, {"cap": "20", "rate": "0.02", "deduction": "0.2"}], "breaks the continuity"),
        ([{"cap": "10", "rate": "0.01"}, {"cap": "9", "rate": "0.02"}], "its cap is not above its floor"),
        ([{"cap": "10", "rate": "0.02"}, {"cap": "20", "rate": "0.01"}], "its rate is not between"),
        ([{"cap": None, "rate": "0.02"}, {"cap": "20", "rate": "0.03"}], "without an upper bound"),
        ([], "without rows"),
    ],
)
def test_a_table_that_is_no_ladder_is_refused(rows: list[dict[str, Any]], what: str) -> None:
    with pytest.raises(CoverageError, match=what):
        read_tiers(rows, "table")


def test_an_unknown_symbol_has_no_tiers() -> None:
    with pytest.raises(CoverageError, match='a symbol without tiers; did you mean "BTCUSDT"'):
        tier_tables("binance", "BTCUSTD")


def test_other_programs_files_are_read(tmp_path: Path) -> None:
    rows = [
        {"minNotional": 0.0, "maxNotional": 50000.0, "maintenanceMarginRate": 0.004, "maxLeverage": 125.0},
        {"minNotional": 50000.0, "maxNotional": 250000.0, "maintenanceMarginRate": 0.005, "maxLeverage": 100.0},
    ]
    path = tmp_path / "tiers.json"
    path.write_text(json.dumps({"BTC/USDT:USDT": rows}))
    (table,) = tier_tables("binance", "BTCUSDT", str(path))
    assert table.tiers == BTC[3].tiers[:2]
    with pytest.raises(CoverageError, match="a symbol without tiers"):
        tier_tables("binance", "ETHUSDT", str(path))
    with pytest.raises(CoverageError, match="cannot be read"):
        tier_tables("binance", "ETHUSDT", str(tmp_path / "none.json"))


def test_a_contract_field_comes_from_the_latest_observation_that_states_it() -> None:
    early = contract_at("binance", "BTCUSDT", time_ms("2022-01-01"))
    late = contract_at("binance", "BTCUSDT", time_ms("2024-01-01"))
    assert (early.min_notional_e8, late.min_notional_e8) == (5 * 10**8, 100 * 10**8)
    assert (early.price_tick_e8, late.price_tick_e8) == (10**6, 10**7)
    assert late.assumed == ()


def test_what_no_observation_states_yet_is_called_assumed() -> None:
    contract = contract_at("binance", "BTCUSDT", time_ms("2020-01-01"))
    assert "min_notional" in contract.assumed
    assert contract_at("binance", "ETHUSD_PERP", time_ms("2024-01-01")).assumed == ("min_qty", "min_notional")


def test_taker_fees_change_with_the_years() -> None:
    assert [taker_fee_e8("binance", time_ms(day)) for day in ("2022-12-31", "2023-01-01")] == [40_000, 50_000]
    assert [taker_fee_e8("bybit", time_ms(day)) for day in ("2021-12-31", "2023-06-01", "2025-01-01")] == [
        75_000,
        60_000,
        55_000,
    ]
    assert taker_fee_steps("bybit")[0][0] == 0


def test_eras_are_chosen_by_date_and_the_change_over_is_uncertain() -> None:
    eras = [rulebook("bybit", time_ms(day)) for day in ("2025-09-01", "2025-09-02", "2025-11-08")]
    assert [(era.era, era.uncertain) for era in eras] == [("uta_entry", False), ("uta_mark", True), ("uta_mark", False)]
    assert rulebook("bybit", 0, "classic").maintenance_price == "entry"


def test_venues_differ_in_what_a_liquidation_leaves() -> None:
    binance, bybit = (rulebook(venue, time_ms("2025-01-01")) for venue in ("binance", "bybit"))
    assert (binance.liquidation, binance.clearance_fee_e8, binance.fee_reserve) == ("ioc", 500_000, False)
    assert (bybit.liquidation, bybit.clearance_fee_e8, bybit.fee_reserve) == ("takeover", 0, True)


def test_funding_caps_follow_from_tier_one() -> None:
    """Bybit BTCUSDT: 0.375 %; Binance BTCUSDT: 0.3 %."""
    assert funding_terms("bybit", "BTCUSDT", time_ms("2026-01-01"), 500_000, 10_000).cap_e8 == 375_000
    assert funding_terms("binance", "BTCUSDT", time_ms("2026-01-01"), 400_000, 15_000).cap_e8 == 300_000


def test_funding_caps_of_a_symbol_change_at_their_day() -> None:
    """SOLUSDT reached -2 %, its bracket-1 rate, in November 2022."""
    caps = [
        funding_terms("binance", "SOLUSDT", time_ms(day), 2_000_000, 5_000).cap_e8
        for day in ("2022-11-08", "2022-11-09")
    ]
    assert caps == [1_500_000, 2_000_000]


def test_a_funding_cap_of_bybit_is_no_more_than_the_maintenance_rate() -> None:
    assert funding_terms("bybit", "LTCUSDT", time_ms("2026-01-01"), 1_000_000, 2_500).cap_e8 == 1_000_000
    assert funding_terms("bybit", "LTCUSDT", time_ms("2026-01-01"), 1_000_000, None).cap_e8 == 1_000_000


def test_the_cap_may_make_funding_hourly_from_a_day_on() -> None:
    days = ("2025-05-01", "2025-05-02", "2025-10-29", "2025-10-30")
    binance, bybit = (
        [funding_terms(venue, "XRPUSDT", time_ms(day), 500_000, 10_000).hourly_at_cap for day in days]
        for venue in ("binance", "bybit")
    )
    assert binance == [False, True, True, True]
    assert bybit == [False, False, False, True]
    assert not funding_terms("bybit", "BTCUSDT", time_ms("2026-01-01"), 500_000, 10_000).hourly_at_cap


def test_an_account_says_how_well_its_table_is_known() -> None:
    account = {
        "venue": "binance",
        "as_of": "2019-01-01",
        "margin_mode": "isolated",
        "positions": [
            {"symbol": "BTCUSDT", "side": "long", "qty": "1", "entry_price": "9", "mark_price": "9", "leverage": "5"}
        ],
    }
    days = {"2019-01-01": "extrapolated", "2021-12-01": "bounded", "2022-02-13": "", "2099-01-01": "current"}
    for day, known in days.items():
        source = compute(account | {"as_of": day}).source.positions[0].ladder.source
        assert "seen from 20" in source
        assert source.endswith(f"{known} on the day of the account") if known else source[-10:-6].isdigit()
