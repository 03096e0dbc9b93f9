"""The replay of one run with several legs: the instants of docs/semantics.md §3 and the path, every bar visited."""

from __future__ import annotations

import math

from backtest.engine.oracle.actions import Request, checked
from backtest.engine.oracle.model import THRESHOLD_WAKES, Action
from backtest.engine.oracle.numbers import e8
from backtest.engine.oracle.outside import Outside
from backtest.engine.oracle.pool.books import At
from backtest.engine.oracle.pool.desk import Desk, Scene
from backtest.engine.oracle.pool.entry import enter, refusal, sizes
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.liquidation import Held, Liquidations
from backtest.engine.oracle.pool.model import PoolMarket, PoolPlan, PoolResult
from backtest.engine.oracle.pool.outcome import Exposure, Story, outcome_of
from backtest.engine.oracle.pool.path import END, Holds, Way, condition, next_place, ways_of
from backtest.engine.oracle.pool.pool import Pool
from backtest.engine.oracle.pool.state import state_of
from backtest.engine.oracle.pool.tape import Step, Tape
from backtest.engine.oracle.pool.trading import close_leg, settle_ended
from backtest.engine.oracle.run import strikes
from backtest.engine.oracle.state import RuleMemory
from backtest.schema import VERBS

Key = tuple[int, int]  # (rule index, wake index)


def replay(market: PoolMarket, plan: PoolPlan) -> PoolResult:
    """Replay one run and tell it whole.

    Formulas, order and rounding: docs/pools.md. A refused entry gives a result without transfers.
    """
    return _Run(market, plan).play()


class _Run:
    def __init__(self, market: PoolMarket, plan: PoolPlan) -> None:
        self.market, self.plan = market, plan
        self.result, self.story = PoolResult(), Story()
        self.tape = Tape(market, plan)
        self.pool = Pool(market, plan, self.result)
        self.desk = Desk(self.pool)
        self.liquidations = Liquidations(self.pool, self.story, self._finish)
        self.terms = [(-1, -1)] * len(market.instruments)  # indices of the risk table and the taker rate in force
        self.memories = [RuleMemory() for _ in plan.rules]
        wakes = [((r, w), wake) for r, rule in enumerate(plan.rules) for w, wake in enumerate(rule.wakes)]
        self.outside = Outside(plan.signals, plan.events)
        self.thresholds = [(key, wake) for key, wake in wakes if wake.kind in THRESHOLD_WAKES]
        self.open_wakes = [(key, wake) for key, wake in wakes if wake.kind not in THRESHOLD_WAKES]
        self.pending: dict[Key, Holds] = {}  # threshold wakes not called in this bar
        self.waiting: dict[Key, int] = {}  # wakes that are not called at once, and from when they may be
        self.step_ms = 0

    def play(self) -> PoolResult:
        steps = self.tape.steps
        self.story.refusal = self._refusal()
        if self.story.refusal is not None:
            self.story.exit_reason = "refused"
        previous_ms = self.plan.entry_ms
        for step in steps:
            if self.story.over:
                break
            self._open(step, previous_ms)
            if not self.story.over:
                self.story.exposures.append(self._exposure(step))
                self._path(step)
            previous_ms = step.time_ms
        if not self.story.over:
            closes = steps[-1].trade_close
            at = At(steps[-1].close_ms, closes, closes, "data_end")
            self._leave("data_end", at)
        breaches = self.liquidations.breaches
        self.result.outcome = outcome_of(self.plan, self.story, self.pool, breaches, self.result)
        return self.result

    def _exposure(self, step: Step) -> Exposure:
        return Exposure(step.time_ms, tuple(self.pool.core), step.mark_open, step.close_ms - step.time_ms)

    # --- entry and end -------------------------------------------------------------------------------------------

    def _refusal(self) -> str | None:
        """Size the entry, and say why it is refused if it is."""
        if not self.tape.steps or self.tape.steps[0].time_ms != self.plan.entry_ms:
            return "gap"
        step = self.tape.steps[0]
        self._take_terms(step.time_ms)
        self.story.entry_marks = step.mark_open
        self.story.entry_qtys = sizes(self.pool, step)
        return refusal(self.pool, self.story.entry_qtys, step)

    def _leave(self, reason: str, at: At) -> None:
        """Close the core, and with it the run."""
        for leg in self.pool.core:
            if leg.qty:
                close_leg(self.pool, at, leg.slot, leg.qty)
        self._finish(reason, at)

    def _finish(self, reason: str, at: At) -> None:
        """End the run: close what layers are left, and take back what is in transit."""
        cause = "data_end" if at.cause == "data_end" else "exit"
        for slot, leg in self.pool.legs.items():
            if leg.qty:
                close_leg(self.pool, at._replace(cause=cause, rule=-1), slot, leg.qty)
        books = self.pool.books
        books.transfer(at._replace(rule=-1), "return", "transit", "reserve", books.held("transit"))
        for breach in self.liquidations.breaches:
            breach.end()
        self.story.exit_ms, self.story.exit_reason = at.time_ms, reason

    # --- the open of a bar ---------------------------------------------------------------------------------------

    def _open(self, step: Step, previous_ms: int) -> None:
        """Steps 1 to 7 of an instant."""
        at = At(step.time_ms, step.mark_open, step.trade_open, "exit")
        before = self._held()
        self._take_terms(step.time_ms)
        self._settle_ended_assets(at)
        after_terms = self._held()
        events: set[str] = set()
        fills_before = len(self.result.fills)
        if step.number == 0:
            self.story.entry_notional = enter(self.pool, at._replace(cause="entry"), self.story.entry_qtys)
            self.pool.see(step.mark_open)
        else:
            events = {"every_bar"} | self._fund(at, previous_ms)
            events |= {"on_arrival"} if self.desk.receive(at) else set()
            self.liquidations.test(at, self.liquidations.cause_at_open(before, after_terms, step.mark_open))
            fills_before = len(self.result.fills)
            if not self.story.over and step.time_ms >= self.plan.entry_ms + self.plan.horizon_ms:
                self._leave("horizon", at)
        self._do_what_waited(step, at)
        if any(fill.cause in ("entry", "rule") for fill in self.result.fills[fills_before:]):
            events.add("on_fill")
        for key, wake in self.open_wakes:
            if wake.kind in events or strikes(wake, self.outside, self.plan.entry_ms, previous_ms, step.time_ms):
                if self.plan.reaction_ms > 0:
                    self.waiting.setdefault(key, step.time_ms + self.plan.reaction_ms)
                else:
                    self._call(step, key, at, step.time_ms)
        if not self.story.over:
            self.liquidations.test(at, self.liquidations.cause_after_fees(step.mark_open))

    def _take_terms(self, time_ms: int) -> None:
        """Step 1: risk tables, taker rates and margins of assets come into force."""
        for number, instrument in enumerate(self.market.instruments):
            terms = self.tape.terms(number, time_ms)
            if terms != self.terms[number]:
                self.terms[number] = terms
                self.pool.take_terms(number, instrument.tiers[terms[0]][1], e8(instrument.taker[terms[1]][1]))
        for leg in self.pool.asset_legs:
            asset_terms = self.tape.asset_terms(leg.instrument, time_ms)
            if asset_terms != leg.terms:
                self.pool.take_asset_terms(leg, asset_terms)

    def _settle_ended_assets(self, at: At) -> None:
        """Step 1 too: what is held of an asset that is listed no more is settled."""
        for leg in self.pool.asset_legs:
            if leg.qty and not leg.terms.listed:
                settle_ended(self.pool, at._replace(cause="expiry"), leg.slot)

    def _held(self) -> Held:
        return Held(tuple(self.pool.legs.values()), tuple(map(self.pool.wallet, self.pool.units)))

    def _fund(self, at: At, previous_ms: int) -> set[str]:
        """Step 2: funding leg by leg; the rates of bars that were left out are added."""
        rates = [self.tape.rates(i, previous_ms, at.time_ms) for i in range(len(at.marks))]
        if any(rates):
            self.pool.end_stretch()
        events = set()
        for leg in list(self.pool.legs.values()):
            rate = sum(rates[leg.instrument])
            if leg.qty and rate:
                events.add("on_funding")
                self._pay_funding(at._replace(cause="funding"), leg, rate)
        return events

    def _pay_funding(self, at: At, leg: Leg, rate: int) -> None:
        unit, amount = self.pool.unit_of(leg.slot), leg.funding(at.marks[leg.instrument], rate)
        self.pool.books.settle(at, unit.account, -amount, ("funding", "funding"), "funding", unit.coin)
        self.pool.books.totals.funding += unit.coin.in_quote(amount, at.marks)

    def _do_what_waited(self, step: Step, at: At) -> None:
        """Step 5 after exit and entry: rules that were to be called later and whose time has come, then the script."""
        for key in sorted(key for key, due_ms in self.waiting.items() if due_ms <= step.time_ms):
            due_ms = self.waiting.pop(key)
            self._call(step, key, at, step.time_ms if self.plan.reaction_ms else due_ms)
        for action in self.plan.script:
            if action.bars == step.number and not self.story.over:
                request = checked(Request(*action[1:]), "script")
                self._act(step, request, Scene(at._replace(cause="rule"), step.time_ms))

    # --- rules ---------------------------------------------------------------------------------------------------

    def _rests(self, rule: int, time_ms: int) -> bool:
        return self.memories[rule].rests(time_ms, self.plan.rules[rule].cooldown_ms)

    def _call(self, step: Step, key: Key, at: At, latency_from_ms: int) -> None:
        """Call a rule, unless it rests or the run is over, and do what it asks."""
        rule, wake = key
        use, memory = self.plan.rules[rule], self.memories[rule]
        if self.story.over or self._rests(rule, step.time_ms):
            return
        self.pool.see(at.marks)
        state = state_of(
            self.pool,
            memory,
            (use, self.outside),
            marks=at.marks,
            time_ms=step.time_ms,
            entry_ms=self.plan.entry_ms,
            entry_qty=self.story.entry_qtys[0],
            wake=wake,
        )
        request = checked(Request(*use.function(state, use.params)), use.name)
        if VERBS[request.verb] != "hold":
            self._act(step, request, Scene(at._replace(cause="rule", rule=rule), latency_from_ms))

    def _act(self, step: Step, request: Request, scene: Scene) -> None:
        """Carry out a request, record it, and test every unit where it was made."""
        at, verb = scene.at, VERBS[request.verb]
        status = self.desk.carry_out(request, scene)
        mark = at.marks[self.plan.core[0].instrument]
        self.result.actions.append(Action(step.time_ms, step.number, at.rule, verb, request.amount, mark, status))
        if status != "done":
            return
        if at.rule >= 0:
            self.memories[at.rule].actions += 1
            self.memories[at.rule].last_action_ms = step.time_ms
        if self.pool.core_is_flat:
            self._finish("closed", at)
        else:
            self.liquidations.test(at, self.liquidations.cause_after_fees(at.marks))

    # --- the path ------------------------------------------------------------------------------------------------

    def _path(self, step: Step) -> None:
        """Step 8: way by way, settling at each point where something turns."""
        self.step_ms = step.time_ms
        self.pending = {
            key: condition(self.pool, wake, self.outside.value(wake.name, step.time_ms) if wake.name else math.nan)
            for key, wake in self.thresholds
            if key not in self.waiting
        }
        ways = ways_of(self.pool, step)
        for way in ways:
            if not self.story.over:
                self._walk(step, way, at_open=way is ways[0])

    def _walk(self, step: Step, way: Way, *, at_open: bool) -> None:
        """Go one way from point to point; at the end, units that were forced on it are tested once more."""
        self.liquidations.begin_way()
        if at_open:
            self._settle(step, At(step.time_ms, way.start, step.trade_open, "liquidation"), at_end=False)
        place = 0
        while not self.story.over and place < END:
            turn = next_place(way, place, self._conditions())
            if turn is None and not self.liquidations.again(way.end):
                break
            place = END if turn is None else turn
            marks = way.marks(place)
            self._settle(step, At(step.time_ms, marks, marks, "liquidation"), at_end=place == END)
        self.liquidations.end_way(way.end)

    def _conditions(self) -> list[Holds]:
        """Give what may turn on a way: the predicates of units not forced on it, and the wakes that may be called."""
        return self.liquidations.predicates() + list(self._callable().values())

    def _callable(self) -> dict[Key, Holds]:
        """Give the threshold wakes that may be called; what is remembered for later is so though its rule rests."""
        resting = self.plan.reaction == "intrabar" and self.plan.reaction_ms == 0
        return {
            key: holds for key, holds in self.pending.items() if not (resting and self._rests(key[0], self.step_ms))
        }

    def _settle(self, step: Step, at: At, *, at_end: bool) -> None:
        """Do all that is due at a point: forced closes, then the first wake that holds, until nothing more is."""
        while not self.story.over:
            self.pool.see(at.marks)
            self.liquidations.force_at_point(at, at_end=at_end)
            key = next(
                (key for key, holds in self._callable().items() if not self.story.over and holds(at.marks)), None
            )
            if key is None:
                return
            del self.pending[key]
            if self.plan.reaction == "next_open":
                self.waiting[key] = step.close_ms + self.plan.reaction_ms
            elif self.plan.reaction_ms > 0:
                self.waiting[key] = step.time_ms + self.plan.reaction_ms
            else:
                self._call(step, key, at, step.time_ms)
