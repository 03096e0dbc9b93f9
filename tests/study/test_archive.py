"""The archive: results come whole or not at all, and the manifest says what decided them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backtest.data.disk import sha256_file
from backtest.schema import OUTCOMES, RESULT_TABLES
from backtest.study.archive import (
    UNFINISHED,
    ParquetSink,
    decisions,
    staged,
    study_id,
    write_manifest,
    write_provenance,
)
from backtest.study.runner import study_jobs

from .small import STRATEGIES, Ran, small_study


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- all or nothing ------------------------------------------------------------------------------------------------


def test_staged_files_move_together_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with staged(folder) as staging:
        for name in ("outcomes.parquet", "manifest.json"):
            (staging / name).write_text("new")
        assert names(folder) == {UNFINISHED}
    assert names(folder) == {"outcomes.parquet", "manifest.json"}


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_what_fails_leaves_the_folder_as_it_was(kind: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "outcomes.parquet").write_text("old")

    def begin() -> None:
        with staged(tmp_path) as staging:
            (staging / "outcomes.parquet").write_text("half")
            raise kind

    with pytest.raises(kind):
        begin()
    assert names(tmp_path) == {"outcomes.parquet"}
    assert (tmp_path / "outcomes.parquet").read_text() == "old"


def test_what_fails_leaves_no_folder_that_was_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged(tmp_path / "a" / "b"):
        raise RuntimeError
    assert names(tmp_path) == set()


def test_what_a_killed_call_left_is_removed_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / UNFINISHED).mkdir()
    (tmp_path / UNFINISHED / "outcomes.parquet").write_text("half")
    (tmp_path / "notes.md").write_text("mine")
    with staged(tmp_path) as staging:
        assert names(staging) == set()
        (staging / "summary.csv").write_text("new")
    assert names(tmp_path) == {"notes.md", "summary.csv"}
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_the_sink_writes_each_table_with_its_rows_in_order(small: Ran, tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    ledger = {name: table for name, table in small.tables.items() if name != "outcomes"}
    half = len(small.tables["outcomes"]) // 2
    empty = {name: table.slice(0, 0) for name, table in ledger.items()}
    sink.write(small.tables["outcomes"].slice(0, half), ledger)
    sink.write(small.tables["outcomes"].slice(half), empty)
    assert sink.close().cast(OUTCOMES.arrow()).equals(small.tables["outcomes"])
    for name in RESULT_TABLES:
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(small.tables[name])
        assert sink.rows[name] == len(small.tables[name])


# --- what decided --------------------------------------------------------------------------------------------------


def test_the_manifest_lists_every_file_with_its_hash_and_rows(small: Ran, tmp_path: Path) -> None:
    pq.write_table(small.tables["fills"], tmp_path / "fills.parquet")
    (tmp_path / "summary.csv").write_text("a,b\n")
    hashes = decisions(small.study, [small.data], small.jobs)
    write_manifest(tmp_path, small.study, hashes, {"fills": len(small.tables["fills"])}, [], ["do it"])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["files"] == {
        "fills.parquet": {"sha256": sha256_file(tmp_path / "fills.parquet"), "rows": len(small.tables["fills"])},
        "summary.csv": {"sha256": sha256_file(tmp_path / "summary.csv")},
    }
    assert manifest["study_id"] == study_id(hashes)
    assert manifest["decided_by"] == hashes


def test_each_thing_that_decides_has_a_hash_of_its_own(small: Ran) -> None:
    before = decisions(small.study, [small.data], small.jobs)
    assert before == decisions(small.study, [small.data], small.jobs)

    def changed(after: dict[str, str]) -> set[str]:
        assert study_id(after) != study_id(before)
        return {part for part in before if before[part] != after[part]}

    other_seed = small_study(study={"seed": 2})
    assert changed(decisions(other_seed, [small.data], small.jobs)) == {"study"}
    fewer = small_study(strategies=STRATEGIES[:1])
    assert changed(decisions(fewer, [small.data], study_jobs(fewer, "small"))) == {"study", "rules"}
    one_tier_less = replace(small.data, tiers=small.data.tiers[:-1])
    assert changed(decisions(small.study, [one_tier_less], small.jobs)) == {"tiers"}
    one_file = replace(small.data, result=replace(small.data.result, entries=small.data.result.entries[:1]))
    assert changed(decisions(small.study, [one_file], small.jobs)) == {"data"}
    rows = small.data.entries.rows.copy()
    rows["step_e8"] *= 10
    other_step = replace(small.data, entries=replace(small.data.entries, rows=rows))
    assert changed(decisions(small.study, [other_step], small.jobs)) == {"contracts"}


def test_provenance_is_kept_apart_from_what_is_compared(tmp_path: Path) -> None:
    write_provenance(tmp_path, {"replay": 1.23456}, {"runs": 7})
    content = json.loads((tmp_path / "provenance.json").read_text())
    assert content["seconds"] == {"replay": 1.235}
    assert content["runs"] == 7
    assert {"written", "python", "machine", "system"} <= set(content)
