"""A finished study in Python: its tables, its figures, and any of its runs."""

from __future__ import annotations

from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.api.build import WHERE, write_study
from backtest.api.plots import Plots
from backtest.api.run import Run
from backtest.api.tables import frame, result_table
from backtest.data.store import Lake
from backtest.errors import StudyError
from backtest.report.model import Model, ReportInput, build
from backtest.report.text import MISSING, number, p_value, two
from backtest.study.assumptions import assumptions
from backtest.study.canonical import resolved, study_toml
from backtest.study.config import Study, load_study
from backtest.study.naming import HOLD
from backtest.study.results import Results, open_results
from backtest.study.runner import Progress, load_symbol, study_jobs, terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import pyarrow as pa

    from backtest.study.telling import AnyStory

LAKE = Path("datasets/lake")
STUDY_FILE = "study.toml"
ACCOUNTS = "open report.html, or take result.frame('accounts')"


class Result:
    """A finished study. Tables are read, charts computed and runs brought back when first asked for."""

    def __init__(self, results: Results, lake: Path) -> None:
        self._results, self._lake = results, lake
        self.plot = Plots(lambda: self._model)
        self._symbol = cache(lambda symbol: load_symbol(self.study, Lake(lake), symbol))

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        """Where the study's files lie, its `report.html` among them."""
        return self._results.folder

    @property
    def study(self) -> Study:
        """The study that was run."""
        return self._results.study

    def arrow(self, table: str = "outcomes") -> pa.Table:
        """Read a table as it is stored: exact integers. Tables: outcomes, transfers, fills, actions; of continuous
        accounts also accounts and account_blocks.

        Ledger tables hold the rows of liquidated runs; those of another run come with `result.run(id)`.
        """
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / f"{result_table(table).name}.parquet")

    def frame(self, table: str = "outcomes") -> pd.DataFrame:
        """Read a table as pandas in natural units; `columns(table)` tells what its columns mean."""
        return frame(self.arrow(table), table)

    @property
    def outcomes(self) -> pd.DataFrame:
        """One row a run, in natural units."""
        return self.frame("outcomes")

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The comparison: one row for each strategy and reaction, every figure of `summary.csv`."""
        import pandas as pd

        return pd.read_csv(self.folder / "summary.csv").set_index(["strategy", "reaction"])

    @cached_property
    def _model(self) -> Model:
        if self.study.entries.continuous is not None:
            raise StudyError.at(self.study.name, "has continuous accounts, which have a report of their own", ACCOUNTS)
        outcomes = self._results.outcomes()
        return build(
            ReportInput(
                study=resolved(self.study),
                outcomes=outcomes,
                coverage=self._results.manifest["coverage"],
                assumptions=assumptions(self.study, outcomes),
                reproduce=[],
                synthetic=False,
            )
        )

    def run(self, run_id: str) -> Run:
        """Give one run by its name, as `outcomes` has it; StudyError with the nearest name where there is none."""
        outcome = self._results.outcome(run_id)
        data = self._symbol(outcome["symbol"])

        def ledger() -> Mapping[str, pa.Table]:
            from backtest.study.story import replayed_ledger

            kept = self._results.ledger(run_id)
            return kept or replayed_ledger(self.study, data, study_jobs(self.study, WHERE), outcome)

        def story() -> AnyStory:
            from backtest.study.explain import explain

            return explain(self._results, run_id, self._lake).story

        return Run(outcome, data, terms(self.study), ledger, story)

    def _repr_html_(self) -> str:
        """Show the comparison: strategies by liquidation count, figures as intrabar / next open."""
        import pandas as pd

        row = _pairs_row if self.study.entries.continuous is None else _accounts_row
        rows = [row(str(name), both) for name, both in self.summary.groupby(level="strategy", sort=False)]
        table = pd.DataFrame(rows).to_html(index=False, border=0, escape=True)
        return f"<p>Study <b>{escape(self.study.name)}</b> in {escape(str(self.folder))}</p>{table}"


def _pairs_row(name: str, both: pd.DataFrame) -> dict[str, str]:
    return {
        "Strategy": name,
        "Liquidated": _pair(both["liquidated"]),
        "Saved": _pair(both["saved"]),
        "Exited": _pair(both["exited"]),
        "Caused": _pair(both["caused"]),
        "Running cost, quote": _pair(both["running_cost_quote"], 2),
        "Exposure kept, %": _pair(100 * both["exposure_kept"]),
        "p (Holm)": MISSING if name == HOLD else p_value(max(both["p_holm"])),
    }


def _accounts_row(name: str, both: pd.DataFrame) -> dict[str, str]:
    return {
        "Strategy": name,
        "Accounts": _pair(both["accounts"]),
        "Positions": _pair(both["positions"]),
        "Liquidated": _pair(both["liquidated"]),
        "Refills": _pair(both["refills"]),
        "At the end, quote an account": _pair(both["equity_end_quote"], 2),
        "Gain, quote an account": _pair(both["gain_quote"], 2),
    }


def _pair(values: pd.Series[float], digits: int = 0) -> str:
    intrabar, next_open = (number(float(value), digits) for value in values)
    return two(intrabar, next_open)


def open_result(folder: str | Path, lake: str | Path = LAKE) -> Result:
    """Open the folder of a finished study; `lake` is where the market data lie, for runs that are brought back.

    Errors: `IntegrityError` where the folder holds no results that this version reads.
    """
    return Result(open_results(Path(folder)), Path(lake))


def compare(
    study: Study,
    lake: str | Path = LAKE,
    folder: str | Path | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Replay a study and write its results into a folder (default: `reports/NAME`): the files of `backtest compare`.

    `study.toml` is written beside them, so that the command line can run the study again. `workers` threads replay
    (None: all processors); the results are the same. `progress` is called with runs done and runs in all.

    Errors: `StudyError` where the folder holds another study; whatever `backtest compare` refuses.
    """
    from backtest import conductor

    out = Path("reports", study.name) if folder is None else Path(folder)
    replace = _replaceable(out / STUDY_FILE, study)
    again = [f"backtest compare {STUDY_FILE} --lake LAKE"]
    conductor.compare(study, Path(lake), out, WHERE, reproduce=again, workers=workers, progress=progress)
    if replace:
        write_study(study, out / STUDY_FILE)
    return open_result(out, lake)


def _replaceable(path: Path, study: Study) -> bool:
    """Tell whether a study file is to be written. One in canonical form was written here before; others are kept."""
    if not path.exists():
        return True
    known = load_study(path)
    if known != study and path.read_text(encoding="utf-8") != study_toml(known):
        raise StudyError.at(path, "is another study, and not written from Python", "choose another folder")
    return known != study


def synthetic_lake(folder: str | Path, seed: int = 1, symbols: tuple[str, ...] = ("BTCUSDT",), days: int = 365) -> Path:
    """Build the bundled synthetic market from 2023-01-01 on, hourly, in a lake; give the lake's folder.

    The prices are made up; another seed is another market.
    """
    from backtest.data.sources import synthetic

    lake = Lake(Path(folder))
    synthetic.write(lake, synthetic.generate(seed, symbols=symbols, days=days))
    return lake.root
