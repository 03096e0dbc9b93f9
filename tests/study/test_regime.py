"""Regimes: entries parted by a series as it was known when they were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import conductor
from backtest.data.manifest import Source
from backtest.data.published import series_dataset
from backtest.data.store import Lake, Piece
from backtest.errors import CoverageError, StudyError
from backtest.schema import SERIES
from backtest.study.canonical import study_json, study_toml
from backtest.study.config import load_study, parse_study
from backtest.study.explain import explain
from backtest.study.regime import RegimeSpec, tags
from backtest.study.regime_steps import Edges, Market, SeriesPart
from backtest.study.results import open_results
from backtest.study.runner import load
from backtest.units import DAY_MS, E8

from .small import make_lake, small_study

VIX = {"name": "VIX", "series": "synthetic/VIX", "edges": [18, 22]}
SPEC = RegimeSpec("VIX", SeriesPart("synthetic/VIX", None, Edges((18 * E8, 22 * E8))))
SERIES_VIX = series_dataset("synthetic/VIX")


def series_lake(root: Path, rows: list[tuple[int, int, float]]) -> Lake:
    """Store rows of (period, day of publication, value)."""
    lake = Lake(root)
    ordered = sorted({(period, known): value for period, known, value in rows}.items())
    columns = {
        "time_ms": [key[0] * DAY_MS for key, _ in ordered],
        "value": [value for _, value in ordered],
        "available_ms": [key[1] * DAY_MS for key, _ in ordered],
    }
    lake.merge([Piece(SERIES_VIX, pa.table(columns, schema=SERIES.arrow()), Source("v.csv", "0" * 64))])
    return lake


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(10, 30)), min_size=1, max_size=25),
    st.lists(st.integers(-2, 45), min_size=1, max_size=20),
)
def test_what_counts_is_the_newest_published_period_in_its_newest_version(tmp_path_factory, rows, days):
    published = [(period, period + lag, float(value)) for period, lag, value in rows]
    published = [(p, k, v) for (p, k), v in {(p, k): v for p, k, v in published}.items()]
    lake = series_lake(tmp_path_factory.mktemp("lake"), published)
    found = tags((SPEC,), lake, Market("binance", "BTCUSDT"), np.array(days, np.int64) * DAY_MS)["VIX"]
    for day, place in zip(days, found.tolist(), strict=True):
        known = [(period, when, value) for period, when, value in published if when <= day]
        value = max(known)[2] if known else None
        expected = 3 if value is None else (value >= 18) + (value >= 22)
        assert place == expected


def test_a_study_is_read_with_its_regimes_and_written_back(tmp_path: Path) -> None:
    study = small_study(regime=[VIX])  # type: ignore[arg-type]
    assert study.regimes == (SPEC,)
    assert parse_study(json.loads(study_json(study)), "json") == study
    (tmp_path / "study.toml").write_text(study_toml(study), encoding="utf-8")
    assert load_study(tmp_path) == study
    assert "regime" not in study_json(small_study())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"edges": [22, 18]}, "regime[1].edges: are not in order"),
        ({"edges": []}, "regime[1].edges: is an empty list"),
        ({"enter": ["18 to 23"]}, 'regime[1].enter: names "18 to 23", no regime of it; known: under 18, 18 to 22'),
        ({"series": "VIX"}, 'regime[1].series: is "VIX", not a series of the lake'),
        ({"nam": "x"}, "regime[1].nam: is not a key here"),
    ],
)
def test_a_regime_that_cannot_be_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(StudyError) as caught:
        small_study(regime=[VIX | changes])  # type: ignore[arg-type]
    assert what in str(caught.value)


def test_two_regimes_of_one_name_and_a_regime_in_a_bootstrap_are_refused() -> None:
    with pytest.raises(StudyError, match="already the name of another regime"):
        small_study(regime=[VIX, VIX])  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="which scatters the days"):
        small_study(regime=[VIX], market={"resample": {"method": "bootstrap", "block": "5d"}})  # type: ignore[arg-type]


def test_the_report_compares_the_parts_and_the_series_decides_the_study_id(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake")
    study = small_study(regime=[VIX])  # type: ignore[arg-type]
    done = conductor.compare(study, lake.root, tmp_path / "out", "small")
    parts = [part for part in done.model.breakdowns if part.dimension == "VIX at the entry"]
    assert [part.value for part in parts] == [label for label in SPEC.labels if label in {part.value for part in parts}]
    assert len(parts) > 1
    (hold,) = {sum(row.intrabar.pairs for row in part.rows if row.strategy == "hold") for part in [parts[0]]}
    assert 0 < hold < done.model.summary.baseline.intrabar.pairs
    assert "VIX at the entry" in (tmp_path / "out/report.html").read_text()
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    rows = lake.read(SERIES_VIX)
    lake.drop(SERIES_VIX)
    higher = rows.set_column(1, "value", pa.array(rows["value"].to_numpy() + 3))
    lake.merge([Piece(SERIES_VIX, higher.cast(SERIES.arrow()), Source("higher", "1" * 64))])
    conductor.compare(study, lake.root, tmp_path / "again", "small")
    other = json.loads((tmp_path / "again/manifest.json").read_text())
    assert other["study_id"] != manifest["study_id"]
    assert {name for name, value in other["decided_by"].items() if value != manifest["decided_by"][name]} == {"regimes"}
    assert other["files"]["outcomes.parquet"] == manifest["files"]["outcomes.parquet"]


def test_entries_are_made_only_in_the_regimes_to_enter_in(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake")
    all_of_it = load(small_study(regime=[VIX]), lake)[0]  # type: ignore[arg-type]
    kept = [
        load(small_study(regime=[VIX | {"enter": [label]}]), lake)[0]  # type: ignore[arg-type]
        for place, label in enumerate(SPEC.labels)
        if place in all_of_it.tags["VIX"]
    ]
    assert len(kept) > 1
    assert sorted(label for data in kept for label in data.entries.labels) == sorted(all_of_it.entries.labels)
    for data in kept:
        assert len(set(data.tags["VIX"].tolist())) == 1
        place = all_of_it.tags["VIX"] == data.tags["VIX"][0]
        assert data.entries.labels == [
            label for label, here in zip(all_of_it.entries.labels, place, strict=True) if here
        ]
    with pytest.raises(StudyError, match="no entry falls into these regimes"):
        load(small_study(regime=[VIX | {"edges": [500], "enter": ["500 or more"]}]), lake)  # type: ignore[arg-type]


def test_a_study_with_a_signal_reproduces_and_explains_its_runs(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake")
    study = small_study(regime=[VIX | {"edges": [20], "enter": ["20 or more"]}])  # type: ignore[arg-type]
    assert parse_study(json.loads(study_json(study)), "json") == study
    done = conductor.compare(study, lake.root, tmp_path / "out", "small")
    assert 0 < done.model.summary.baseline.intrabar.pairs < len(load(small_study(), lake)[0].entries.rows)
    assert "entries only while, as published by then: VIX 20 or more" in (tmp_path / "out/report.md").read_text()
    assert "short, 5×, 20×, while VIX is 20 or more, isolated" in (tmp_path / "out/report.html").read_text()
    results = open_results(tmp_path / "out")
    run_id = results.outcomes()["run_id"][0].as_py()
    assert explain(results, run_id, lake.root).changed == ()


def test_a_series_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CoverageError, match="has no cboe series VIX event"):
        conductor.dry_run(small_study(regime=[VIX | {"series": "cboe/VIX"}]), make_lake(tmp_path).root, "small")  # type: ignore[arg-type]
