"""What a rule is not told it does not read: parts of the state that are left out, found in the rule's source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backtest.engine import parts
from backtest.engine.compiled import sample_states
from backtest.engine.parts import EVERYTHING, FACTS, MARGINS, MEMORY, PART, RATIOS, parts_read
from backtest.study.rule_files import load_rule_file, load_rules

SHIPPED = load_rules()
HEAD = "from backtest import HOLD, every_bar, reduce, rule\n\n\n"
OTHERS = "def helper(state):\n    return state.equity\n\n\n"


@pytest.fixture(autouse=True)
def _as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MODE", "1")  # in plain Python every part is told


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ("return HOLD", 0),
        ("return reduce(0.5) if state.buffer < 0.25 else HOLD", RATIOS),
        ("return reduce(state.headroom / state.qty)", MARGINS | FACTS),
        ("state.memory[0] += 1.0\n    return HOLD", MEMORY),
        ("return reduce(state.signals[0])", 0),  # told by the feed
        ("return reduce(helper(state))", EVERYTHING),
        ("me = state\n    return reduce(me.equity)", EVERYTHING),
        ("return reduce(max(one.equity for one in (state,)))", EVERYTHING),
    ],
)
def test_the_parts_that_a_function_names_are_read_and_all_where_it_hands_the_state_on(
    tmp_path: Path, body: str, read: int
) -> None:
    path = tmp_path / "thrifty.py"
    path.write_text(f"{HEAD}{OTHERS}@rule(wake=every_bar())\ndef thrifty(state, p):\n    {body}\n")
    assert parts_read(load_rule_file(path)[0]) == read


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_rule_answers_alike_whatever_stands_in_the_parts_it_does_not_read(name: str) -> None:
    rule = SHIPPED[name]
    read = parts_read(rule)
    values = type("Values", (), rule.values({}))
    other = sample_states(200)[::-1]
    for state, scrambled, wrong in zip(sample_states(200), sample_states(200), other, strict=True):
        for field, part in PART.items():
            if part and not part & read:
                scrambled[field] = wrong[field]
        with np.errstate(all="ignore"):
            assert rule.function(scrambled, values) == rule.function(state, values)
