"""What worlds have outside their market: signals and calendars, drawn from a seed, and rules that wait for them.

Rows lie on bar opens and off them, several between two bars; values are unknown now and then; dates are said long
before, late or afterwards, said again, moved and cancelled.
"""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from random import Random
from types import SimpleNamespace

from harness import RULES

from backtest.engine import oracle

E8 = 10**8
MINUTE_MS = 60_000
SIGNALS = ("cross", "level", "atr")
KINDS = ("fomc", "cpi")


def draw_outside(r: Random, plan: oracle.Plan, count: int, start_ms: int, interval_ms: int, first: int) -> oracle.Plan:
    """Give some worlds signals and events, and let some of their rules wait for them or read them."""
    if not plan.rules or r.random() < 0.4:
        return plan
    posted = int(plan.capital * E8)
    rules = tuple(_outward(r, use, interval_ms, posted) if r.random() < 0.7 else use for use in plan.rules)
    return replace(
        plan,
        rules=rules,
        signals={name: draw_signal(r, name, count, start_ms, interval_ms, first) for name in SIGNALS},
        events={kind: draw_statements(r, count, start_ms, interval_ms) for kind in KINDS},
    )


def _outward(r: Random, use: oracle.RuleUse, interval_ms: int, posted: int) -> oracle.RuleUse:
    wakes = tuple(draw_outward_wake(r, interval_ms) if r.random() < 0.6 else wake for wake in use.wakes)
    signals = tuple(r.sample(SIGNALS, r.randint(0, 3)))
    events = tuple(r.sample(KINDS, r.randint(0, 2)))
    use = replace(use, wakes=wakes, signals=signals, events=events)
    if r.random() < 0.5:
        params = {"share": r.choice((0.1, 0.5)), "amount": posted * r.choice((1, 10, 50)) // 100 / E8}
        use = replace(use, name="informed", function=RULES["informed"].function, params=SimpleNamespace(**params))
    return use


def draw_outward_wake(r: Random, interval_ms: int) -> oracle.Wake:
    """Draw a wake that a signal, an event or the distance to liquidation makes."""
    kind = r.choice(("signal", "before_event", "after_event", "liq_bps_below", "liq_bps_below", "liq_atr_below"))
    if kind == "signal":
        return oracle.Wake(kind, None, r.choice(SIGNALS))
    if kind == "liq_bps_below":
        return oracle.Wake(kind, Decimal(r.choice(("0", "0.0001", "1", "10", "50", "100", "500", "2500", "9999"))))
    if kind == "liq_atr_below":
        return oracle.Wake(kind, Decimal(r.choice(("0", "0.00000001", "0.5", "1", "2", "7", "9999"))), "atr")
    hours = Decimal(interval_ms * r.choice((0, 1, 2, 5)) + r.choice((0, 0, MINUTE_MS))) / 3_600_000
    return oracle.Wake(kind, Decimal(round(hours * 3_600_000)) / 3_600_000, r.choice(KINDS))


def draw_signal(
    r: Random, name: str, count: int, start_ms: int, interval_ms: int, first: int
) -> tuple[oracle.Reading, ...]:
    """Draw the rows of a signal: on bar opens and off them, several in a bar, unknown now and then."""
    span = interval_ms * (count + 2)
    times = {start_ms - interval_ms + r.randint(0, span) for _ in range(r.choice((0, 1, 4, count)))}
    times = {ms - (ms - start_ms) % interval_ms if r.random() < 0.6 else ms for ms in times}
    price = first / E8
    values = {
        "cross": (0.0, 0.0, 1.0, -1.0, 1.0, math.nan),
        "level": (0.3, 0.7, 0.0, -0.2, math.nan),
        "atr": (price * 0.01, price * 0.002, price * 0.1, 0.0, price * 3.0, -1.0, math.nan, 1e12),
    }[name]
    return tuple(oracle.Reading(ms, float(f"{r.choice(values):.9g}")) for ms in sorted(times))


def draw_statements(r: Random, count: int, start_ms: int, interval_ms: int) -> tuple[oracle.Statement, ...]:
    """Draw a calendar: dates said long before, late or afterwards, said again, moved and cancelled."""
    said = []
    for number in range(r.choice((0, 1, 3, count // 4))):
        due = start_ms + r.randint(-2, count + 3) * interval_ms + r.choice((0, 0, interval_ms // 2, 1000))
        known = due - r.choice((0, 0, 1, 3, 10, 10 * count)) * interval_ms + r.choice((0, 0, interval_ms // 3))
        said.append(oracle.Statement(f"event {number}", due, known))
        for _ in range(r.choice((0, 0, 1, 2))):
            known += r.randint(0, 6) * interval_ms + r.choice((1, interval_ms // 2))
            due = r.choice((due, due + r.randint(-3, 9) * interval_ms))
            said.append(oracle.Statement(f"event {number}", r.choice((due, due, None)), known))
    return tuple(sorted(said, key=lambda statement: statement.known_ms))


def altered(plan: oracle.Plan, time_ms: int, seed: int) -> oracle.Plan:
    """Give a plan that is told something else from a time on: other values, other dates, other rows."""
    r = Random(f"altered {seed}")
    return replace(
        plan,
        signals={name: tuple(_other_readings(r, rows, time_ms)) for name, rows in plan.signals.items()},
        events={kind: tuple(_other_statements(r, rows, time_ms)) for kind, rows in plan.events.items()},
    )


def _other_readings(r: Random, rows: tuple[oracle.Reading, ...], time_ms: int) -> list[oracle.Reading]:
    kept = [row for row in rows if row.available_ms < time_ms]
    later = sorted(time_ms + r.randint(0, 10**7) for _ in range(6))
    return kept + [oracle.Reading(ms, r.choice((-1.0, 0.0, 1.0, 123.0, math.nan))) for ms in later]


def _other_statements(r: Random, rows: tuple[oracle.Statement, ...], time_ms: int) -> list[oracle.Statement]:
    kept = [row for row in rows if row.known_ms < time_ms]
    events = [row.event for row in rows] or ["another"]
    later = sorted(time_ms + r.randint(0, 10**7) for _ in range(4))
    return kept + [
        oracle.Statement(r.choice(events), r.choice((None, ms + r.randint(-(10**8), 10**8))), ms) for ms in later
    ]


def informing(
    plan: oracle.Plan, names: tuple[str, ...], kinds: tuple[str, ...], bars: tuple[oracle.Bar, ...]
) -> oracle.Plan:
    """Give a plan that is told of signals and kinds of event by the names that a rule has for them."""
    r = Random(f"informing {bars[0].time_ms} {len(bars)}")
    count, start_ms, span = len(bars), bars[0].time_ms, bars[-1].time_ms - bars[0].time_ms
    interval_ms = max(span // max(count - 1, 1), MINUTE_MS)
    first = int(bars[0].mark_open * E8)
    return replace(
        plan,
        signals={
            name: draw_signal(r, "atr" if name.startswith("atr") else "cross", count, start_ms, interval_ms, first)
            for name in names
        },
        events={kind: draw_statements(r, count, start_ms, interval_ms) for kind in kinds},
    )
