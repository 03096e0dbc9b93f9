"""What a study leaves: Parquet tables, a manifest of everything that decided them, and provenance apart."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backtest.data.disk import locked, sha256_file, write_atomic
from backtest.data.manifest import entries_hash
from backtest.engine.compile import source_hash
from backtest.schema import RESULT_TABLES
from backtest.study.canonical import study_json
from backtest.study.config import Study
from backtest.study.jobs import Job
from backtest.study.outcomes import coded
from backtest.study.outside import told
from backtest.study.runner import SymbolData
from backtest.venues.tiers import TierTable

FORMAT = 2
MANIFEST = "manifest.json"
UNFINISHED = ".unfinished"


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give a folder to write results into; they move into `folder` together at the end, or not at all.

    What a killed call left there is removed first. The manifest moves last: files it does not fit are not finished.
    When it fails the folder is as it was, but for what was put aside elsewhere in it.
    """
    made = next((path for path in (*reversed(folder.parents), folder) if not path.exists()), None)
    with locked(folder):
        staging = folder / UNFINISHED
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
            for path in sorted(staging.iterdir(), key=lambda path: (path.name == MANIFEST, path.name)):
                path.replace(folder / path.name)
        except BaseException:
            if staging.exists():
                shutil.rmtree(staging if made is None else made)
            raise
        staging.rmdir()


class ParquetSink:
    """Write a study's tables as they come, job by job."""

    def __init__(self, folder: Path) -> None:
        self.outcomes: list[pa.Table] = []
        self.rows = dict.fromkeys(RESULT_TABLES, 0)
        self._writers = {
            name: pq.ParquetWriter(
                folder / f"{name}.parquet", table.arrow(), compression="zstd", write_page_checksum=True
            )
            for name, table in RESULT_TABLES.items()
        }

    def write(self, outcomes: pa.Table, ledger: dict[str, pa.Table]) -> None:
        """Append a job's outcomes and kept rows."""
        self.outcomes.append(coded(outcomes))
        for name, table in {"outcomes": outcomes, **ledger}.items():
            self._writers[name].write_table(table)
            self.rows[name] += len(table)

    def close(self) -> pa.Table:
        """Finish the files and give all outcomes, their texts coded."""
        for writer in self._writers.values():
            writer.close()
        return pa.concat_tables(self.outcomes)


def lock_hash() -> str:
    """Hash the versions of the libraries that decide results."""
    names = ("duckdb", "numba", "llvmlite", "numpy", "pandas", "pyarrow", "vectorbt")
    return _sha256(json.dumps({name: metadata.version(name) for name in names}, sort_keys=True))


def decisions(study: Study, loaded: Sequence[SymbolData], all_jobs: Sequence[Job]) -> dict[str, str]:
    """Hash everything that decides the results, part by part."""
    instruments = [one for data in loaded for one in data.instruments]
    files = [*(one.result.entries for one in instruments), *(one.entries for data in loaded for one in data.assets)]
    tagged = [[data.entries.labels, {name: places.tolist() for name, places in data.tags.items()}] for data in loaded]
    return {
        "study": _sha256(study_json(study)),
        "data": _sha256(json.dumps([entries_hash(entries) for entries in files])),
        **({"regimes": _sha256(json.dumps(tagged))} if study.regimes else {}),
        **_outside(study, loaded, all_jobs),
        "tiers": _sha256(json.dumps([[_plain(table) for table in one.tiers] for one in instruments])),
        "contracts": _sha256(json.dumps([_contracts(data) for data in loaded])),
        "rules": _sha256("".join(_rule_source(job) for job in all_jobs)),
        "engine": source_hash(),
        "lock": lock_hash(),
    }


def _outside(study: Study, loaded: Sequence[SymbolData], all_jobs: Sequence[Job]) -> dict[str, str]:
    """Hash what is told from outside the market, if rules are told anything or a signal opens positions."""
    when = () if study.entries.when is None else (study.entries.when,)
    if not when and not any(job.rules.needs_feed for job in all_jobs):
        return {}
    rules = [job.rules for job in all_jobs]
    return {"outside": _sha256(json.dumps([told(data.outside, rules, when) for data in loaded]))}


def _plain(table: TierTable) -> list[Any]:
    return [table.first_ms, [list(tier) for tier in table.tiers]]


def _contracts(data: SymbolData) -> list[Any]:
    if data.pool is not None:
        return [data.entries.rows[name].tolist() for name in ("leg_step_e8", "leg_min_notional_e8")]
    return [list(row) for row in data.entries.rows[["step_e8", "min_notional_e8"]].tolist()]


def _rule_source(job: Job) -> str:
    return json.dumps([[name, source] for (name, _), source in zip(job.rules.names, job.rules.sources, strict=True)])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def study_id(hashes: Mapping[str, str]) -> str:
    """Name a study's results by the hash of all that decides them."""
    return _sha256(json.dumps(dict(hashes), sort_keys=True))[:16]


def write_manifest(
    folder: Path,
    study: Study,
    hashes: Mapping[str, str],
    rows: Mapping[str, int],
    coverage: Any,
    reproduce: Sequence[str],
) -> None:
    """Write manifest.json: the study, its hashes, its data, how to run it, and the hash of every file in the folder."""
    files = {
        path.name: {"sha256": sha256_file(path), **({"rows": rows[path.stem]} if path.suffix == ".parquet" else {})}
        for path in sorted(folder.iterdir())
    }
    content = {
        "format": FORMAT,
        "study_id": study_id(hashes),
        "study": json.loads(study_json(study)),
        "decided_by": dict(hashes),
        "coverage": coverage,
        "reproduce": list(reproduce),
        "files": files,
    }
    write_atomic(folder / MANIFEST, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def write_provenance(folder: Path, seconds: Mapping[str, float], facts: Mapping[str, object]) -> None:
    """Write provenance.json: host, time and versions, kept out of everything that is compared."""
    content = {
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "system": platform.system(),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        **facts,
    }
    write_atomic(folder / "provenance.json", (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
