"""Every line of an explanation, worked out again from the numbers that it shows."""

from __future__ import annotations

import re
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.venues.explain import explain
from backtest.venues.report import compute
from backtest.venues.steps import Step
from tests.venues.accounts import accounts
from tests.venues.test_modes import account, position
from tests.venues.test_second_opinion import make_pool

MANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
NUMBER = re.compile(r"\d+(?:\.\d+)?")
LINE = re.compile(r".*: (-?[\d.]+) ([-+]) ([\d.]+) ([×/]) price = 0")
SHOWN = Fraction(1, 2 * 10**8)  # the most that a number is rounded by
WORDS_ONLY = ("tier", "era", "margin that is added by itself")


def arithmetic(step: Step) -> str | None:
    """Give the sum of a step without its words; None where it has none."""
    line = LINE.fullmatch(step.formula)
    if line:
        constant, sign, slope, by = line.groups()
        root = f"-({constant}) / ({sign}{slope})"
        return root if by == "×" else f"1 / ({root})"
    if step.label.split(": ")[-1] in WORDS_ONLY or "is taken over" in step.formula or step.result == "none":
        return None
    plain = re.sub(r"\([A-Za-z][^()]*\)", "", step.formula)  # (names of terms)
    part = next((part for part in plain.split(": ") if re.search(r"\d.*[-+×/]|^ *-?[\d.]+ *$", part)), None)
    return None if part is None else re.sub(r"[A-Za-z]+", "", part.split(", ")[0]).replace("×", "*")


def value_of(expression: str, moved: int | None = None) -> Fraction:
    """Work an expression out exactly; number `moved` of it is taken as much higher as it may have been rounded."""
    places = iter(range(len(expression)))

    def number(match: re.Match[str]) -> str:
        more = " + SHOWN" if next(places) == moved else ""
        return f"(Fraction('{match[0]}'){more})"

    value = eval(NUMBER.sub(number, expression), {"Fraction": Fraction, "SHOWN": SHOWN})
    assert isinstance(value, Fraction)
    return value


def check_recomputes(content: dict[str, Any]) -> None:
    result = compute(content)
    ticks = [Fraction(p.tick_size or 0) for p in result.source.positions]
    for step in explain(result):
        expression = arithmetic(step)
        if expression is None:
            continue
        ours = value_of(expression)
        spread = sum(abs(value_of(expression, n) - ours) for n in range(len(NUMBER.findall(expression))))
        if "not less than 0" in step.formula:
            ours = max(Fraction(0), ours)
        finest = Fraction(1, 10**4) if "cut to 4 decimals" in step.formula else 2 * SHOWN
        if step.label.endswith("price"):
            finest = max(finest, *ticks)
        assert abs(ours - Fraction(step.result)) <= 2 * spread + finest, step


@MANY
@given(st.one_of(accounts(), st.integers(0, 2**62).map(make_pool)))
def test_every_line_gives_the_result_beside_it(content: dict[str, Any]) -> None:
    check_recomputes(content)


def test_a_wrong_number_would_be_seen() -> None:
    step = Step("x: maintenance margin", "100 × 0.004 - 50 + 0.1", "-49.5", "")
    assert value_of(arithmetic(step) or "") == Fraction(step.result)
    assert value_of(arithmetic(Step("x", "7 (a) + 2 (b)", "", "")) or "") == 9


def test_a_hedged_leg_shows_that_its_hedged_part_is_charged_twice() -> None:
    """(10 + 4) x 1000 x 0.001 x (1 - 1/10), and (4 + 4) x 1000 x 0.001 x (1 + 1/10)."""
    legs = position(), position(side="short", qty="4")
    held = account(*legs, venue="bybit", position_mode="hedge", taker_fee="0.001")
    found = [(s.formula, s.result) for s in explain(compute(held)) if s.label.endswith("closing-fee reserve")]
    assert found == [
        ("14000 entry value with the hedged part twice × 0.0009 fee", "12.6"),
        ("8000 entry value with the hedged part twice × 0.0011 fee", "8.8"),
    ]


@pytest.mark.parametrize(
    ("venue", "parts", "total"),
    [
        ("binance", "1500 (AAAUSDT with its orders) + 1000 (BBBUSDT)", "2500"),
        ("bybit", "1000 (AAAUSDT long) + 1000 (BBBUSDT long) + 500 (order in AAAUSDT)", "2500"),
    ],
)
def test_a_pool_shows_what_its_initial_margin_is_made_of(venue: str, parts: str, total: str) -> None:
    order = {"symbol": "AAAUSDT", "side": "buy", "qty": "5", "price": "1000", "leverage": "10"}
    result = compute(account(position(), position("BBBUSDT"), venue=venue, orders=[order]))
    (step,) = (s for s in explain(result) if s.label.startswith("pool") and s.label.endswith("initial margin"))
    assert (step.formula, step.result) == (parts, total)
    assert result.account.initial_margin == total


def test_a_contract_that_expires_pays_no_funding() -> None:
    row = {"BTCUSD_251226": [{"rate": "0.01"}], "BTCUSD_PERP": [{"rate": "0.01"}]}
    for symbol, paid in (("BTCUSD_251226", False), ("BTCUSD_PERP", True)):
        held = account(position(symbol), margin_mode="isolated", tiers=row)
        assert any("funding" in step.label for step in explain(compute(held))) == paid


@pytest.mark.slow
def test_every_line_of_many_accounts() -> None:
    for seed in range(5_000):
        check_recomputes(make_pool(Random(seed).randint(0, 2**62)))
