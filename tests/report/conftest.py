"""One small and one hostile report, rendered once."""

from __future__ import annotations

import pytest

from backtest.report.html import render_model
from backtest.report.model import Model, build
from tests.analysis import fake
from tests.report import sample

HOSTILE = '<img src=x onerror="document.title=1">&"\'</script><b>=1+1'


@pytest.fixture(scope="session")
def model() -> Model:
    return build(sample.report_input(fake.outcomes(200)))


@pytest.fixture(scope="session")
def page(model: Model) -> str:
    return render_model(model)


@pytest.fixture(scope="session")
def hostile_model() -> Model:
    outcomes = fake.outcomes(60)
    names = [HOSTILE if name == "top-up" else name for name in outcomes["strategy"].to_pylist()]
    outcomes = outcomes.set_column(outcomes.schema.get_field_index("strategy"), "strategy", [names])
    study = sample.study()
    study["study"] = {"name": HOSTILE, "seed": 1, "capital": "10000"}
    study["strategy"] = [{"name": name, "rules": []} for name in ("deleverage-0.25", "deleverage-0.5", HOSTILE, "exit")]
    study["window"] = [{"name": HOSTILE, "from": "2020-01-01T00:00:00", "to": "2021-01-01T00:00:00"}]
    return build(
        sample.report_input(
            outcomes,
            study=study,
            coverage=[{HOSTILE: HOSTILE}],
            assumptions=[(HOSTILE, HOSTILE)],
            runs=sample.FakeRuns(HOSTILE),
            reproduce=[HOSTILE],
            sensitivity={HOSTILE: outcomes},
            gaps=[{HOSTILE: HOSTILE}],
            refused_actions=[{HOSTILE: HOSTILE}],
            large_fills=[{HOSTILE: HOSTILE}],
            events=[{HOSTILE: HOSTILE}],
        )
    )
