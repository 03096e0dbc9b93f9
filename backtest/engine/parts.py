"""Which parts of the state a rule reads: the others need not be made up before it is called."""

from __future__ import annotations

import ast
from pathlib import Path

from backtest.engine.compile import MODE
from backtest.engine.rules import Rule
from backtest.engine.state import STATE_ARRAYS, STATE_FIELDS

# Bits of a mask: what is measured at the mark, in quote and as ratios, the other numbers, and the rule's own memory.
MARGINS, RATIOS, FACTS, MEMORY = 1, 2, 4, 8
EVERYTHING = MARGINS | RATIOS | FACTS | MEMORY
PART = (
    dict.fromkeys(STATE_FIELDS, FACTS)
    | dict.fromkeys(("unrealized_pnl", "equity", "initial_margin", "maintenance_margin", "headroom"), MARGINS)
    | dict.fromkeys(("margin_ratio", "buffer"), RATIOS)
    | dict.fromkeys(STATE_ARRAYS, 0)  # told by the feed, or to pools only
    | {"memory": MEMORY}
)


def parts_read(rule: Rule) -> int:
    """Give the parts that a rule's function reads: every one where it does anything with the state but name a field.

    In plain Python all of them, for whoever looks at the state in a debugger.

    >>> from backtest.engine.rules import HOLD, every_bar, rule
    >>> @rule(wake=every_bar())
    ... def idle(state, p):
    ...     return HOLD
    >>> parts_read(idle) == EVERYTHING  # typed in: there is no source to look at
    True
    """
    code = rule.function.__code__
    if MODE == "0" or not Path(rule.path).is_file() or not code.co_argcount:
        return EVERYTHING
    functions = [node for node in ast.walk(ast.parse(Path(rule.path).read_text())) if isinstance(node, ast.FunctionDef)]
    own = [one for one in functions if _first_line(one) == code.co_firstlineno]
    return _parts(own[0], code.co_varnames[0]) if own else EVERYTHING


def _first_line(function: ast.FunctionDef) -> int:
    return function.decorator_list[0].lineno if function.decorator_list else function.lineno


def _parts(function: ast.FunctionDef, state: str) -> int:
    """Give the parts that a function reads of an argument."""
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    named = [node for node in nodes if isinstance(node, ast.Attribute)]
    fields = {id(node.value): node.attr for node in named}
    mask = 0
    for node in nodes:
        if isinstance(node, ast.Name) and node.id == state:
            mask |= PART.get(fields.get(id(node), ""), EVERYTHING)
    return mask
