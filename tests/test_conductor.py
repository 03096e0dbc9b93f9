"""The main job, end to end: a study over a small lake, to a folder of results."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from study.small import make_lake, small_study

from backtest import conductor
from backtest.cli import run
from backtest.data.disk import sha256_file
from backtest.data.store import Lake
from backtest.errors import CoverageError, IntegrityError, StudyError
from backtest.report.terminal import summary_text
from backtest.schema import OUTCOMES, RESULT_TABLES
from backtest.study.canonical import resolved
from backtest.study.config import Study, parse_study
from backtest.study.rule_files import load_rules
from backtest.study.runner import load_symbol, study_jobs
from backtest.study.unfinished import INTERRUPTED, interrupted
from backtest.study.verify import verify_runs

COMPARED = {"outcomes.parquet", "transfers.parquet", "fills.parquet", "actions.parquet"} | {
    "summary.csv",
    "report.md",
    "report.html",
    "manifest.json",
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(Path(tmp_path_factory.mktemp("lake")))


def compare(study: Study, lake: Lake, folder: Path) -> conductor.Comparison:
    return conductor.compare(study, lake.root, folder, "small", reproduce=["backtest compare small"])


@pytest.fixture(scope="module")
def finished(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> conductor.Comparison:
    return compare(small_study(), lake, Path(tmp_path_factory.mktemp("results")) / "small")


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in ("provenance.json", INTERRUPTED)}


def test_a_comparison_leaves_its_tables_summary_report_and_manifest(finished: conductor.Comparison) -> None:
    assert {path.name for path in finished.folder.iterdir()} == COMPARED | {"provenance.json"}
    for name, form in RESULT_TABLES.items():
        assert pq.read_table(finished.folder / f"{name}.parquet").schema == form.arrow()
    assert pq.read_table(finished.folder / "outcomes.parquet").equals(finished.outcomes.cast(OUTCOMES.arrow()))


def test_the_manifest_hashes_what_lies_beside_it(finished: conductor.Comparison) -> None:
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    assert set(manifest["files"]) == COMPARED - {"manifest.json"}
    for name, known in manifest["files"].items():
        assert known["sha256"] == sha256_file(finished.folder / name)
        if name.endswith(".parquet"):
            assert known["rows"] == pq.read_metadata(finished.folder / name).num_rows


def test_the_same_study_gives_the_same_bytes(finished: conductor.Comparison, lake: Lake, tmp_path: Path) -> None:
    again = compare(small_study(), lake, tmp_path)
    assert content(again.folder) == content(finished.folder)


def test_without_the_kept_tape_it_gives_the_same_bytes(finished: conductor.Comparison, tmp_path: Path) -> None:
    again = compare(small_study(), make_lake(tmp_path / "lake"), tmp_path / "out")
    assert content(again.folder) == content(finished.folder)


def test_a_second_call_replaces_the_first(lake: Lake, tmp_path: Path) -> None:
    compare(small_study(), lake, tmp_path)
    before = content(tmp_path)
    compare(small_study(study={"seed": 2}), lake, tmp_path)
    after = content(tmp_path)
    assert set(before) == set(after)
    assert {name for name in COMPARED if before[name] != after[name]} >= {"outcomes.parquet", "manifest.json"}


def test_the_report_holds_nothing_of_the_machine(finished: conductor.Comparison, lake: Lake) -> None:
    for name in COMPARED - {f"{table}.parquet" for table in RESULT_TABLES}:
        text = (finished.folder / name).read_text()
        assert str(lake.root) not in text
        assert str(finished.folder) not in text


def test_the_summary_counts_what_the_outcomes_hold(finished: conductor.Comparison) -> None:
    rows = list(csv.DictReader((finished.folder / "summary.csv").read_text().splitlines()))
    outcomes = finished.outcomes.to_pylist()
    assert {row["strategy"] for row in rows} == {outcome["strategy"] for outcome in outcomes}
    for row in rows:  # a control, replayed once, stands beside both reactions
        own = [o for o in outcomes if o["strategy"] == row["strategy"] and o["reaction"] in (row["reaction"], "both")]
        assert int(row["liquidated"]) == sum(o["liquidated"] for o in own)


def test_a_worked_liquidation_is_told_in_the_report(finished: conductor.Comparison) -> None:
    text = (finished.folder / "report.md").read_text()
    assert "Run hold/BTCUSDT/" in text
    assert "LIQUIDATION, cause price" in text


def test_synthetic_data_are_called_so(finished: conductor.Comparison) -> None:
    assert "synthetic" in (finished.folder / "report.html").read_text().lower()


@pytest.mark.parametrize(
    ("resample", "said"),
    [
        ({"method": "bootstrap", "block": "5d", "seed": 4}, "blocks of 5d drawn from real history with seed 4"),
        ({"method": "crash", "windows": ["fall"], "scale": "1.5"}, "real history with moves 1.5× as large in fall"),
    ],
)
def test_a_stress_market_is_called_so_everywhere(
    finished: conductor.Comparison,
    lake: Lake,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    resample: dict[str, object],
    said: str,
) -> None:
    window = [{"name": "fall", "from": "2023-01-20", "to": "2023-01-25"}] if "windows" in resample else []
    study = parse_study({**resolved(small_study()), "window": window}, "small")
    form = resolved(study)
    study = parse_study({**form, "market": {**form["market"], "resample": resample}}, "small")  # type: ignore[dict-item]
    done = compare(study, lake, tmp_path / "out")
    assert json.loads((done.folder / "manifest.json").read_text())["study"]["market"]["resample"] == resample
    assert said in (done.folder / "report.html").read_text()
    assert said in (done.folder / "report.md").read_text().replace("\\", "")
    assert f"RESAMPLED market: {said}" in summary_text(resolved(study), done.model.summary)
    assert run(["explain", str(done.folder), done.outcomes["run_id"][0].as_py(), "--lake", str(lake.root)]) == 0
    assert said in capsys.readouterr().err
    assert content(done.folder)["outcomes.parquet"] != content(finished.folder)["outcomes.parquet"]
    again = compare(study, make_lake(tmp_path / "lake"), tmp_path / "again")
    assert content(again.folder) == content(done.folder)
    loaded = load_symbol(study, lake, "BTCUSDT")
    assert verify_runs(study, loaded, study_jobs(study, "s"), load_rules(), done.outcomes.slice(0, 40)) == {}


def test_a_study_in_which_nothing_is_liquidated_has_a_report_too(lake: Lake, tmp_path: Path) -> None:
    done = compare(small_study(entries={"leverage": [1], "side": ["long"]}), lake, tmp_path)
    assert not any(done.outcomes["liquidated"].to_pylist())
    assert (tmp_path / "report.html").stat().st_size > 0


def interrupted_at(share: float) -> Callable[[int, int], None]:
    def interrupt(done: int, total: int) -> None:
        if done > share * total:
            raise KeyboardInterrupt

    return interrupt


def test_an_interrupted_call_leaves_the_folder_as_it_was(lake: Lake, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):  # before the first job is finished
        conductor.compare(small_study(), lake.root, out, "small", progress=interrupted_at(0.0))
    assert not out.exists()
    compare(small_study(), lake, out)
    before = content(out)
    with pytest.raises(KeyboardInterrupt):
        conductor.compare(small_study(study={"seed": 2}), lake.root, out, "small", progress=interrupted_at(0.5))
    assert content(out) == before


@pytest.mark.parametrize("share", [0.15, 0.5, 0.6, 0.65, 0.7, 0.95])
def test_a_call_after_an_interrupted_one_goes_on_and_gives_the_same_bytes(
    finished: conductor.Comparison, lake: Lake, tmp_path: Path, share: float
) -> None:
    with pytest.raises(KeyboardInterrupt):
        conductor.compare(small_study(), lake.root, tmp_path, "small", progress=interrupted_at(share))
    left = interrupted(tmp_path)
    assert left is not None
    assert left["interrupted"] is True
    kept = pq.read_table(tmp_path / INTERRUPTED / "outcomes.parquet")
    assert len(kept) >= sum(rows["outcomes"] for _, rows in left["finished"]) > 0
    again = compare(small_study(), lake, tmp_path)
    assert content(tmp_path) == content(finished.folder)
    assert again.totals.runs == finished.totals.runs
    assert again.totals.run_bars < finished.totals.run_bars or share < 0.2
    assert interrupted(tmp_path) is None


def test_interrupted_twice_it_still_gives_the_same_bytes(
    finished: conductor.Comparison, lake: Lake, tmp_path: Path
) -> None:
    counts = []
    for share in (0.4, 0.8):
        with pytest.raises(KeyboardInterrupt):
            conductor.compare(small_study(), lake.root, tmp_path, "small", progress=interrupted_at(share))
        left = interrupted(tmp_path)
        assert left is not None
        counts.append(len(left["finished"]))
    assert 0 < counts[0] < counts[1]
    compare(small_study(), lake, tmp_path)
    assert content(tmp_path) == content(finished.folder)


def test_another_study_does_not_go_on_from_what_was_kept(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        conductor.compare(small_study(), lake.root, tmp_path / "a", "small", progress=interrupted_at(0.5))
    other = small_study(study={"seed": 2})
    compare(other, lake, tmp_path / "a")
    compare(other, lake, tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_kept_files_that_were_changed_are_noticed(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        conductor.compare(small_study(), lake.root, tmp_path, "small", progress=interrupted_at(0.5))
    with (tmp_path / INTERRUPTED / "fills.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError, match="is not what the interrupted call left; remove"):
        compare(small_study(), lake, tmp_path)


def test_a_report_that_fails_leaves_nothing(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no report")

    monkeypatch.setattr("backtest.conductor.render_model", fail)
    with pytest.raises(RuntimeError, match="no report"):
        compare(small_study(), lake, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refused_studies_leave_nothing(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        compare(small_study(entries={"leverage": [125]}), lake, tmp_path / "out")
    with pytest.raises(CoverageError):
        compare(small_study(), Lake(tmp_path / "nothing"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_what_a_run_does(finished: conductor.Comparison, lake: Lake) -> None:
    planned = conductor.dry_run(small_study(), lake.root, "small")
    assert planned.runs == finished.totals.runs == len(finished.outcomes)
    assert planned.jobs * planned.symbols[0]["entries"] == planned.runs
