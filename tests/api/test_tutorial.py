"""The tutorial runs from its first cell to its last, and shows what its text says it shows.

The cells run in IPython's shell inside this process: the locks hold no Jupyter kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


def cells() -> list[Any]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Give a shell that leaves no history, in an empty folder, and takes what it changed back."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    yield shell
    shell.reset(new_session=False)


def test_the_tutorial_runs_and_shows_its_results(shell: InteractiveShell, tmp_path: Path) -> None:
    shown: dict[str, Any] = {}
    for cell in cells():
        done = shell.run_cell(cell.source, store_history=False)
        done.raise_error()
        if done.result is not None:
            shown[cell.source.splitlines()[-1]] = done.result
    assert Path.cwd().parent == tmp_path
    assert "<td>entries</td><td>horizon</td><td>30d</td>" in shown["study"]._repr_html_()
    assert "<td>deleverage-0.5~shuffled</td>" in shown["result"]._repr_html_()
    for chart in ("result.plot.frontier()", "result.plot.holding()", "run.plot()"):
        assert isinstance(shown[chart], go.Figure), chart
    space = shell.user_ns
    assert space["run"].outcome["liquidated"]
    assert space["fund"].total_return() == pytest.approx(space["twin"].equity.iloc[-1] / 10_000 - 1)
    assert len(space["yours"].entries.listed) == 12
    assert {"report.html", "study.toml", "outcomes.parquet"} <= {path.name for path in space["own"].folder.iterdir()}


def test_the_tutorial_is_kept_without_outputs() -> None:
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells())
