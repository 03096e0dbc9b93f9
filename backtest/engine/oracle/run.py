"""The replay of one run, instant by instant: docs/semantics.md §3 in order, every bar visited."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from backtest.engine.oracle.account import Account, Moment
from backtest.engine.oracle.actions import Desk, Request, Scene, checked
from backtest.engine.oracle.breach import Breaches
from backtest.engine.oracle.forced import force_close
from backtest.engine.oracle.model import THRESHOLD_WAKES, Action, Market, Plan, Result, Wake
from backtest.engine.oracle.numbers import E8, e8
from backtest.engine.oracle.outcome import HOUR_MS, Exposure, Story, outcome_of
from backtest.engine.oracle.outside import Outside
from backtest.engine.oracle.path import LIQUIDATION, condition, first_crossing, pieces
from backtest.engine.oracle.position import Position, exact_rows
from backtest.engine.oracle.state import RuleMemory, state_of
from backtest.schema import VERBS

Key = tuple[int, int]  # (rule index, wake index)


class ExactBar(NamedTuple):
    """A bar in units of 1e-8, with its number since the entry."""

    number: int
    time_ms: int
    trade_open: int
    trade_close: int
    mark_open: int
    mark_high: int
    mark_low: int
    close_ms: int


def replay(market: Market, plan: Plan) -> Result:
    """Replay one run and tell it whole.

    Formulas, order and rounding: docs/semantics.md. A refused entry gives a result without transfers.
    """
    return _Run(market, plan).play()


def in_force(dated: Sequence[tuple[int, Any]], time_ms: int) -> int:
    """Give the index of the newest entry that is not later than a time; before the first, the first."""
    return max(bisect_right(dated, time_ms, key=lambda entry: entry[0]) - 1, 0)


def strikes(wake: Wake, outside: Outside, entry_ms: int, previous_ms: int, time_ms: int) -> bool:
    """Say whether the moment of a wake came after the bar before, up to this one.

    It is a multiple of the hours of `every` since the entry, a change of a signal, a time before or after an event.
    """
    if wake.kind == "signal":
        return outside.fires(wake.name, previous_ms, time_ms)
    if wake.value is None:
        return False
    ms = int(wake.value * HOUR_MS)
    if wake.kind == "before_event":
        return outside.comes_near(wake.name, ms, previous_ms, time_ms)
    if wake.kind == "after_event":
        return outside.has_passed(wake.name, ms, previous_ms, time_ms)
    return wake.kind == "every" and (time_ms - entry_ms) // ms > (previous_ms - entry_ms) // ms


class _Run:
    def __init__(self, market: Market, plan: Plan) -> None:
        self.market, self.plan = market, plan
        self.first = bisect_left(market.bars, plan.entry_ms, key=lambda bar: bar.time_ms)
        self.stop = bisect_left(market.bars, plan.stop_ms, key=lambda bar: bar.time_ms)
        self.terms = (-1, -1)  # indices of the tier table and the taker fee in force
        self.result, self.story, self.breaches = Result(), Story(), Breaches()
        position = Position(plan.side, 0, 0, e8(plan.leverage), (), 0, plan.fee_reserve)
        self.account = Account(plan, position, self.result)
        self.desk = Desk(self.account, plan)
        self.memories = [RuleMemory() for _ in plan.rules]
        wakes = [((r, w), wake) for r, rule in enumerate(plan.rules) for w, wake in enumerate(rule.wakes)]
        self.outside = Outside(plan.signals, plan.events)
        self.thresholds = [(key, wake) for key, wake in wakes if wake.kind in THRESHOLD_WAKES]
        self.open_wakes = [(key, wake) for key, wake in wakes if wake.kind not in THRESHOLD_WAKES]
        self.waiting: dict[Key, int] = {}  # wakes that are not called at once, and from when they may be
        self.fees_tested = 0
        self.on_leg = self.leg_breached = False  # a leg is one event: its tests end a breach together, at its end

    @property
    def over(self) -> bool:
        return self.story.exit_reason is not None

    def play(self) -> Result:
        self.story.refusal = self._refusal()
        if self.story.refusal is not None:
            self.story.exit_reason = "refused"
        previous_ms = self.plan.entry_ms
        for index in range(self.first, self.stop):
            if self.over:
                break
            bar = self._bar(index)
            self._open(bar, previous_ms)
            if not self.over:
                self.story.exposures.append(self._exposure(bar))
                self._path(bar)
            previous_ms = bar.time_ms
        if not self.over:
            self._end_of_data(self._bar(self.stop - 1))
        self.result.outcome = outcome_of(self.plan, self.story, self.account, self.breaches, self.result)
        return self.result

    def _bar(self, index: int) -> ExactBar:
        bar = self.market.bars[index]
        return ExactBar(
            index - self.first,
            bar.time_ms,
            e8(bar.trade_open),
            e8(bar.trade_close),
            e8(bar.mark_open),
            e8(bar.mark_high),
            e8(bar.mark_low),
            bar.time_ms + (self.market.interval_ms if bar.length_ms is None else bar.length_ms),
        )

    def _exposure(self, bar: ExactBar) -> Exposure:
        return Exposure(bar.time_ms, self.account.position.qty, bar.mark_open, bar.close_ms - bar.time_ms)

    # --- entry and end -------------------------------------------------------------------------------------------

    def _refusal(self) -> str | None:
        """Size the entry, and say why it is refused if it is."""
        if self.first >= self.stop or self.market.bars[self.first].time_ms != self.plan.entry_ms:
            return "gap"
        bar = self._bar(self.first)
        self._take_terms(bar.time_ms)
        step, position = e8(self.plan.step), self.account.position
        steps = e8(self.plan.sizing_margin) * position.leverage // (bar.trade_open * step)
        qty = steps * step * e8(self.plan.qty_share) // (E8 * step) * step
        self.story.entry_qty = qty
        if qty == 0:
            return "below_step"
        if qty * bar.mark_open < e8(self.plan.min_notional) * E8:
            return "below_min_notional"
        if not replace(position, qty=qty).allows(position.leverage, bar.mark_open):
            return "leverage_cap"
        return None

    def _enter(self, bar: ExactBar) -> None:
        at = Moment(bar.time_ms, bar.mark_open, "entry")
        self.account.transfer(at, "deposit", "world", "reserve", e8(self.plan.capital))
        self.account.transfer(at, "post", "reserve", "margin", e8(self.plan.posted_margin))
        self.account.enlarge(at, self.story.entry_qty, bar.trade_open)
        self.story.entry_notional = self.account.turnover
        self.account.see(bar.mark_open)

    def _end_of_data(self, last: ExactBar) -> None:
        at = Moment(last.close_ms, last.trade_close, "data_end")
        self._leave("data_end", at, last.trade_close)

    def _leave(self, reason: str, at: Moment, price: int) -> None:
        self.account.reduce(at, self.account.position.qty, price)
        self._finish(reason, at)

    def _finish(self, reason: str, at: Moment) -> None:
        back = at._replace(rule=-1)  # nobody asked for it
        self.account.transfer(back, "return", "transit", "reserve", self.account.balances["transit"])
        self.breaches.end()
        self.story.exit_ms, self.story.exit_reason = at.time_ms, reason

    # --- the open of a bar ---------------------------------------------------------------------------------------

    def _open(self, bar: ExactBar, previous_ms: int) -> None:
        """Steps 1 to 7 of an instant."""
        before = (self.account.position, self.account.wallet)
        self._take_terms(bar.time_ms)
        events = set()
        fills_before = len(self.result.fills)
        if bar.number == 0:
            self._enter(bar)
        else:
            events = {"every_bar"} | self._fund(bar) | self._receive(bar)
            self._test(bar, bar.mark_open, lambda: self._cause_at_open(before, bar.mark_open))
            fills_before = len(self.result.fills)
            if not self.over and bar.time_ms >= self.plan.entry_ms + self.plan.horizon_ms:
                self._leave("horizon", Moment(bar.time_ms, bar.mark_open, "exit"), bar.trade_open)
        self._do_what_waited(bar)
        if any(fill.cause in ("entry", "rule") for fill in self.result.fills[fills_before:]):
            events.add("on_fill")
        for key, wake in self.open_wakes:
            if wake.kind in events or strikes(wake, self.outside, self.plan.entry_ms, previous_ms, bar.time_ms):
                if self.plan.reaction_ms > 0:
                    self.waiting.setdefault(key, bar.time_ms + self.plan.reaction_ms)
                else:
                    self._call(bar, key, bar.mark_open, bar.trade_open, bar.time_ms)
        if not self.over:
            self._test(bar, bar.mark_open, lambda: self._cause_after_fees(bar.mark_open))

    def _take_terms(self, time_ms: int) -> None:
        """Step 1: the tier table and the taker fee come into force."""
        terms = (in_force(self.market.tiers, time_ms), in_force(self.market.taker, time_ms))
        if terms != self.terms:
            self.terms = terms
            self.account.end_stretch()
            rows, taker = exact_rows(self.market.tiers[terms[0]][1]), e8(self.market.taker[terms[1]][1])
            self.account.take_terms(replace(self.account.position, rows=rows, taker=taker))

    def _fund(self, bar: ExactBar) -> set[str]:
        """Step 2: funding at the mark open, if the bar has a rate."""
        if bar.time_ms not in self.market.funding:
            return set()
        self.account.end_stretch()
        rate = e8(self.market.funding[bar.time_ms])
        if rate == 0:
            return set()
        self.account.pay_funding(Moment(bar.time_ms, bar.mark_open, "funding"), rate)
        return {"on_funding"}

    def _receive(self, bar: ExactBar) -> set[str]:
        """Step 3: what was sent and has arrived."""
        return {"on_arrival"} if self.desk.receive(bar.time_ms, bar.mark_open) else set()

    def _do_what_waited(self, bar: ExactBar) -> None:
        """Step 5 after exit and entry: rules that were to be called later and whose time has come, then the script."""
        for key in sorted(key for key, due_ms in self.waiting.items() if due_ms <= bar.time_ms):
            due_ms = self.waiting.pop(key)
            latency_from_ms = bar.time_ms if self.plan.reaction_ms else due_ms
            self._call(bar, key, bar.mark_open, bar.trade_open, latency_from_ms)
        for action in self.plan.script:
            if action.bars == bar.number and not self.over:
                at = Moment(bar.time_ms, bar.mark_open, "rule")
                self._act(bar, checked(Request(*action[1:]), "script"), Scene(at, bar.trade_open, bar.time_ms))

    # --- rules ---------------------------------------------------------------------------------------------------

    def _call(self, bar: ExactBar, key: Key, mark: int, price: int, latency_from_ms: int) -> None:
        """Call a rule, unless it rests or the run is over, and do what it asks."""
        rule, wake = key
        use, memory = self.plan.rules[rule], self.memories[rule]
        if self.over or memory.rests(bar.time_ms, use.cooldown_ms):
            return
        self.account.see(mark)
        state = state_of(
            self.account,
            memory,
            (use, self.outside),
            mark=mark,
            time_ms=bar.time_ms,
            entry_ms=self.plan.entry_ms,
            entry_qty=self.story.entry_qty,
            wake=wake,
        )
        request = checked(Request(*use.function(state, use.params)), use.name)
        if VERBS[request.verb] != "hold":
            at = Moment(bar.time_ms, mark, "rule", rule)
            self._act(bar, request, Scene(at, price, latency_from_ms))

    def _act(self, bar: ExactBar, request: Request, scene: Scene) -> None:
        """Carry out a request, record it, and test at the mark where it was made."""
        at = scene.at
        status = self.desk.carry_out(request, scene)
        verb = VERBS[request.verb]
        self.result.actions.append(Action(bar.time_ms, bar.number, at.rule, verb, request.amount, at.mark, status))
        if status != "done":
            return
        if at.rule >= 0:
            self.memories[at.rule].actions += 1
            self.memories[at.rule].last_action_ms = bar.time_ms
        if self.account.position.qty == 0:
            self._finish("closed", at)
        else:
            self._test(bar, at.mark, lambda: self._cause_after_fees(at.mark))

    # --- liquidation ---------------------------------------------------------------------------------------------

    def _test(self, bar: ExactBar, mark: int, cause: Callable[[], str]) -> None:
        """Test the predicate at a mark with the position open: a forced close, or the end of a breach."""
        self.account.see(mark)
        if not self.plan.liquidation:
            self._note_deficit(mark)
        elif self.account.liquidated(mark):
            self._force(bar, mark, cause())
        elif not self.on_leg:
            self.breaches.end()
        self.fees_tested = self.account.fees

    def _force(self, bar: ExactBar, mark: int, cause: str) -> None:
        self.breaches.begin(bar.time_ms, mark, cause)
        self.leg_breached = True
        held = self.account.position.qty
        at = Moment(bar.time_ms, mark, "liquidation")
        force_close(self.account, self.plan, at)
        self.breaches.forced(held - self.account.position.qty, self.account.position.qty)
        if self.account.position.qty == 0:
            self._finish("liquidated", at)
        else:
            self.account.see(mark)

    def _cause_at_open(self, before: tuple[Position, int], mark: int) -> str:
        position, wallet = before
        if position.liquidated(wallet, mark):
            return "price"
        return "tier_change" if self.account.position.liquidated(wallet, mark) else "funding"

    def _cause_after_fees(self, mark: int) -> str:
        without_fees = self.account.wallet + self.account.fees - self.fees_tested
        return "price" if self.account.position.liquidated(without_fees, mark) else "fee"

    def _note_deficit(self, mark: int) -> None:
        deficit = -self.account.figures(mark).headroom
        largest = self.story.largest_deficit
        self.story.largest_deficit = deficit if largest is None else max(largest, deficit)

    # --- the path ------------------------------------------------------------------------------------------------

    def _path(self, bar: ExactBar) -> None:
        """Step 8: from the mark open to the adverse extreme, then to the other one."""
        adverse, other = bar.mark_low, bar.mark_high
        if self.plan.side < 0:
            adverse, other = other, adverse
        pending = {
            key: condition(wake, self.outside.value(wake.name, bar.time_ms) if wake.name else math.nan)
            for key, wake in self.thresholds
            if key not in self.waiting
        }
        self._leg(bar, bar.mark_open, adverse, pending, at_open=True)
        if not self.over:
            self._leg(bar, adverse, other, pending, at_open=False)

    def _leg(self, bar: ExactBar, start: int, end: int, pending: dict[Key, Any], *, at_open: bool) -> None:
        """Walk one leg: forced closes at most twice, at a crossing and at the end; each pending wake once."""
        if not self.plan.liquidation:
            for _, mark in pieces(self.account.position, start, end):
                self._note_deficit(mark)
        tests = ["none", "end", "crossing"] if self.plan.liquidation else ["none"]
        here, self.on_leg, self.leg_breached = start, True, False
        while not self.over:
            crossing = first_crossing(self.account, (here, end), pending.items(), tests[-1])
            if crossing is None:
                break
            here = crossing.mark
            self.account.see(here)
            if crossing.what == LIQUIDATION:
                tests.pop()
                self._force(bar, here, "price")
                continue
            del pending[crossing.what]
            if self.plan.reaction == "next_open":
                self.waiting[crossing.what] = bar.close_ms + self.plan.reaction_ms
            elif self.plan.reaction_ms > 0:
                self.waiting[crossing.what] = bar.time_ms + self.plan.reaction_ms
            else:
                price = bar.trade_open if at_open and here == start else here
                self._call(bar, crossing.what, here, price, bar.time_ms)
        self.on_leg = False
        if not self.over:
            self.account.see(end)
            if not self.leg_breached:
                self.breaches.end()
