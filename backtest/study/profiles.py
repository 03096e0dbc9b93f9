"""Profiles: lists of rules with a name that people give to a way of holding a position. A label, not a signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backtest.study import reader
from backtest.study.naming import RuleTable
from backtest.study.reader import Section


@dataclass(frozen=True, slots=True)
class Profile:
    """A way of holding a position, in one line, and as rules; a parameter with several values is swept."""

    help: str
    rules: tuple[RuleTable, ...]


PROFILES: Mapping[str, Profile] = {
    "steward": Profile(
        "careful: at most 5x, half around FOMC and CPI, one and a half of the entry's buffer while the reserve lasts",
        (
            ("step_aside", {}),
            ("cap_leverage", {"most": (5.0,)}),
            ("top_up_to", {"trigger": (1.5,), "target": (2.0,)}),
        ),
    ),
    "promoter": Profile(
        "bold: up to 25x, and margin is added at half of the entry's buffer",
        (
            ("cap_leverage", {"most": (25.0,)}),
            ("top_up_to", {"trigger": (0.5,), "target": (0.75,)}),
        ),
    ),
    "false-binary": Profile(
        "between holding and leaving: a quarter, half or three quarters closed once at a quarter of the buffer",
        (("false_binary", {"trigger": (0.25,), "share": (0.25, 0.5, 0.75)}),),
    ),
}


def read_profile(section: Section) -> list[RuleTable]:
    """Read `profile` of a strategy: the rules that it stands for."""
    name = section.get("profile", reader.choice(*PROFILES))
    if section.has("rules"):
        section.problem("rules", "stand beside a profile, which has rules of its own", "take out one of the two")
    return list(PROFILES[name].rules) if section.ok else []
