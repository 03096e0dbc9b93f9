"""Finer bars in place of coarse ones: where all of them are there and say the same, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from market_files import FUNDING, KLINES, MARK, START, bars, funding, piece
from test_tape import ONE_TIER

from backtest.data.detect import Prices, aggregate
from backtest.data.exact import floats_to_e8
from backtest.data.join import Refined
from backtest.data.store import Lake
from backtest.data.tape import TapeResult, build_tape
from backtest.errors import CoverageError
from backtest.units import HOUR_MS, MINUTE_MS

QUARTER_MS = 15 * MINUTE_MS
HOURS = 60
STOP = START + HOURS * HOUR_MS
Columns = dict[str, np.ndarray]


def quarters(seed: int) -> Columns:
    return bars(4 * HOURS, seed, START, QUARTER_MS)


def hours(columns: Columns, parts: int = 4) -> Columns:
    prices = Prices(*(columns[name] for name in Prices._fields))
    open_ms, joined, volume = aggregate(
        columns["open_time_ms"], prices, parts * QUARTER_MS, parts, columns["volume"] * 20_000
    )
    return {"open_time_ms": open_ms, **joined._asdict(), "volume": volume / 20_000}


def without(columns: Columns, rows: list[int]) -> Columns:
    return {name: np.delete(column, rows) for name, column in columns.items()}


LAST, MARKS = quarters(1), quarters(2)


def lake_of(root: Path, last: Columns = LAST, marks: Columns = MARKS, coarse_marks: Columns | None = None) -> Lake:
    """Give a lake of hours and of the given quarters."""
    lake = Lake(root)
    fine = {"interval": "15m"}
    lake.merge(
        [
            piece(hours(LAST), KLINES, "k.csv"),
            piece(coarse_marks or hours(MARKS), MARK, "m.csv"),
            piece(last, KLINES._replace(**fine), "fine k.csv"),
            piece(marks, MARK._replace(**fine), "fine m.csv"),
            piece(funding(8), FUNDING, "f.csv"),
        ]
    )
    return lake


def build(lake: Lake, *finer: str, **changes: object) -> TapeResult:
    common = {"venue": "binance", "symbol": "BTCUSDT", "interval": "1h", "start_ms": START, "stop_ms": STOP}
    rules = {"tiers": [ONE_TIER], "taker_fee_steps": [(0, 40_000)]}
    return build_tape(lake, finer=finer, **{**common, **rules, **changes})


def lengths(result: TapeResult) -> dict[int, int]:
    """Count the bars of each length."""
    values, counts = np.unique(result.tape.close_ms - result.tape.time_ms, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_a_tape_without_finer_bars_is_as_it_was(tmp_path: Path) -> None:
    plain, finer = build(lake_of(tmp_path)), build(lake_of(tmp_path), "5m")
    assert lengths(plain) == {HOUR_MS: HOURS}
    assert plain.refined == ()
    assert finer.refined == (Refined("5m", HOURS, 0, None, None, HOURS, 0),)
    for mine, theirs in zip(plain.tape, finer.tape, strict=True):
        assert np.array_equal(mine, theirs)


def test_whole_hours_are_replaced_and_the_tape_says_the_same_of_each(tmp_path: Path) -> None:
    lake = lake_of(tmp_path)
    coarse, fine = build(lake), build(lake, "15m")
    assert lengths(fine) == {QUARTER_MS: 4 * HOURS}
    assert fine.refined == (Refined("15m", HOURS, HOURS, START, STOP - HOUR_MS, 0, 0),)
    assert (fine.tape.interval_ms, fine.interval_ms) == (QUARTER_MS, HOUR_MS)
    assert fine.tape.time_ms.tolist() == LAST["open_time_ms"].tolist()
    assert fine.tape.mark_high_e8.tolist() == floats_to_e8(MARKS["high"]).tolist()
    assert fine.tape.trade_open_e8.tolist() == floats_to_e8(LAST["open"]).tolist()
    assert fine.tape.mark_low_e8.reshape(-1, 4).min(axis=1).tolist() == coarse.tape.mark_low_e8.tolist()
    assert np.allclose(fine.quote_volume.reshape(-1, 4).sum(axis=1).sum(), LAST["volume"] @ LAST["close"])
    assert {entry.dataset.interval for entry in fine.entries} == {"1h", "15m", "event"}


@pytest.mark.parametrize("table", ["last", "marks"])
def test_an_hour_with_a_hole_stays_and_nothing_counts_as_a_gap(tmp_path: Path, table: str) -> None:
    """Hours 3 and 4 lack a quarter, of mark or of last price: they stay hours, between hours in quarters."""
    lake = lake_of(tmp_path, **{table: without(LAST if table == "last" else MARKS, [13, 16])})
    result = build(lake, "15m")
    tape = result.tape
    assert result.refined == (Refined("15m", HOURS, HOURS - 2, START, STOP - HOUR_MS, 2, 0),)
    assert lengths(result) == {QUARTER_MS: 4 * (HOURS - 2), HOUR_MS: 2}
    assert tape.time_ms[12:14].tolist() == [START + 3 * HOUR_MS, START + 4 * HOUR_MS]
    assert tape.close_ms[:-1].tolist() == tape.time_ms[1:].tolist()
    assert result.holes == ()
    assert tape.mark_low_e8[12] == build(lake).tape.mark_low_e8[3]


@pytest.mark.parametrize("price", Prices._fields)
def test_an_hour_whose_quarters_join_to_another_stays(tmp_path: Path, price: str) -> None:
    """A mark that differs by 1e-8 is another bar."""
    changed = hours(MARKS)
    change = -1e-8 if price == "low" else 1e-8
    if price in ("open", "close"):  # inside the bar
        change = np.sign(changed["high"][5] + changed["low"][5] - 2 * changed[price][5]) * 1e-8
    changed[price][5] += change
    result = build(lake_of(tmp_path, coarse_marks=changed), "15m")
    assert result.refined == (Refined("15m", HOURS, HOURS - 1, START, STOP - HOUR_MS, 0, 1),)
    assert (result.tape.close_ms - result.tape.time_ms)[20] == HOUR_MS


@pytest.mark.parametrize(
    ("name", "replaced"), [("open", HOURS - 1), ("close", HOURS - 1), ("high", HOURS), ("low", HOURS)]
)
def test_of_last_prices_open_and_close_must_agree(tmp_path: Path, name: str, replaced: int) -> None:
    """A replay fills at opens, and at the last close: no other last price decides anything."""
    last = {key: column.copy() for key, column in LAST.items()}
    last[name][23 if name == "close" else 20] *= 1.001 if name == "high" else 0.9999
    last["low"][20:24] *= 0.99
    assert build(lake_of(tmp_path, last=last), "15m").refined[0].replaced == replaced


def test_a_missing_hour_is_a_hole_though_its_quarters_are_there(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, coarse_marks=without(hours(MARKS), [7]))
    result = build(lake, "15m", gap_policy="flag")
    assert result.holes == ((START + 7 * HOUR_MS, START + 7 * HOUR_MS),)
    assert lengths(result) == {QUARTER_MS: 4 * (HOURS - 1)}


def test_at_the_borders_of_the_range_only_what_lies_inside_is_replaced(tmp_path: Path) -> None:
    """A range that ends inside an hour keeps that hour whole, as it does without finer bars."""
    result = build(lake_of(tmp_path), "15m", start_ms=START + 2 * HOUR_MS, stop_ms=START + 5 * HOUR_MS + 2 * QUARTER_MS)
    assert lengths(result) == {QUARTER_MS: 12, HOUR_MS: 1}
    assert result.tape.time_ms[0] == START + 2 * HOUR_MS
    assert (result.tape.time_ms[-1], result.tape.close_ms[-1]) == (START + 5 * HOUR_MS, START + 6 * HOUR_MS)
    assert result.refined[0].missing == 1


def test_funding_settles_at_the_open_of_the_finer_bar(tmp_path: Path) -> None:
    coarse, fine = build(lake_of(tmp_path)), build(lake_of(tmp_path), "15m")
    for result in (coarse, fine):
        tape = result.tape
        settled = tape.time_ms[tape.segment_start[:-1]][tape.segment_funding_e8 != 0]
        assert settled.tolist() == funding(8)["funding_time_ms"][: len(settled)].tolist()
        assert result.funding_moved == 0
    assert coarse.funding_ms.tolist() == fine.funding_ms.tolist()
    assert coarse.tape.segment_low_e8.tolist() == fine.tape.segment_low_e8.tolist()
    # hours x marks of a segment count each open by its length
    ends = fine.tape.segment_start[1:] - 1
    first = fine.tape.segment_start[:-1]
    opens = [fine.tape.mark_open_e8[a : b + 1].sum() for a, b in zip(first, ends, strict=True)]
    assert fine.tape.open_sum_e8[ends].tolist() == opens


def test_a_stamp_inside_an_hour_settles_at_the_quarter_after_it(tmp_path: Path) -> None:
    """A venue that settled at half past: on hours it waits for the next one, in quarters it does not."""
    lake = lake_of(tmp_path)
    stamp = START + 5 * HOUR_MS + 2 * QUARTER_MS
    lake.merge([piece({"funding_time_ms": np.array([stamp]), "funding_rate": np.array([0.001])}, FUNDING, "g.csv")])
    coarse, fine = build(lake, gap_policy="flag"), build(lake, "15m", gap_policy="flag")
    assert (coarse.funding_moved, fine.funding_moved) == (1, 0)
    assert START + 6 * HOUR_MS in coarse.tape.time_ms[coarse.tape.segment_start[:-1]]
    assert stamp in fine.tape.time_ms[fine.tape.segment_start[:-1]]


def test_two_stamps_within_an_hour_are_refused_on_hours_and_taken_in_quarters(tmp_path: Path) -> None:
    lake = lake_of(tmp_path)
    stamp = START + 9 * HOUR_MS + 2 * QUARTER_MS  # half an hour before another
    lake.merge([piece({"funding_time_ms": np.array([stamp]), "funding_rate": np.array([0.001])}, FUNDING, "g.csv")])
    with pytest.raises(CoverageError, match="sooner than one 1h bar"):
        build(lake, gap_policy="flag")
    assert stamp in build(lake, "15m", gap_policy="flag").funding_ms


def test_several_kinds_of_finer_bars_fill_one_another(tmp_path: Path) -> None:
    """Halves in place of hours, quarters in place of halves: where a quarter is missing, a half stays."""
    lake = lake_of(tmp_path, marks=without(MARKS, [21]))
    halves = {"interval": "30m"}
    lake.merge(
        [
            piece(hours(LAST, 2), KLINES._replace(**halves), "half k.csv"),
            piece(hours(MARKS, 2), MARK._replace(**halves), "half m.csv"),
        ]
    )
    result = build(lake, "30m", "15m")
    assert lengths(result) == {QUARTER_MS: 4 * HOURS - 2, 2 * QUARTER_MS: 1}
    assert [(one.bars, one.replaced, one.missing) for one in result.refined] == [
        (HOURS, HOURS, 0),
        (2 * HOURS, 2 * HOURS - 1, 1),
    ]


def test_hours_that_are_joined_from_the_finer_bars_are_replaced_by_them(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    fine = {"interval": "15m"}
    pieces = [piece(LAST, KLINES._replace(**fine), "k.csv"), piece(MARKS, MARK._replace(**fine), "m.csv")]
    lake.merge([*pieces, piece(funding(8), FUNDING, "f.csv")])
    assert lengths(build(lake, "15m")) == {QUARTER_MS: 4 * HOURS}


def test_a_tape_is_read_back_with_what_was_replaced(tmp_path: Path) -> None:
    lake = lake_of(tmp_path / "lake", marks=without(MARKS, [13]))
    made, again = (build(lake, "15m", cache=tmp_path / "tapes") for _ in range(2))
    assert (made.refined, made.interval_ms, made.entries) == (again.refined, again.interval_ms, again.entries)
    for mine, theirs in zip(made.tape, again.tape, strict=True):
        assert np.array_equal(mine, theirs)
    assert build(lake, cache=tmp_path / "tapes").refined == ()
