"""The folder of a finished study: its manifest, the study it was made from, its outcomes and the rows it kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backtest.data.disk import sha256_file
from backtest.errors import IntegrityError, StudyError, did_you_mean
from backtest.study.archive import FORMAT
from backtest.study.canonical import study_json
from backtest.study.config import Study, parse_study

LEDGER = ("transfers", "fills", "actions")
AGAIN = "run it again: backtest compare"


@dataclass(frozen=True, slots=True)
class Results:
    """A finished study as it lies in its folder."""

    folder: Path
    manifest: Mapping[str, Any]
    study: Study

    def damaged(self) -> dict[str, str]:
        """Tell which listed files are not as they were written: gone, or changed."""
        found = {}
        for name, facts in self.manifest["files"].items():
            path = self.folder / name
            if not path.is_file():
                found[name] = "is gone"
            elif sha256_file(path) != facts["sha256"]:
                found[name] = "was changed after it was written"
        return found

    def outcomes(self) -> pa.Table:
        """Read all outcomes."""
        return pq.read_table(self.folder / "outcomes.parquet")

    def outcome(self, run_id: str) -> dict[str, Any]:
        """Read one run's outcome; StudyError with the nearest name where there is none."""
        path = self.folder / "outcomes.parquet"
        rows = pq.read_table(path, filters=pc.field("run_id") == run_id).to_pylist()
        if rows:
            return dict(rows[0])
        # Names of runs that share the entry are compared first: a near miss is then about the strategy or reaction.
        names = pq.read_table(path, columns=["run_id"])["run_id"]
        entry = "/".join(run_id.split("/")[1:-1])
        same_entry = names.filter(pc.match_substring(names, entry)).to_pylist() if entry else []
        strategies = sorted({name.split("/")[0] for name in names.to_pylist()})
        raise StudyError.at(run_id, f"is no run of {self.folder}", _nearest(run_id, same_entry, strategies))

    def ledger(self, run_id: str) -> dict[str, pa.Table] | None:
        """Read the rows kept of a run; None where they were not kept."""
        only = pc.field("run_id") == run_id
        tables = {name: pq.read_table(self.folder / f"{name}.parquet", filters=only) for name in LEDGER}
        return tables if len(tables["transfers"]) else None


def _nearest(run_id: str, same_entry: list[str], strategies: list[str]) -> str:
    if same_entry:
        return did_you_mean(run_id, same_entry)
    return f"write strategy/SYMBOL/entry/side/leverage/reaction; strategies: {', '.join(strategies)}"


def open_results(folder: Path) -> Results:
    """Open a finished study's folder; IntegrityError where it holds no manifest that this version reads."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IntegrityError.at(path, f"cannot be read ({error.strerror})", "name a folder of results") from None
    except ValueError:
        raise IntegrityError.at(path, "is not JSON", AGAIN) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise IntegrityError.at(path, f"is not a manifest of format {FORMAT}", AGAIN)
    try:
        study = stored_study(manifest["study"], str(path))
    except KeyError as error:
        raise IntegrityError.at(path, f"has no key {error}", AGAIN) from None
    return Results(folder, manifest, study)


def stored_study(form: Mapping[str, Any], where: str) -> Study:
    """Read a study back from its canonical form; IntegrityError where this version would write another form."""
    study = parse_study(form, where)
    if json.loads(study_json(study)) != dict(form):
        raise IntegrityError.at(where, "holds a study that this version reads otherwise", AGAIN)
    return study
