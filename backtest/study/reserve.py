"""The capital outside the venue: how long it takes until money from it arrives, and how much of it may leave in a day.

Money held by several people waits for signatures. With m of n needed, each known by how long it takes, a request is
approved when the m-th fastest has signed; the transfer itself takes its own latency after that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backtest.study import reader
from backtest.study.reader import BadValueError, Section
from backtest.units import duration_ms

# What people call "our multi-sig" or "a vote", with round numbers in place of one group's own.
PRESETS: Mapping[str, tuple[str, str]] = {
    # Three of five signers who answer after 20 minutes in the median, and one time in twenty after 6 hours.
    "multi-sig": ("20m", "three of five signers, who answer after 2, 8, 20, 50 and 190 minutes"),
    # The usual on-chain governor: a delay before the vote, the vote, and a timelock after it.
    "dao-vote": ("7d", "two days until the vote, three days of vote, two days of timelock"),
}
SIGNERS_MAX = 100


@dataclass(frozen=True, slots=True)
class ReserveSpec:
    """The capital outside the venue: how long it takes to arrive, and how much may leave in one UTC day."""

    latency_ms: int
    daily_cap_e8: int | None


def read_reserve(section: Section) -> ReserveSpec:
    """Read `[reserve]`."""
    return ReserveSpec(
        latency_ms=read_latency(section) or 0,
        daily_cap_e8=section.get("daily_cap", reader.money("1_000_000_000"), None),
    )


def read_latency(section: Section) -> int | None:
    """Read how long money takes from `latency`, `approval` and `preset`; None where none of them is given.

    latency in all = latency of the transfer + the `needed`-th smallest of the signers' delays, in milliseconds. A
    preset stands for both.
    """
    preset = section.get("preset", reader.choice(*PRESETS), None)
    latency_ms = section.get("latency", reader.duration(0), None)
    approval_ms = _approval(section.table("approval", required=False)) if section.has("approval") else None
    if preset is not None and (latency_ms, approval_ms) != (None, None):
        section.problem("preset", "stands for latency and approval", "take out the preset, or the other two")
    if preset is not None:
        return duration_ms(PRESETS[preset][0])
    if latency_ms is None and approval_ms is None:
        return None
    return (latency_ms or 0) + (approval_ms or 0)


def _approval(section: Section) -> int:
    """Read m of n signatures: how many are needed, and the delay of each signer."""
    delays_ms = section.get("delays", _delays)
    needed = section.get("needed", reader.whole(1, SIGNERS_MAX))
    if not section.ok:
        return 0
    if needed > len(delays_ms):
        section.problem("needed", f"is {needed}, of {len(delays_ms)} signers", "need fewer, or name more delays")
        return 0
    return delays_ms[needed - 1]


def _delays(raw: object) -> tuple[int, ...]:
    """Read the signers' delays, shortest first; two signers may be equally slow."""
    if not isinstance(raw, (list, tuple)) or not 1 <= len(raw) <= SIGNERS_MAX:
        raise BadValueError(f"is {reader.show(raw)}, not the delays of the signers", 'write ["1h", "6h", "1d"]')
    return tuple(sorted(reader.duration(0)(item) for item in raw))
