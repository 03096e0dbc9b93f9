"""From the lake to the tape: what both tables have, at the mark's interval, with every hole listed."""

from __future__ import annotations

import numpy as np
import pytest
from market_files import FUNDING, KLINES, MARK, START, bars, full_lake, funding, piece
from test_tape import ONE_TIER

from backtest.data.exact import floats_to_e8
from backtest.data.store import Lake
from backtest.data.tape import build_tape
from backtest.errors import CoverageError, IntegrityError
from backtest.units import HOUR_MS

STOP = START + 1000 * HOUR_MS


def build(lake: Lake, interval: str = "1h", **changes):
    arguments = {"venue": "binance", "symbol": "BTCUSDT", "interval": interval, "start_ms": START, "stop_ms": STOP}
    return build_tape(lake, **{**arguments, "tiers": [ONE_TIER], "taker_fee_steps": [(0, 40_000)], **changes})


def without(columns, rows):
    return {name: np.delete(column, rows) for name, column in columns.items()}


def lake_of(root, klines=None, marks=None, rates=None, mark_dataset=MARK, kline_dataset=KLINES) -> Lake:
    lake = Lake(root)
    lake.merge(
        [
            piece(klines or bars(), kline_dataset, "k.csv"),
            piece(marks or bars(seed=2), mark_dataset, "m.csv"),
            piece(rates or funding(13), FUNDING, "f.csv"),
        ]
    )
    return lake


def test_a_tape_holds_last_price_and_mark_and_settles_at_the_stamps(tmp_path):
    result = build(full_lake(tmp_path))
    tape = result.tape
    assert tape.time_ms.tolist() == bars()["open_time_ms"].tolist()
    assert tape.trade_open_e8.tolist() == floats_to_e8(bars()["open"]).tolist()
    assert tape.mark_high_e8.tolist() == floats_to_e8(bars(seed=2)["high"]).tolist()
    settled = dict(zip(tape.time_ms[tape.segment_start[:-1]].tolist(), tape.segment_funding_e8.tolist(), strict=True))
    rates = funding(13)
    for stamp, rate in zip(rates["funding_time_ms"].tolist(), floats_to_e8(rates["funding_rate"]), strict=True):
        assert settled[stamp] == rate
    assert (result.holes, result.funding_moved) == ((), 0)
    assert result.funding_ms.tolist() == rates["funding_time_ms"].tolist()
    assert {entry.dataset for entry in result.entries} == {KLINES, MARK, FUNDING}
    assert np.allclose(result.quote_volume, bars()["volume"] * bars()["close"])


def test_the_range_is_half_open(tmp_path):
    result = build(full_lake(tmp_path), start_ms=START + 5 * HOUR_MS, stop_ms=START + 30 * HOUR_MS)
    assert result.tape.time_ms.tolist() == [START + h * HOUR_MS for h in range(5, 30)]


@pytest.mark.parametrize("table", ["klines", "marks"])
def test_a_hole_is_an_error_by_default_and_listed_under_flag(tmp_path, table):
    lake = lake_of(tmp_path, **{table: without(bars(seed=1 if table == "klines" else 2), [20, 21, 50])})
    with pytest.raises(CoverageError, match=r"(?s)rows are missing until.*2 holes"):
        build(lake)
    result = build(lake, gap_policy="flag")
    hour = [START + h * HOUR_MS for h in (20, 21, 50)]
    assert result.holes == ((hour[0], hour[1]), (hour[2], hour[2]))
    assert len(result.tape.time_ms) == 97
    assert not set(hour) & set(result.tape.time_ms.tolist())


def test_index_prices_stand_in_for_mark_only_when_asked_and_stay_listed(tmp_path):
    lake = lake_of(tmp_path, marks=without(bars(seed=2), [20, 21]))
    index = bars(seed=8)
    lake.merge([piece(index, MARK._replace(table="index_price"), "i.csv")])
    assert len(build(lake, gap_policy="flag").tape.time_ms) == 98
    result = build(lake, gap_policy="mark-from-index")
    assert result.holes == ((START + 20 * HOUR_MS, START + 21 * HOUR_MS),)
    assert result.tape.mark_low_e8[20:22].tolist() == floats_to_e8(index["low"][20:22]).tolist()
    assert result.tape.mark_low_e8[22] == floats_to_e8(bars(seed=2)["low"])[22]


def test_a_missing_settlement_is_a_hole(tmp_path):
    lake = lake_of(tmp_path, rates=without(funding(13), [5]))
    with pytest.raises(CoverageError, match="missing"):
        build(lake)
    stamps = funding(13)["funding_time_ms"]
    assert build(lake, gap_policy="flag").holes == ((stamps[4] + 1, stamps[6] - 1),)


def test_funding_that_ends_early_is_a_hole(tmp_path):
    lake = lake_of(tmp_path, rates=funding(5))
    with pytest.raises(CoverageError, match="missing"):
        build(lake)


def test_finer_last_prices_are_aggregated_to_the_marks_interval(tmp_path):
    fine = bars(400, interval_ms=HOUR_MS // 4)
    lake = lake_of(tmp_path, klines=fine, kline_dataset=KLINES._replace(interval="15m"))
    result = build(lake)
    assert result.tape.trade_open_e8.tolist() == floats_to_e8(fine["open"][::4]).tolist()
    assert result.tape.trade_close_e8.tolist() == floats_to_e8(fine["close"][3::4]).tolist()
    assert np.allclose(result.quote_volume, (fine["volume"] * fine["close"]).reshape(-1, 4).sum(axis=1))


def test_a_bar_whose_finer_bars_are_not_all_there_is_a_hole(tmp_path):
    fine = without(bars(400, interval_ms=HOUR_MS // 4), [81])
    result = build(lake_of(tmp_path, fine, kline_dataset=KLINES._replace(interval="15m")), gap_policy="flag")
    assert result.holes == ((START + 20 * HOUR_MS, START + 20 * HOUR_MS),)


def test_coarser_last_prices_are_refused(tmp_path):
    coarse = bars(25, interval_ms=4 * HOUR_MS)
    lake = lake_of(tmp_path, coarse, kline_dataset=KLINES._replace(interval="4h"))
    with pytest.raises(CoverageError, match="only coarser bars are there: 4h"):
        build(lake)


def test_bars_longer_than_the_funding_interval_are_refused(tmp_path):
    day = 24 * HOUR_MS
    rows = bars(8, start_ms=START // day * day, interval_ms=day)
    lake = lake_of(tmp_path, rows, rows, funding(20), MARK._replace(interval="1d"), KLINES._replace(interval="1d"))
    with pytest.raises(CoverageError, match="sooner than one 1d bar"):
        build(lake, "1d", start_ms=0, gap_policy="flag")


@pytest.mark.parametrize("table", [KLINES, MARK, FUNDING], ids=lambda dataset: dataset.table)
def test_a_missing_table_is_named(tmp_path, table):
    lake = full_lake(tmp_path)
    lake.drop(table)
    with pytest.raises(CoverageError, match=f"has no binance {table.table} BTCUSDT"):
        build(lake)


def test_a_range_without_bars_is_refused(tmp_path):
    with pytest.raises(CoverageError, match="no bar with both mark and last price"):
        build(full_lake(tmp_path), start_ms=0, stop_ms=START)


def test_a_flipped_bit_is_reported_before_a_tape_is_made(tmp_path):
    lake = full_lake(tmp_path)
    path = tmp_path / lake.entries([MARK])[1].path
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=path.name):
        build(lake)


def same(one, other) -> bool:
    arrays = [*zip(one.tape[1:], other.tape[1:], strict=True), (one.quote_volume, other.quote_volume)]
    facts = ("holes", "funding_moved", "entries")
    equal = all(np.array_equal(a, b) and a.dtype == b.dtype and not b.flags.writeable for a, b in arrays[:-1])
    return equal and np.array_equal(*arrays[-1]) and all(getattr(one, f) == getattr(other, f) for f in facts)


def test_a_kept_tape_equals_a_new_one_and_is_read_without_the_lakes_files(tmp_path, monkeypatch):
    lake, cache = full_lake(tmp_path / "lake"), tmp_path / "tapes"
    fresh = build(lake)
    assert same(fresh, build(lake, cache=cache))
    monkeypatch.setattr(Lake, "read", None)
    kept = build(lake, cache=cache)
    assert same(fresh, kept)
    assert kept.tape.interval_ms == HOUR_MS


def test_a_kept_tape_is_made_anew_when_damaged_or_when_anything_that_decides_changes(tmp_path):
    lake, cache = full_lake(tmp_path / "lake"), tmp_path / "tapes"
    fresh = build(lake, cache=cache)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    for at in (5, 70, 200, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        assert same(fresh, build(lake, cache=cache))
        assert file.read_bytes() == content
    file.write_bytes(content[:-9])
    assert same(fresh, build(lake, cache=cache))
    later = build(lake, cache=cache, start_ms=START + HOUR_MS)
    assert len(later.tape.time_ms) == 99
    dearer = build(lake, cache=cache, taker_fee_steps=[(0, 50_000)])
    assert dearer.tape.segment_taker_e8[0] == 50_000
    lake.merge([piece(bars() | {"high": bars()["high"] * 2}, MARK._replace(table="klines"))], replace_rows=True)
    assert not same(fresh, build(lake, cache=cache))


def test_only_the_newest_tapes_are_kept(tmp_path):
    lake, cache = full_lake(tmp_path / "lake"), tmp_path / "tapes"
    for hour in range(20):
        build(lake, cache=cache, stop_ms=START + (50 + hour) * HOUR_MS)
    assert len(list(cache.iterdir())) == 16
