"""Continuous accounts in a study: one account through the whole history, and what a liquidation does to it.

`[entries] continuous = true` asks for one account by symbol, side and leverage in place of separate positions. It opens
at the first entry time and holds to the end of the data. When a position ends before, the account opens the next one at
the first entry time after it (`on_liquidation` says with what), and so lives in *links*, each an ordinary run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtest.errors import UsageError
from backtest.study import reader
from backtest.study.reader import Section

if TYPE_CHECKING:
    from backtest.study.config import Study

STOP, REFILL, CONTINUE = "stop", "refill", "continue"
BLOCKS = ("year", "quarter")
_SEPARATE = "is for separate positions"


@dataclass(frozen=True, slots=True)
class ContinuousSpec:
    """What a liquidated account does ("stop", "refill" to the study's capital, or "continue" with what is left), and
    the calendar block ("year", "quarter") of its tables.
    """

    on_liquidation: str
    block: str


def read_continuous(section: Section) -> ContinuousSpec | None:
    """Read what `[entries]` says of continuous accounts; None for separate positions."""
    if not section.get("continuous", reader.switch, False):
        for key in ("on_liquidation", "block"):
            if section.has(key):
                section.problem(key, "is for continuous accounts", "write continuous = true, or take it out")
        return None
    if section.has("horizon"):
        section.problem("horizon", f"{_SEPARATE}: an account lives to the end of the data", "take it out")
    for key in ("list", "from"):
        if section.has(key):
            section.problem(key, f"{_SEPARATE}: an account opens by schedule", "take it out, or take continuous out")
    return ContinuousSpec(
        on_liquidation=section.get("on_liquidation", reader.choice(STOP, REFILL, CONTINUE)),
        block=section.get("block", reader.choice(*BLOCKS), BLOCKS[0]),
    )


def require_separate(study: Study, command: str) -> None:
    """Refuse a study of continuous accounts where a command compares separate positions."""
    if study.entries.continuous is not None:
        what = f"{command} compares separate positions, and this study has continuous accounts"
        raise UsageError.at("entries.continuous", what, "take continuous out and give a horizon")
