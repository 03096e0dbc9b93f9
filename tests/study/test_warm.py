"""Set-up compiles what a first comparison needs: it replays every shipped rule."""

from __future__ import annotations

from typing import Any

import pytest

from backtest.engine.compile import is_compiled
from backtest.study import warm as module
from backtest.study.rule_files import load_rules


def test_set_up_replays_every_shipped_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    replayed: list[str] = []
    run = module.run

    def noted(study: Any, loaded: Any, sink: Any, jobs: Any, where: str) -> Any:
        totals = run(study, loaded, sink, jobs, where)
        assert totals.runs == len(jobs) * len(loaded[0].entries.rows)
        replayed.extend(name for job in jobs for name, _ in job.rules.names)
        return totals

    monkeypatch.setattr(module, "run", noted)
    module.warm()
    assert set(replayed) == set(load_rules())
    assert is_compiled()
