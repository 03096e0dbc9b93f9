"""The slow twin of the replay: plain integers and decimals, every bar visited, written from the rules' text alone.

It shares no formula with the compiled replay; the tests compare the two transfer for transfer. The exact rules are
docs/semantics.md.
"""

from backtest.engine.oracle.model import (
    Action,
    Bar,
    Fill,
    Market,
    Plan,
    Result,
    RuleUse,
    ScriptedAction,
    State,
    TierRow,
    Transfer,
    Wake,
)
from backtest.engine.oracle.outside import Reading, Statement
from backtest.engine.oracle.run import replay
from backtest.engine.oracle.tables import load_tiers

__all__ = [
    "Action",
    "Bar",
    "Fill",
    "Market",
    "Plan",
    "Reading",
    "Result",
    "RuleUse",
    "ScriptedAction",
    "State",
    "Statement",
    "TierRow",
    "Transfer",
    "Wake",
    "load_tiers",
    "replay",
]
