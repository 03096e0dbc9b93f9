"""A row for each defect that is known of the real files: the program finds it, told nothing but the folder."""

from __future__ import annotations

import re

import pytest

from backtest.data.check import check_paths
from backtest.units import time_ms

pytestmark = pytest.mark.real

# What is known, and how a finding that says so must read.
DEFECTS = [
    ("freqtrade: the last candle of a file may be unfinished",
     r"BTC_USDT_USDT-1h-futures.feather BTCUSDT from 2026-05-17 07:00: the last bar may be unfinished"),
    ("freqtrade: 8h funding keeps the exchange's jitter",
     r"BTC_USDT_USDT-8h-funding_rate.feather BTCUSDT .*1007 × stamps are off the hour"),
    ("freqtrade: the same jitter in JSON", r"BTC_USDT-8h-funding_rate.json BTCUSDT .*stamps are off the hour"),
    ("mark 8h is not the mark of 1h, 2022-07",
     r"1h-mark.feather BTCUSDT from 2022-07-12 00:00: 3 × prices disagree with BTC_USDT-8h-mark.json"),
    ("mark 8h is not the mark of 1h, 2023",
     r"1h-mark.feather BTCUSDT from 2023-07-31 00:00: 2 × prices disagree with BTC_USDT_USDT-8h-mark.feather"),
    ("funding cap of BTC, 0.3 %",
     r"BTC_USDT_USDT-1h-funding_rate.feather BTCUSDT .*\+0\.3000%, and none is beyond"),
    ("funding cap of 0.5 %", r"XRP_USDT_USDT-1h-funding_rate.feather XRPUSDT .*-0\.5025%, and none is beyond"),
    ("funding cap of LAYER, 2 %", r"LAYERUSDT from 2025-05-06 08:00: 2 × rates are -2\.0000%, and none is beyond"),
    ("archive and API differ around the outage of 2024-10-28: prices",
     r"1h-futures.feather BTCUSDT from 2024-10-28 20:00: 2 × prices disagree with BTCUSDT-1h-2024-10-28.zip"),
    ("archive and API differ around the outage: volume",
     r"BTCUSDT from 2024-10-28 20:00: 2 × volumes or rates disagree with BTCUSDT-1h-2024-10-28.zip"),
    ("a flat bar without volume in the archive",
     r"BTCUSDT-1h-2024-10-28.zip BTCUSDT from 2024-10-28 20:00: bars are flat"),
    ("the 15m file follows the archive",
     r"15m-futures.feather BTCUSDT from 2024-10-28 20:00: 3 × prices disagree with BTC_USDT_USDT-1h-futures.feather"),
    ("15m and 1h differ in volume on ten hours",
     r"15m-futures.feather BTCUSDT from 2024-03-27 12:00: 10 × volumes or rates disagree .*1h-futures"),
    ("and in a low, 2025-01-14 15:00",
     r"5m-futures.feather BTCUSDT from 2025-01-14 15:00: prices disagree with BTC_USDT_USDT-1h-futures.*low 1"),
    ("universe: survivorship",
     r"klines-1d.parquet klines .*all 387 symbols last until 2026-03-19: none was delisted"),
    ("universe: the newest bar is unfinished", r"klines-1d.parquet .*may be unfinished.*in 387 datasets"),
    ("universe: the raw sample's last bar is unfinished",
     r"BTCUSDT-1h.csv BTCUSDT from 2026-03-19 19:00: the last bar may"),
    ("universe: at most 800 rows a symbol", r"klines-1d.parquet klines: 131 symbols have exactly 800 rows"),
    ("universe: funding only from 2026", r"klines-1d.parquet .*funding covers 2026-02-15 .* only; in \d+ datasets"),
    ("universe: funding intervals of 1h, 4h and 8h",
     r"funding.parquet .*intervals of 1h \(5\), 4h \(299\), 8h \(84\)"),
    ("Vision: rebuilt containers have no published checksum", r"DOTUSDT-1m-2024-11.zip: has no .CHECKSUM"),
    *((f"funding of {venue} is written in UTC+3", rf"BTC-USDT_{venue}_.*settlements come 3h after 00, 08 and 16 UTC")
      for venue in ("binance", "bybit", "htx", "mexc")),
    ("the same by its rates",
     r"1h-funding_rate.feather BTCUSDT .*4383 of 4383 rates are those of .*3 h earlier: the other"),
    ("KuCoin settles at 04/12/20", r"BTC-USDT_kucoin_.*settlements come 7h after"),
    ("Gate lacks December 2020", r"BTC-USDT_gate_.* from 2021-01-01 00:00: settlements come late"),
    ("HTX has seven settlements off schedule", r"BTC-USDT_htx_.*7 × settlements are off the usual hours"),
    ("HTX misses some", r"BTC-USDT_htx_.*7 × settlements come late"),
    ("BTC mark starts 15 weeks after the klines",
     r"1h-futures.feather BTCUSDT from 2019-09-08 17:00: 2539 × klines have no mark bar beside them"),
    ("XRP mark starts before the klines",
     r"1h-futures.feather XRPUSDT from 2020-01-06 08:00: klines begin 5h after"),
    ("LTC mark starts before the klines",
     r"1h-futures.feather LTCUSDT from 2020-01-09 08:00: klines begin 4h after"),
    ("three BTC hours without volume", r"1h-futures.feather BTCUSDT from 2019-09-08 18:00: 3 × bars are flat"),
    ("LTC funding is exactly 0 at 312 stamps",
     r"LTC_USDT_USDT-1h-funding_rate.feather .*312 × rates are exactly 0"),
    ("XTZ funding: 8h, then 1h", r"XTZUSDT from 2025-07-20 08:00: the funding interval changes from 8h to 1h"),
    ("XTZ funding: 1h, then 4h", r"XTZUSDT from 2025-07-22 12:00: the funding interval changes from 1h to 4h"),
    ("LAYER funding: 4h, then 1h", r"LAYERUSDT from 2025-05-06 08:00: the funding interval changes from 4h to 1h"),
    ("LAYER klines start inside the history",
     r"LAYER_USDT_USDT-1m-futures.feather LAYERUSDT from 2025-05-04 15:37: klines begin"),
    ("spot: the longest gap, before 2018-02-09 10:00",
     r"BTC_USDT-1h.feather BTCUSDT from 2018-02-08 01:00: 33 bars are missing"),
    ("test files of XRP overlap in part",
     r"1h-futures.feather XRPUSDT from 2021-11-19 10:00: 43 × klines have no mark bar"),
    ("a snapshot of tiers has no date", r"binance_leverage_tiers.json: leverage tiers without a date"),
    ("47 rows of VIX contradict themselves", r"vix-daily.csv VIX .*47 × bars contradict themselves"),
    ("45 rows in the other edition", r"VIX_History.csv VIX .*45 × bars contradict themselves"),
    ("VIX in two editions: 8 closes, 62 opens",
     r"VIX_History.csv VIX .*disagree with vix-daily.csv VIX \(open 62, .*close 8"),
    ("VIX has rows on US holidays from 2022",
     r"vix-daily.csv VIX from 2022-05-30 00:00: 31 × rows lie on US market holidays"),
    ("VX of May 2007 is ten times too large before",
     r"CFE_VX_K2007.csv M-CFE-VX-K2007 from 2007-03-26 .*about tenfold"),
    ("VX of May 2008 too", r"CFE_VX_K2008_jun1_2006.csv M-CFE-VX-K2008-JUN1 from 2007-03-26 .*about tenfold"),
    ("VX: zeros mean no trade", r"CFE_VX_K2008_jun1_2006.csv .*181 × bars are 0 throughout: no trade"),
    ("SPY is newest first", r"daily_SPY.csv SPY .*newest first"),
    ("SPY closes differ on 505 of 5,388 days",
     r"daily_SPY.csv SPY .*disagree with spy-daily.zip SPY .*505 of 5388 closes"),
    ("SPXW has two strikes", r"spxw-minute-20210104_quote_european.zip: 12 contracts: 2 strikes, 3700 to 3800"),
    ("the chain of 2015 is a part", r"universe-spx-20151222.csv: 233 contracts: .* 10 expiries"),
    ("the chain of 2021 holds six", r"universe-spx-20210104.csv: 6 contracts"),
    ("FOMC: emergency moves are in",
     r"fomc_dates.csv FOMC from 2001-01-03 00:00: 9 × dates come much sooner than usual"),
    ("FOMC: no times of day", r"fomc_dates.csv FOMC .*dates have no time of day"),
    ("FOMC: later dates are schedule", r"fomc_dates.csv FOMC from 2026-12-09 00:00: rows lie in the future"),
    ("CPI: October 2025 was never published",
     r"cpi_release_dates.csv CPI from 2025-10-01 00:00: periods have a release date, but"),
    ("CPI: that of November 2025 came another day",
     r"cpi_release_dates.csv CPI from 2025-11-01 00:00: the release before did not happen as planned"),
    ("CPI: 2010, then 2022 on only", r"cpi_release_dates.csv CPI .*no date between 2011-01-14 and 2022-02-10"),
    ("CPI values have no row for October 2025",
     r"us_cpi_monthly.csv from 2025-11-01 00:00: the period before is missing"),
    *((f"{name} says nothing of when it was published", rf"{name}.csv .*nothing says when a value was published")
      for name in ("us_cpi_monthly", "unrate", "jobless_claims")),
    ("breadth: nine days", r"nyse_breadth.csv .*the series has 9 rows only"),
]  # fmt: skip


@pytest.fixture(scope="module")
def findings(real_data) -> list[str]:
    return [str(finding) for finding in check_paths([real_data], time_ms("2026-11-25"))]


@pytest.mark.parametrize(("known", "reads"), DEFECTS, ids=[known for known, _ in DEFECTS])
def test_a_known_defect_is_found(findings, known, reads):
    assert [line for line in findings if re.search(reads, line)], known


def test_the_maintenance_gaps_of_the_spot_market_are_all_found(findings):
    assert len([line for line in findings if "BTC_USDT-1h.feather" in line and "missing" in line]) == 27


def test_perpetuals_have_neither_gaps_nor_repeats_nor_contradictions(findings):
    bad = re.compile(r"-(futures|mark)\.\w+ \w+USDT .*(are missing|repeat|contradict|earlier than)")
    assert [line for line in findings if bad.search(line)] == []


def test_every_data_file_was_read(findings, real_data):
    assert [line for line in findings if "is not a" in line or "has no column" in line] == []
