"""A study is read exactly, or refused with every problem named."""

from __future__ import annotations

import copy
import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backtest.data.resample import Bootstrap, ScaledWindows
from backtest.errors import StudyError
from backtest.study.canonical import resolved, study_json, study_toml
from backtest.study.config import RuleSpec, Study, load_study, parse_study
from backtest.units import DAY_MS, HOUR_MS, time_ms

TEXT = """
[study]
name    = "btc-buffers"
seed    = 1
capital = "10_000"
[market]
venue    = "binance"
symbols  = ["BTCUSDT"]
interval = "1h"
start    = 2020-01-01
stop     = 2026-05-01
tiers    = "as-of"
gaps     = "flag"
release  = "pro_rata"
[entries]
every        = "24h"
side         = ["long", "short"]
leverage     = [5, 10, 2.5]
margin_mode  = "isolated"
margin_share = 0.5
horizon      = "30d"
[costs]
taker_fee_bps = "as-of"
slippage_bps  = 2.0
liquidation_slippage_bps = 10
clearance_fee_bps = 50
capital_cost_apr = 0.0
[reserve]
latency = "2m"
daily_cap = "500.5"
[[strategy]]
name  = "deleverage"
latency = "1h"
cooldown = "4h"
reaction_latency = "2m"
rules = [{ use = "deleverage", trigger = [0.25, 0.50], step = 0.25, put_back = true }]
[[strategy]]
name  = "top-up"
rules = [{ use = "top_up", trigger = 0.25, amount_pct = 10 }]
[[window]]
name = "crash"
from = 2021-05-18
to = 2021-05-24
"""


def raw() -> dict[str, Any]:
    return tomllib.loads(TEXT, parse_float=Decimal)


def study() -> Study:
    return parse_study(raw(), "study.toml")


def problems(changed: dict[str, Any]) -> list[str]:
    with pytest.raises(StudyError) as caught:
        parse_study(changed, "s.toml")
    return [str(problem) for problem in caught.value.problems]


def changed(place: str, value: object) -> dict[str, Any]:
    """Give the study with one value replaced; a place is written "entries.every"."""
    mapping = raw()
    *tables, key = place.split(".")
    target: Any = mapping
    for table in tables:
        target = target[int(table) if table.isdigit() else table]
    target[key] = value
    return mapping


def test_values_are_exact_integers() -> None:
    read = study()
    assert read.capital_e8 == 10_000 * 10**8
    assert read.market.start_ms == time_ms("2020-01-01")
    assert read.entries.every_ms == DAY_MS
    assert read.entries.sides == (1, -1)
    assert read.entries.leverages_e2 == (500, 1000, 250)
    assert read.entries.margin_share_e8 == 50_000_000
    assert read.costs.slippage_e8 == 20_000
    assert read.costs.taker_fee_e8 is None
    assert read.costs.clearance_fee_e8 == 500_000
    assert read.reserve.daily_cap_e8 == 50_050_000_000
    assert read.reserve.latency_ms == 120_000


def test_defaults_fill_what_is_left_out() -> None:
    mapping = raw()
    for table in ("costs", "reserve", "window"):
        del mapping[table]
    for table, key in (
        ("study", "seed"),
        ("market", "tiers"),
        ("market", "gaps"),
        ("market", "release"),
        ("entries", "side"),
        ("entries", "margin_mode"),
        ("entries", "margin_share"),
    ):
        del mapping[table][key]
    read = parse_study(mapping, "s.toml")
    assert (read.seed, read.market.tiers, read.market.gaps, read.release) == (1, "as-of", "error", "pro_rata")
    assert (read.entries.sides, read.entries.margin_mode, read.entries.margin_share_e8) == (
        (1, -1),
        "isolated",
        5 * 10**7,
    )
    assert (read.costs.slippage_e8, read.costs.liquidation_slippage_e8) == (20_000, 100_000)
    assert read.costs.taker_fee_e8 is read.costs.clearance_fee_e8 is read.reserve.daily_cap_e8 is None
    assert (read.costs.capital_cost_apr_e8, read.reserve.latency_ms, read.windows) == (0, 0, ())


def test_only_swept_values_become_part_of_a_name() -> None:
    names = [(s.name, s.base_name) for s in study().strategies]
    assert names == [("deleverage-0.25", "deleverage"), ("deleverage-0.5", "deleverage"), ("top-up", "top-up")]
    assert study().strategies[1].rules == (
        RuleSpec("deleverage", (("put_back", True), ("step", 0.25), ("trigger", 0.5))),
    )
    assert (study().strategies[0].latency_ms, study().strategies[0].cooldown_ms) == (HOUR_MS, 4 * HOUR_MS)
    assert study().strategies[2].latency_ms is None


def test_a_sweep_is_the_product_in_file_order() -> None:
    rules = [{"use": "a", "x": [1, 2], "flag": [True, False]}, {"use": "b", "y": [Decimal("0.5"), "p"]}]
    mapping = changed("strategy", [{"name": "s", "rules": rules}])
    assert [s.name for s in parse_study(mapping, "s").strategies] == [
        "s-1-true-0.5",
        "s-1-true-p",
        "s-1-false-0.5",
        "s-1-false-p",
        "s-2-true-0.5",
        "s-2-true-p",
        "s-2-false-0.5",
        "s-2-false-p",
    ]


def test_params_json_is_canonical() -> None:
    assert study().strategies[2].params_json == '[{"amount_pct":10.0,"trigger":0.25,"use":"top_up"}]'


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        ("study.name", "Bad Name", 'study.name: is "Bad Name", not a name'),
        (
            "study.capital",
            Decimal("10000.5"),
            'study.capital: is 10000.5, a float; money is exact; write it as text: "10',
        ),
        ("study.capital", 10000.5, "study.capital: is 10000.5, a float"),
        ("study.capital", "-1", 'study.capital: is "-1", out of range'),
        ("study.capital", "1e-9", 'study.capital: is "1e-9", which has more than 8 decimals'),
        ("study.capital", "ten", 'study.capital: is "ten", not a number'),
        ("study.capital", True, "study.capital: is true, not a number"),
        ("study.capital", "1_000_000_000", "study.capital: times leverage is over"),
        ("study.seed", "1", 'study.seed: is "1", not a whole number'),
        ("study.seed", -1, "study.seed: is -1, out of range"),
        ("market.venue", "binanc", 'market.venue: is "binanc", which is none of the choices; did you mean "binance"?'),
        ("market.venue", "kraken", "known: binance, bybit"),
        ("market.symbols", [], "market.symbols: is an empty list"),
        ("market.symbols", ["BTCUSDT", "BTC/USDT:USDT"], "market.symbols: has a value twice"),
        ("market.symbols", ["btc"], 'market.symbols: is "btc", not a symbol'),
        ("market.interval", "7h", 'market.interval: is "7h", which does not divide a day'),
        ("market.interval", 60, "market.interval: is 60, not a duration"),
        ("market.interval", "1s", 'market.interval: is "1s", too short; take 1m'),
        ("market.start", "2027-01-01", "market.start: is 2027-01-01 00:00, not before stop (2026-05-01 00:00)"),
        ("market.start", 20200101, "market.start: is 20200101, not a UTC date"),
        ("market.start", "2020-13-01", 'market.start: is "2020-13-01", not a UTC date'),
        ("market.tiers", "asof", 'market.tiers: is "asof", which chooses no tiers'),
        ("market.gaps", "ignore", 'market.gaps: is "ignore", which is none of the choices'),
        ("market.resample", "7d", 'market.resample: is "7d", not a table'),
        ("market.resample", {"method": "bootstrp"}, 'market.resample.method: is "bootstrp"'),
        ("market.resample", {"method": "bootstrap", "block": "7d"}, "which scatters the days of every [[window]]"),
        ("market.resample", {"method": "crash", "windows": "crsh", "scale": 2}, "no [[window]] of the study; did you"),
        ("market.resample", {"method": "crash", "windows": "crash"}, "market.resample.scale: is missing"),
        ("market.resample", {"method": "crash", "windows": "crash", "scale": 0}, "market.resample.scale: is 0, out of"),
        ("market.joint", "sync", "market.joint: is not supported yet"),
        ("market", "binance", 'market: is "binance", not a table'),
        ("entries.every", "90m", 'entries.every: is "90m", not a multiple of interval; take multiples of 1h'),
        ("entries.horizon", "30m", 'entries.horizon: is "30m", not a multiple of interval'),
        ("entries.horizon", "5x", 'entries.horizon: is "5x", not a duration'),
        ("entries.every", "0h", 'entries.every: is "0h", too short'),
        ("entries.horizon", "9999999d", 'entries.horizon: is "9999999d", too long; take 36500d or less'),
        ("entries.side", ["up"], 'entries.side: is "up"'),
        ("entries.leverage", [0], "entries.leverage: is 0, out of range; take 1 to 1000"),
        ("entries.leverage", [Decimal("2.555")], "entries.leverage: is 2.555, which has too many decimals"),
        ("entries.leverage", [Decimal("nan")], "entries.leverage: is NaN, not a number"),
        ("entries.leverage", [5, 5], "entries.leverage: has a value twice"),
        ("entries.margin_mode", "portfolio", 'entries.margin_mode: "portfolio" is not supported yet'),
        ("entries.margin_share", 0, "entries.margin_share: is 0, out of range; take more than 0 to 1"),
        ("entries.when", "macd", "entries.every: does not go with when"),
        ("costs.slippage_bps", "two", 'costs.slippage_bps: is "two", not a number'),
        ("costs.slippage_bps", -1, "costs.slippage_bps: is -1, out of range"),
        ("costs.taker_fee_bps", "asof", 'costs.taker_fee_bps: is "asof", not a number; write a number or "as-of"'),
        ("reserve.approval", "2 of 3", 'reserve.approval: is "2 of 3", not a table'),
        ("reserve.daily_cap", 0, "reserve.daily_cap: is 0, out of range"),
        ("strategy.0.name", "hold", 'strategy[1].name: is "hold", the name of a control'),
        ("strategy.0.name", "smaller-60", 'strategy[1].name: is "smaller-60", the name of a control'),
        ("strategy.0.name", "a~shuffled", 'strategy[1].name: is "a~shuffled", not a name'),
        ("strategy.1.name", "deleverage", "already the name of another"),
        ("strategy.0.rules", [], "strategy[1].rules: holds 0 tables; give 1 to 8"),
        ("strategy.0.rules", [{"use": "exit"}] * 9, "strategy[1].rules: holds 9 tables"),
        ("strategy.0.rules", "deleverage", 'strategy[1].rules: is "deleverage", not a list of tables'),
        ("strategy.0.rules.0.use", "No Rule", 'strategy[1].rules[1].use: is "No Rule", not the name of a rule'),
        ("strategy.0.rules.0.trigger", Decimal("inf"), "strategy[1].rules[1].trigger: is Infinity, which cannot be"),
        ("strategy.0.rules.0.trigger", [[1]], "strategy[1].rules[1].trigger: is a list, which cannot be"),
        ("strategy.0.latency", 2, "strategy[1].latency: is 2, not a duration"),
        ("window.0.to", "2021-05-18", "window[1].from: is not before to"),
        ("window.0.name", "<b>", 'window[1].name: is "<b>"'),
    ],
)
def test_one_wrong_value_gives_one_line_with_its_place(place: str, value: object, what: str) -> None:
    if place == "strategy.1.name":
        mapping = changed("strategy.0.rules.0.trigger", Decimal("0.25"))
        mapping["strategy"][1]["name"] = value
    else:
        mapping = changed(place, value)
    lines = problems(mapping)
    assert len(lines) == 1
    assert lines[0].startswith("s.toml: ")
    assert what in lines[0]
    assert "\n" not in lines[0]


@pytest.mark.parametrize(("table", "key"), [("study", "name"), ("market", "start"), ("entries", "leverage")])
def test_a_missing_key_is_named(table: str, key: str) -> None:
    mapping = raw()
    del mapping[table][key]
    assert problems(mapping) == [f"s.toml: {table}.{key}: is missing; add it"]


def test_a_missing_table_is_one_problem_not_one_for_each_key() -> None:
    mapping = raw()
    del mapping["market"]
    assert problems(mapping) == ["s.toml: market: is missing; add it"]


def test_all_problems_are_told_at_once() -> None:
    mapping = changed("study.capital", 0.5)
    mapping["market"]["venue"] = "x"
    mapping["entries"]["every"] = "1m"
    mapping["strategy"][0]["rules"][0]["use"] = 3
    mapping["cost"] = {}
    assert len(problems(mapping)) == 5


def every_key() -> list[tuple[str | int, ...]]:
    """List every key of the study that must have a fixed spelling."""
    found: list[tuple[str | int, ...]] = []

    def walk(value: object, path: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if "rules" not in path or key == "use":
                    found.append((*path, key))
                walk(item, (*path, key))
        elif isinstance(value, list):
            for n, item in enumerate(value):
                walk(item, (*path, n))

    walk(raw(), ())
    return found


@given(path=st.sampled_from(every_key()), data=st.data())
def test_any_misspelt_key_is_caught_and_the_right_one_suggested(
    path: tuple[str | int, ...], data: st.DataObject
) -> None:
    key = str(path[-1])
    assume(len(key) > 2)
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    edits = (key[:at] + key[at + 1 :], key[:at] + letter + key[at:], key[:at] + letter + key[at + 1 :])
    misspelt = data.draw(st.sampled_from(edits))
    mapping: Any = raw()
    table = mapping
    for step in path[:-1]:
        table = table[step]
    assume(misspelt not in table)
    table[misspelt] = table.pop(key)
    lines = problems(mapping)
    assert len(lines) == 1
    assert f'did you mean "{key}"?' in lines[0]
    assert f"{misspelt}: " in lines[0]


@pytest.mark.parametrize("trigger", [Decimal("0.3"), [0.25, 0.5], [0.1, 0.25, 1e-7]], ids=["one", "two", "three"])
def test_the_canonical_form_reads_back_as_the_same_study(trigger: object, tmp_path: Path) -> None:
    """Swept or not, from JSON and from TOML."""
    mapping = changed("strategy.0.rules.0.trigger", trigger)
    mapping["market"]["resample"] = CRASH
    once = parse_study(mapping, "s.toml")
    assert parse_study(json.loads(study_json(once)), "json") == once
    (tmp_path / "study.toml").write_text(study_toml(once), encoding="utf-8")
    assert load_study(tmp_path) == once


@pytest.mark.parametrize("name", ["deleverage", "exit-0.5", "deleverage0.5", 3])
def test_a_base_name_is_where_the_name_begins(name: object) -> None:
    mapping = changed("strategy.0.rules.0.trigger", 0.5)
    mapping["strategy"][0] |= {"base_name": "deleverage", "name": name}
    (line,) = problems(mapping)
    assert "strategy[1].name: is" in line
    assert "not deleverage-VALUE" in line


def test_layout_does_not_change_the_canonical_form_but_every_value_does() -> None:
    reordered = {table: raw()[table] for table in reversed(raw())}
    reordered["market"] = dict(reversed(raw()["market"].items()))
    assert study_json(parse_study(reordered, "other.toml")) == study_json(study())
    for place, value in (
        ("study.seed", 2),
        ("entries.margin_share", "0.51"),
        ("costs.taker_fee_bps", 4),
        ("reserve.latency", "3m"),
        ("market.release", "keep"),
        ("market.gaps", "mark-from-index"),
        ("market.resample", CRASH),
        ("strategy.0.cooldown", "5h"),
        ("strategy.0.reaction_latency", "3m"),
        ("strategy.0.rules.0.step", 0.3),
        ("window.0.to", "2021-05-25"),
    ):
        assert study_json(parse_study(changed(place, value), "s")) != study_json(study()), place


CRASH = {"method": "crash", "windows": ["crash"], "scale": Decimal("1.5")}


def test_a_stress_market_is_read_from_its_table() -> None:
    assert study().market.resample is None
    made = parse_study(changed("market.resample", CRASH), "s").market.resample
    assert made == ScaledWindows(((time_ms("2021-05-18"), time_ms("2021-05-24")),), 150)
    mapping = changed("market.resample", {"method": "bootstrap", "block": "7d"})
    del mapping["window"]
    mapping["study"]["seed"] = 9
    assert parse_study(mapping, "s").market.resample == Bootstrap(7 * DAY_MS, 9)
    mapping["market"]["resample"]["seed"] = 3
    mapping["strategy"] = mapping["strategy"][1:]
    once = parse_study(mapping, "s")
    assert once.market.resample == Bootstrap(7 * DAY_MS, 3)
    assert parse_study(json.loads(study_json(once)), "json") == once


@pytest.mark.parametrize(
    ("resample", "what"),
    [
        ({"method": "bootstrap", "block": "36h"}, "market.resample.block: is "),
        ({"method": "bootstrap", "block": "9999d"}, "market.resample.block: is longer than the range"),
        ({"method": "bootstrap", "blok": "7d"}, 'did you mean "block"?'),
        ({"method": "crash", "windows": ["crash"], "scale": 2}, "no [[window]] of the study; add it"),
    ],
)
def test_a_stress_market_that_cannot_be_is_one_line(resample: dict[str, Any], what: str) -> None:
    mapping = changed("market.resample", resample)
    del mapping["window"]
    (line,) = problems(mapping)
    assert what in line


def test_windows_of_a_stress_market_lie_in_the_range_and_apart() -> None:
    mapping = changed("market.resample", {"method": "crash", "windows": ["crash", "more"], "scale": 2})
    mapping["window"].append({"name": "more", "from": "2021-05-20", "to": "2026-06-01"})
    assert [line.partition(": ")[2] for line in problems(mapping)] == [
        "market.resample.windows: are not all between start and stop; take others, or a longer range",
        "market.resample.windows: overlap; take one of them out",
    ]


def test_the_canonical_form_holds_no_float_but_rule_parameters() -> None:
    form = copy.deepcopy(resolved(study()))
    form.pop("strategy")
    assert json.loads(json.dumps(form), parse_float=lambda text: pytest.fail(f"float {text}")) == form


def test_ccxt_symbols_are_taken_as_the_venue_spells_them() -> None:
    assert parse_study(changed("market.symbols", "BTC/USDT:USDT"), "s").market.symbols == ("BTCUSDT",)


def test_a_study_file_or_its_folder_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TEXT)
    assert load_study(tmp_path) == load_study(tmp_path / "study.toml") == study()


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "cannot be read"), (b"\xff\xfe", "is not UTF-8"), (b"[study\n", "is not TOML")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "study.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=what) as caught:
        load_study(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


TRACKED = sorted((Path(__file__).parents[2] / "reports").glob("*/study.toml"))


@pytest.mark.parametrize("path", TRACKED, ids=lambda path: path.parent.name)
def test_every_tracked_study_reads_and_is_named_after_its_folder(path: Path) -> None:
    assert load_study(path).name == path.parent.name
