"""Parts of a batch put together are the batch, however many replay them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backtest.engine.batch import replay_batch
from backtest.study import crew as crew_module
from backtest.study.crew import cores, crew
from backtest.study.runner import terms
from backtest.study.scripts import draw_donors, play_back

from .small import Ran, make_lake, ran, small_study


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(small_study(), make_lake(Path(tmp_path_factory.mktemp("lake"))))


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("part_runs", [1, 7, 1000])
def test_any_number_of_workers_gives_the_batch(
    replayed: Ran, workers: int, part_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "PART_RUNS", part_runs)
    job = replayed.job("deleverage", "intrabar")
    twin = replayed.job("deleverage~shuffled", "intrabar")
    settings, market = terms(replayed.study), replayed.data.market
    told: list[int] = []
    with crew(workers) as hands:
        rows = replayed.entries(job)
        plan = settings.plan(job.rules, next_open=False)
        parts = hands.replay(market, plan, job.rules, rows, script=None, keep="all", progress=told.append)
        whole = replay_batch(market, plan, job.rules, rows, keep="all")
        assert sum(told) == len(rows) == len(parts.outcomes)
        assert len(told) == -(-len(rows) // max(part_runs, -(-len(rows) // (4 * workers))))
        scripted = replayed.entries(twin)
        script = play_back(scripted, draw_donors(1, scripted, np.ones(len(rows), bool)), parts)
        plan = replace(settings, latency_ms=twin.latency_ms).plan(twin.rules, next_open=False)
        again = hands.replay(market, plan, twin.rules, scripted, script=script, keep="liquidated", progress=told.append)
        assert len(script) > 0
    for one, other in (
        (parts, whole),
        (again, replay_batch(market, plan, twin.rules, scripted, script=script)),
    ):
        for name in ("outcomes", "transfers", "fills", "actions"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist(), name


def test_an_interrupt_drops_what_was_not_begun(replayed: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "PART_RUNS", 1)
    monkeypatch.setattr(crew_module, "PARTS_A_WORKER", 1000)
    job = replayed.job("hold")
    begun: list[int] = []

    def counted(*args: object, **keys: object) -> object:
        begun.append(1)
        return replay_batch(*args, **keys)  # type: ignore[arg-type]

    def interrupt(runs: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(crew_module, "replay_on", counted)
    rows = np.tile(replayed.entries(job), 50)
    plan = terms(replayed.study).plan(job.rules, next_open=False)
    with pytest.raises(KeyboardInterrupt), crew(1) as hands:
        hands.replay(replayed.data.market, plan, job.rules, rows, script=None, keep="liquidated", progress=interrupt)
    assert 0 < len(begun) < len(rows)


def test_without_a_number_every_processor_works() -> None:
    with crew() as hands:
        assert hands.workers == cores() >= 1
