"""When units are liquidated: tests, breaches and their causes. Section 4 to 6 of the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from backtest.engine.oracle.breach import Breaches
from backtest.engine.oracle.pool.books import At
from backtest.engine.oracle.pool.forced import force_close
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.outcome import Story
from backtest.engine.oracle.pool.path import Holds
from backtest.engine.oracle.pool.pool import Marks, Pool
from backtest.engine.oracle.pool.units import Unit

Cause = Callable[[Unit], str]  # of the breach of a unit that holds core legs


class Held(NamedTuple):
    """All legs, and the wallets of the units, as they were at a moment of an open."""

    legs: tuple[Leg, ...]
    wallets: tuple[int, ...]


class Liquidations:
    """Tests the units of a pool and forces their closes; `finish` ends a run whose core is gone."""

    def __init__(self, pool: Pool, story: Story, finish: Callable[[str, At], None]) -> None:
        self.pool, self.story = pool, story
        self.breaches = [Breaches() for _ in pool.units]
        self._finish = finish
        self._fees_tested: Counter[str] = Counter()  # fees by account up to the last test
        self._on_way = False
        self._forced: set[Unit] = set()  # units forced on this way
        self._again: set[Unit] = set()  # those of them that were forced once more at its end

    # --- tests ---------------------------------------------------------------------------------------------------

    def test(self, at: At, cause: Cause) -> None:
        """Test unit by unit: a forced close, or, outside the path, the end of a breach."""
        self.pool.see(at.marks)
        for unit, breach in zip(self.pool.units, self.breaches, strict=True):
            if self.story.over:
                break
            if self.pool.liquidated(unit, at.marks):
                self._force(unit, at, cause)
            elif not self._on_way:
                breach.end()
        self._fees_tested = Counter(self.pool.books.totals.fees_of)

    def begin_way(self) -> None:
        """Begin a way of the path: one event."""
        self._on_way, self._forced, self._again = True, set(), set()

    def predicates(self) -> list[Holds]:
        """Give the predicates that are looked for along a way: of units not forced on it."""
        return [partial(self.pool.liquidated, unit) for unit in self.pool.units if unit not in self._forced]

    def again(self, end: Marks) -> bool:
        """Say whether a unit that was forced on this way is liquidated at its end."""
        return any(self.pool.liquidated(unit, end) for unit in self._forced)

    def force_at_point(self, at: At, *, at_end: bool) -> None:
        """Force the units whose predicate holds; one that was forced on this way only at its end, and once."""
        for unit in self.pool.units:
            if self.story.over or not self.pool.liquidated(unit, at.marks):
                continue
            if unit in self._forced:
                if not at_end or unit in self._again:
                    continue
                self._again.add(unit)
            self._force(unit, at, lambda unit: self._cause_on_path(unit, at.marks))

    def end_way(self, end: Marks) -> None:
        """End a way: the marks are seen, and with them the end of breaches that had no forced close on it."""
        self._on_way = False
        if self.story.over:
            return
        self.pool.see(end)
        for unit, breach in zip(self.pool.units, self.breaches, strict=True):
            if unit not in self._forced:
                breach.end()

    # --- forced closes -------------------------------------------------------------------------------------------

    def _force(self, unit: Unit, at: At, cause: Cause) -> None:
        pool, breach = self.pool, self.breaches[unit.number]
        mark, named = at.marks[pool.core[0].instrument], cause(unit) if unit.holds_core else ""
        breach.begin(at.time_ms, mark, named)
        if unit.holds_core and self.story.liquidation is None:
            self.story.liquidation = (at.time_ms, mark, named)
        self._forced.add(unit)
        held, at = [leg.qty for leg in pool.core], at._replace(cause="liquidation", rule=-1)
        force_close(pool, at, unit)
        self.story.note_forced(pool.core, [before - leg.qty for before, leg in zip(held, pool.core, strict=True)])
        owed = pool.core if unit.holds_core else pool.open_legs(unit)
        breach.forced(0, sum(leg.qty for leg in owed if leg.slot in unit.slots))
        if unit.holds_core and not breach.open:
            breach.partial = breach.partial or not pool.core_is_flat  # core legs of other units are left
        if pool.core_is_flat:
            self._finish("liquidated", at)
        else:
            pool.see(at.marks)

    # --- causes --------------------------------------------------------------------------------------------------

    def _price_or_hedge(self, unit: Unit, marks: Marks, legs: Iterable[Leg], wallet: int) -> str:
        """Say whether the core legs of a unit alone would be liquidated too."""
        core = [leg for leg in legs if leg.slot < len(self.pool.plan.core)]
        return "price" if self.pool.figures_with(unit, marks, core, wallet).liquidated else "hedge_margin"

    def cause_at_open(self, before: Held, after_terms: Held, marks: Marks) -> Cause:
        """Say what turned the predicate of a unit true at an open: the mark, new terms, or funding."""

        def cause(unit: Unit) -> str:
            wallet = before.wallets[unit.number]
            if self.pool.figures_with(unit, marks, before.legs, wallet).liquidated:
                return self._price_or_hedge(unit, marks, before.legs, wallet)
            now = self.pool.figures_with(unit, marks, after_terms.legs, after_terms.wallets[unit.number])
            return "tier_change" if now.liquidated else "funding"

        return cause

    def cause_after_fees(self, marks: Marks) -> Cause:
        """Say what turned it true after actions: the mark, the hedge, or the fees since the last test."""

        def cause(unit: Unit) -> str:
            paid = self.pool.books.totals.fees_of[unit.account] - self._fees_tested[unit.account]
            legs, wallet = self.pool.legs.values(), self.pool.wallet(unit) + paid
            if self.pool.figures_with(unit, marks, legs, wallet).liquidated:
                return self._price_or_hedge(unit, marks, legs, wallet)
            return "fee"

        return cause

    def _cause_on_path(self, unit: Unit, marks: Marks) -> str:
        return self._price_or_hedge(unit, marks, self.pool.legs.values(), self.pool.wallet(unit))
