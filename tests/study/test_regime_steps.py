"""What parts time: bands, ratios, thirds of an expanding window, the cycle of growth, windows around events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest import conductor
from backtest.data.imports import import_file
from backtest.data.manifest import Source
from backtest.data.published import Values, series_dataset
from backtest.data.sources.rows import ImportOptions
from backtest.data.store import Lake, Piece
from backtest.errors import CoverageError, DataError, SignalError, StudyError
from backtest.schema import SERIES
from backtest.signals.compute import compute
from backtest.signals.spec import SignalSpec
from backtest.study.outside import outside_of
from backtest.study.reader import Section
from backtest.study.regime import (
    NOT_KNOWN,
    PRESETS,
    RegimeSpec,
    as_signal,
    parts_by_signal,
    read_regimes,
    signal_name,
    tags,
)
from backtest.study.regime_steps import (
    Cycle,
    Edges,
    EventPart,
    Market,
    Parting,
    Steps,
    Thirds,
    ratio,
)
from backtest.study.runner import load
from backtest.units import DAY_MS, E8, HOUR_MS, time_ms

from .small import hour_ms, make_lake, small_study

Row = tuple[int, int, float]  # period, known, value
BTC = Market("binance", "BTCUSDT")


def table(rows: list[Row]) -> pa.Table:
    columns = zip(*((period, value, known) for period, known, value in sorted(rows)), strict=True)
    return pa.table(dict(zip(SERIES.names, map(list, columns), strict=True)), schema=SERIES.arrow())


def steps(part: Parting, rows: pa.Table) -> Steps:
    values = part.values(rows)
    return Steps(values.known_ms, part.places(values))


def label(part: Parting, rows: list[Row], at: int) -> str:
    place = int(steps(part, table(rows)).at(np.array([at]))[0])
    return part.labels[place] if place >= 0 else NOT_KNOWN


def read(*regimes: dict[str, Any]) -> tuple[RegimeSpec, ...]:
    top = Section("page", "", {"regime": list(regimes)}, [])
    found = read_regimes(top)
    top.finish()
    return found


# --- a close is known after the close, and holds over the weekend --------------------------------------------------


def closes() -> list[Row]:
    """VIX closes of a Thursday, a Friday and a Monday, known at 21:15 UTC."""
    days = {"2024-08-01": 18.59, "2024-08-02": 23.39, "2024-08-05": 38.57}
    return [(time_ms(day), time_ms(f"{day}T21:15"), value) for day, value in days.items()]


@pytest.mark.parametrize(
    ("at", "band"),
    [
        ("2024-08-01T21:14", NOT_KNOWN),
        ("2024-08-01T21:15", "15 to 20"),
        ("2024-08-02T21:14", "15 to 20"),
        ("2024-08-02T21:15", "20 to 28"),
        ("2024-08-03T12:00", "20 to 28"),
        ("2024-08-04T23:00", "20 to 28"),
        ("2024-08-05T21:14", "20 to 28"),
        ("2024-08-05T21:15", "28 or more"),
    ],
)
def test_a_close_counts_once_it_was_published_and_until_the_next(at: str, band: str) -> None:
    assert label(Edges((15 * E8, 20 * E8, 28 * E8)), closes(), time_ms(at)) == band


@pytest.mark.real
def test_the_bands_of_the_real_index_know_no_weekend(real_data: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    options = ImportOptions(
        venue="cboe", table="series", symbol="VIX", interval="event", available_after_ms=DAY_MS,
        columns={"time": "DATE", "value": "CLOSE"},
    )  # fmt: skip
    import_file(lake, real_data / "cboe/vix-daily.csv", options)
    times = ["2024-08-02T12:00", "2024-08-03T00:00", "2024-08-04T12:00", "2024-08-05T20:00", "2024-08-06T00:00"]
    (spec,) = read({"use": "vix_bands"})
    places = tags((spec,), lake, BTC, np.array([time_ms(at) for at in times]))["VIX"]
    assert [spec.labels[place] for place in places] == ["15 to 20", "20 to 28", "20 to 28", "20 to 28", "28 or more"]


# --- the ratio of two series ---------------------------------------------------------------------------------------


def test_the_curve_is_told_once_both_closes_of_a_day_are_known() -> None:
    (spec,) = read({"use": "vix_curve"})
    vix = [(1, 12, 18.0), (2, 22, 30.0), (3, 32, 20.0)]
    three_months = [(1, 13, 20.0), (2, 25, 25.0), (4, 42, 20.0)]
    rows = ratio(table(vix), table(three_months), "VIX3M")
    assert rows.to_pydict() == {"time_ms": [1, 2], "value": [0.9, 1.2], "available_ms": [13, 25]}
    assert spec.part.labels == ("contango", "flat", "backwardation")
    places = steps(spec.part.by, rows).at(np.array([12, 13, 24, 25]))
    assert [spec.labels[place] for place in places] == [NOT_KNOWN, "contango", "contango", "backwardation"]
    with pytest.raises(DataError, match="VIX3M: holds a value of 0"):
        ratio(table(vix), table([(1, 1, 0.0)]), "VIX3M")
    assert ratio(table(vix), table([(9, 9, 1.0)]), "VIX3M").num_rows == 0


@given(*[st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 8)), st.integers(1, 9), min_size=1)] * 2)
def test_a_ratio_divides_the_versions_known_at_the_time(mine: Any, theirs: Any) -> None:
    rows = ratio(*(table([(p, k, float(v)) for (p, k), v in some.items()]) for some in (mine, theirs)), "x")
    found = {(row["time_ms"], row["available_ms"]): row["value"] for row in rows.to_pylist()}
    expected = {}
    for period in range(4):
        for at in range(9):
            a, b = ([(k, v) for (p, k), v in some.items() if p == period and k <= at] for some in (mine, theirs))
            if a and b and at in {k for k, _ in a + b}:
                expected[period, at] = max(a)[1] / max(b)[1]
    assert found == expected


# --- thirds and cycle ----------------------------------------------------------------------------------------------


def test_thirds_are_those_of_the_days_so_far() -> None:
    values = np.random.Generator(np.random.PCG64(1)).lognormal(3, 0.5, 600).round()  # with ties
    rows = [(day, day * DAY_MS, value) for day, value in enumerate(values.tolist())]
    found = steps(Thirds(), table(rows))
    for day, place in enumerate(found.place.tolist()):
        smaller = sum(other < values[day] for other in values[: day + 1])
        assert place == (-1 if day < 90 else 0 if 3 * smaller < day + 1 else 1 if 3 * smaller < 2 * (day + 1) else 2)
    assert set(found.place[90:].tolist()) == {0, 1, 2}


def test_a_series_that_never_moves_is_calm() -> None:
    rows = [(day, day * DAY_MS, 20.0) for day in range(100)]
    assert label(Thirds(), rows, 99 * DAY_MS) == "calm third"


def test_the_cycle_steps_when_growth_is_first_published() -> None:
    """A revision changes nothing: what was told first is what people acted on."""
    rows = [
        (0, 10, 2.0),
        (100, 110, -1.0),
        (200, 210, -5.0),
        (300, 310, -2.0),
        (400, 410, 3.0),
        (500, 510, 1.0),
        (600, 610, 1.0),
        (100, 130, 4.0),
        (500, 520, 9.0),
    ]
    told = {9: NOT_KNOWN, 10: NOT_KNOWN, 109: NOT_KNOWN, 110: "recession", 130: "recession", 210: "recession",
            310: "recovery", 409: "recovery", 410: "expansion", 510: "slowdown", 520: "slowdown",
            610: "expansion"}  # fmt: skip
    assert {at: label(Cycle(), rows, at) for at in told} == told


# --- signals -------------------------------------------------------------------------------------------------------


def test_a_signal_that_is_not_known_has_no_part_and_teaches_nothing() -> None:
    day = np.arange(120) * DAY_MS
    value = np.where(day < 10 * DAY_MS, np.nan, np.arange(120.0))
    value[110] = np.nan
    thirds = Thirds().places(Values(day, value))
    assert (thirds == -1).nonzero()[0].tolist() == [*range(100), 110]
    assert set(thirds[100:110].tolist()) == {2}
    assert Edges((50 * E8,)).places(Values(day, value))[[9, 10, 110, 111]].tolist() == [-1, 0, -1, 1]


def test_each_symbol_has_the_part_of_its_own_signal(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, symbols=("BTCUSDT", "ETHUSDT"))
    (spec,) = read({"name": "volatility", "signal": "vol_30d", "edges": [60, 90]})
    days = np.array([hour_ms(24 * day) for day in range(20, 60)])
    places = {}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        market = Market("binance", symbol)
        found = compute(SignalSpec("x", "vol_30d"), lake, venue=market.venue, symbol=symbol, start_ms=0, stop_ms=10**13)
        values = found.value[np.searchsorted(found.available_ms, days, side="right") - 1]
        expected = np.where(np.isnan(values), 3, np.searchsorted([60, 90], values, side="right"))
        places[symbol] = tags((spec,), lake, market, days)["volatility"].tolist()
        assert places[symbol] == expected.tolist()
        assert len(set(places[symbol])) > 1
        early = tags((spec,), lake, market, days[:25])["volatility"].tolist()
        assert early == places[symbol][:25]
    assert places["BTCUSDT"] != places["ETHUSDT"]
    with pytest.raises(SignalError, match='no signal "vol_30"; did you mean "vol_30d"'):
        tags(read({"name": "x", "signal": "vol_30", "edges": [1]}), lake, BTC, days)


def test_a_report_compares_the_parts_of_every_symbol(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake", symbols=("BTCUSDT", "ETHUSDT"))
    volatility = {"name": "volatility", "signal": "vol_30d", "edges": [60, 90]}
    both = {"symbols": ["BTCUSDT", "ETHUSDT"]}
    study = small_study(strategies=[], market=both, regime=[volatility, {"use": "fomc_window", "before": "48h"}])  # type: ignore[arg-type]
    loaded = load(study, lake)
    done = conductor.compare(study, lake.root, tmp_path / "out", "small")
    for spec in study.regimes:
        counts = {}
        for data in loaded:
            for place in data.tags[spec.name].tolist():
                counts[spec.labels[place]] = counts.get(spec.labels[place], 0) + 1
        parts = [part for part in done.model.breakdowns if part.dimension == f"{spec.name} at the entry"]
        assert {part.value: part.rows[0].intrabar.pairs for part in parts} == counts
        assert len(counts) > 1
    (row,) = done.model.input.events
    lost = [row for row in done.outcomes.to_pylist() if row["strategy"] == "hold" and row["liquidated"]]
    speeches = [time_ms("2023-02-01T19:00")]  # the only one of the study's days
    inside = sum(-48 * HOUR_MS <= row["liquidation_ms"] - at <= 2 * HOUR_MS for row in lost for at in speeches)
    assert row == {
        "window": "FOMC window: 2d before to 2h after",
        "windows": 1,
        "% of the time": round(100 * 50 / (60 * 24), 2),
        "liquidations of hold": len(lost),
        "inside": inside,
        "% of them": round(100 * inside / len(lost), 2),
    }
    assert "Around announced events" in (tmp_path / "out/report.md").read_text()


# --- events --------------------------------------------------------------------------------------------------------


def test_entries_are_told_apart_by_the_windows_of_a_calendar(tmp_path: Path) -> None:
    (spec,) = read({"use": "fomc_window"})
    assert spec.part == EventPart("fomc", 24 * HOUR_MS, 2 * HOUR_MS)
    times = {
        "2024-03-19T17:59": "outside",
        "2024-03-19T18:00": "inside",
        "2024-03-20T20:00": "inside",
        "2024-03-20T20:01": "outside",
        "2020-03-15T20:59": "outside",
        "2020-03-15T21:00": "inside",
        "2020-03-18T18:00": "outside",
    }
    places = tags((spec,), Lake(tmp_path), BTC, np.array([time_ms(at) for at in times]))["FOMC window"]
    assert [spec.labels[place] for place in places] == list(times.values())
    with pytest.raises(CoverageError, match='calendar "fomc": covers 2012-01-01 05:00 to 2027-12-08 19:00'):
        tags((spec,), Lake(tmp_path), BTC, np.array([time_ms("2011-01-01")]))
    with pytest.raises(DataError, match='calendar "ppi": is not there'):
        tags(read({"use": "ppi_window"}), Lake(tmp_path), BTC, np.array([time_ms("2024-01-01")]))


# --- no look-ahead -------------------------------------------------------------------------------------------------

published = st.dictionaries(
    st.tuples(st.integers(0, 20), st.integers(0, 6)), st.integers(-9, 9), min_size=1, max_size=20
)


@pytest.mark.parametrize("part", [Edges((-3 * E8, 2 * E8)), Thirds(), Cycle()], ids=lambda part: type(part).__name__)
@given(published, st.integers(0, 26))
def test_what_is_published_later_changes_nothing_before(part: Parting, some: Any, cut: int) -> None:
    month = 30 * DAY_MS  # so that thirds are told
    rows = [(p * month, (p + lag) * month, float(value)) for (p, lag), value in some.items()]
    known = [row for row in rows if row[1] <= cut * month]
    times = np.arange(cut + 1) * month
    whole = steps(part, table(rows)).at(times)
    assert (steps(part, table(known)).at(times) if known else np.full(len(times), -1)).tolist() == whole.tolist()


@pytest.mark.parametrize("use", ["vix_bands", "vix_curve", "gdp_cycle", "fomc_window"])
def test_a_rule_may_read_a_regime_as_a_signal(use: str, tmp_path: Path) -> None:
    """Its value at any time is the place that an entry at that time has."""
    lake, day = Lake(tmp_path), DAY_MS
    start = time_ms("2024-03-01")
    for name, values in (("cboe/VIX", [14.0, 22.0, 30.0]), ("cboe/VIX3M", [20.0, 22.0, 25.0])):
        rows = [(start + k * day, start + (k + 1) * day, value) for k, value in enumerate(values)]
        lake.merge([Piece(series_dataset(name), table(rows), Source(name, "0" * 64))])
    growth = [(start + k * day, start + k * day, value) for k, value in enumerate([1.0, 2.0, -1.0])]
    growth += [(start + 7 * day, start + 20 * day, 3.0), (start + 8 * day, start + 20 * day, -4.0)]  # of one moment
    lake.merge([Piece(series_dataset("fred/A191RL1Q225SBEA"), table(growth), Source("gdp", "0" * 64))])
    (spec,) = read({"use": use})
    times = np.arange(start, start + 40 * day, HOUR_MS)
    places = tags((spec,), lake, BTC, times)[spec.name]
    found = as_signal(spec.part, lake, BTC, int(times[0]), int(times[-1]) + 1)
    row = np.searchsorted(found.available_ms, times, side="right") - 1
    value = np.where(row < 0, np.nan, found.value[np.maximum(row, 0)])
    assert np.where(np.isnan(value), len(spec.part.labels), value).tolist() == places.tolist()
    assert (np.diff(found.available_ms) > 0).all()
    assert len(set(places.tolist())) > 1


@pytest.mark.parametrize("text", ["VIX curve", "vix_curve", " VIX / curve! "])
def test_a_regime_is_named_as_a_signal_in_small_letters(text: str) -> None:
    assert signal_name(text) == "vix_curve"


def test_a_study_tells_its_rules_regimes_by_name(tmp_path: Path) -> None:
    """Its own goes before one that comes along, and a signal of the study before both."""
    lake, day = Lake(tmp_path), DAY_MS
    start = time_ms("2023-01-01")
    rows = [(start + k * day, start + k * day, value) for k, value in enumerate([14.0, 22.0, 30.0])]
    lake.merge([Piece(series_dataset("cboe/VIX"), table(rows), Source("VIX", "0" * 64))])
    own = {"name": "My Fear", "series": "cboe/VIX", "edges": [25]}
    told = outside_of(small_study(regime=[own]), lake, "BTCUSDT")
    assert told.signal("vix_bands").value.tolist() == [0.0, 2.0, 3.0]
    assert told.signal("my_fear").value.tolist() == [0.0, 0.0, 1.0]
    band = {"name": "my_fear", "use": "vix_band"}
    with_signal = outside_of(small_study(regime=[own], signal=[band]), lake, "BTCUSDT")
    assert with_signal.signal("my_fear").value.tolist() != [0.0, 0.0, 1.0]
    assert {"vix_bands", "gdp_cycle", "my_fear"} <= parts_by_signal(small_study(regime=[own]).regimes).keys()


# --- in a study ----------------------------------------------------------------------------------------------------


def test_every_preset_is_read_and_written_in_full() -> None:
    for use in PRESETS:
        (spec,) = read({"use": use})
        form = {"name": spec.name} | spec.part.form()
        assert "use" not in form
        assert read(form) == (spec,)
    (other,) = read({"use": "vix_bands", "name": "fear", "edges": [30], "enter": "30 or more"})
    assert (other.name, other.labels, other.enter) == ("fear", ("under 30", "30 or more", NOT_KNOWN), ("30 or more",))
    assert len(read(*({"use": use} for use in PRESETS))) == len(PRESETS)


@pytest.mark.parametrize(
    ("regime", "what"),
    [
        ({"use": "vix_band"}, 'regime[1].use: is "vix_band", which is none of the choices; did you mean "vix_bands"?'),
        ({"name": "x", "series": "a/b", "edges": [1], "thirds": True}, 'regime[1].thirds: is given beside "edges"'),
        ({"name": "x", "series": "a/b", "event": "cpi", "before": "1h"}, 'regime[1].event: is given beside "series"'),
        ({"name": "x", "event": "cpi", "before": "1h"}, "regime[1].after: is missing"),
        ({"name": "x", "series": "a/b", "cycle": 1}, "regime[1].cycle: is 1, neither true nor false"),
        ({"name": "x", "series": "a/b", "edges": [1], "labels": ["low"]}, "labels: are 1 for 1 edges; give 2"),
        ({"name": "x", "edges": [1]}, "regime[1].series: is missing"),
        ({"name": "x", "signal": "vol_30d", "cycle": True}, "regime[1].cycle: takes growth as first published"),
        ({"name": "x", "series": "a/b"}, "regime[1].edges: is missing"),
        ({"use": "fomc_window", "enter": "within"}, 'enter: names "within", no regime of it; known: outside, inside'),
    ],
)  # fmt: skip
def test_a_regime_that_cannot_be_is_refused(regime: dict[str, Any], what: str) -> None:
    with pytest.raises(StudyError) as caught:
        read(regime)
    assert what in str(caught.value)


def test_a_series_is_read_from_the_lake(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for name, rows in (("VIX", [(0, 1, 19.0)]), ("VIX3M", [(0, 2, 20.0)])):
        lake.merge([Piece(series_dataset(f"cboe/{name}"), table(rows), Source(name, "0" * 64))])
    specs = read({"use": "vix_bands"}, {"use": "vix_curve"})
    found = tags(specs, lake, BTC, np.array([0, 1, 2]))
    assert [[spec.labels[place] for place in found[spec.name]] for spec in specs] == [
        [NOT_KNOWN, "15 to 20", "15 to 20"],
        [NOT_KNOWN, NOT_KNOWN, "flat"],
    ]
