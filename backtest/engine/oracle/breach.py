"""One liquidation is one breach: all forced closes until the predicate is false again at a later event."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Breaches:
    """Counts breaches and remembers the first; `open` from the test that was true to the first that is false."""

    count: int = 0
    first_ms: int | None = None
    first_mark: int | None = None
    first_cause: str | None = None
    forced_qty: int = 0
    partial: bool = False
    open: bool = False

    def begin(self, time_ms: int, mark: int, cause: str) -> None:
        """Note a test that is true: a new breach unless one is open."""
        if not self.open:
            self.open = True
            self.count += 1
        if self.first_ms is None:
            self.first_ms, self.first_mark, self.first_cause = time_ms, mark, cause

    def forced(self, closed_qty: int, rest_qty: int) -> None:
        """Note a forced close; one that takes all ends its breach for good."""
        self.forced_qty += closed_qty
        if rest_qty == 0:
            self.open = False

    def end(self) -> None:
        """Note a test that is false, or the end of the run: an open breach has left quantity."""
        self.partial = self.partial or self.open
        self.open = False
