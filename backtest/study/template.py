"""What `backtest new` writes: a study with every key explained, a rule, and a test beside it."""

from __future__ import annotations

import keyword
import re

from backtest.engine import rules
from backtest.errors import UsageError
from backtest.study.naming import NAME_PATTERN

STUDY_TOML = """\
# Compare: backtest compare reports/{name}

[study]
name = "{name}"
seed = 1
capital = "10_000" # quote, per run, the same for every strategy: margin + reserve

[market]
venue = "binance" # or "bybit"
symbols = ["BTCUSDT"] # each is replayed by itself
interval = "1h" # of the mark-price bars; they decide liquidation
start = 2020-01-01
stop = 2026-05-01 # exclusive
tiers = "as-of" # the table in force at the time; or "current", a date, a JSON file, a folder/
# finer = "1m" # replayed in place of each bar that they fill and join to; ["15m", "1m"]: the coarsest first
# last_for_mark = true # last prices stand in for mark: to compare rules where no mark is stored, as minutes often are
gaps = "error" # a missing bar stops the study; "flag" marks the runs near it; "mark-from-index" also fills mark bars
# A stress market from this history, in place of it: days drawn anew, or larger moves in some of the [[window]]s below.
# resample = {{ method = "bootstrap", block = "7d", seed = 1 }}
# resample = {{ method = "crash", windows = ["2021-05-19"], scale = 1.5 }}
release = "pro_rata" # a reduction frees its share of the margin; "keep" leaves it in the position

[entries]
# from = "trades.csv" # in place of every: your own, with columns time, symbol, side, leverage; or freqtrade's
# when = "macd_12_26_9_1d_cross" # in place of every: at each change of a signal, without side to the side of its sign
every = "24h"
side = ["long", "short"]
leverage = [5, 10, 20]
margin_mode = "isolated" # or "cross"
margin_share = 0.5 # of the capital posted; the rest is the reserve
horizon = "30d" # how long a position is held
# continuous = true # in place of horizon: one account for each symbol, side and leverage, through the whole history
# on_liquidation = "refill" # then: to the capital again; or "continue" with what is left, or "stop"
# block = "year" # of the tables; or "quarter"
# basket = true # all symbols in one cross account, each with an equal part of the margin
# isolated = ["ETHUSDT"] # but these, each in an account of its own beside it

# Hedges that rules may open beside the position (trade), each with a leverage of its own.
# [[layer]]
# use = "opposite" # the other side of the same contract; or "inverse" or "other", with a symbol
# leverage = 10

# [[layer]]
# use = "asset" # what has marks of its own in the lake (table asset_marks), such as an option; up to four
# asset = "BTC-PUT-30D"
# side = "long" # or "short"
# settlement = "paid" # or "margined", as a future
# account = "own" # or "core", in cross mode: its value counts as margin
# ratio = 1.0 # in the core's account: share of a bought asset's value that counts
# size_by = "capital" # what trade("asset", 1) is: the run's capital, the core's "notional" or its "quantity"
# step = "0.01" # units
# fee_bps = 3 # of the value
# slippage_bps = 100 # half of the spread

# Coin in place of a share of the posted margin, in cross mode.
# [[collateral]]
# symbol = "BTCUSDT" # whose mark prices the coin
# share = 0.5
# ratio = 0.95 # of its value counts

[costs]
taker_fee_bps = "as-of" # the venue's dated rate, or a number
slippage_bps = 2.0
liquidation_slippage_bps = 10
clearance_fee_bps = "as-of"
capital_cost_apr = 0.0 # 0.05 charges 5 % a year on the capital, in the cost figures

[reserve]
latency = "0s" # until margin sent from the reserve arrives
# approval = {{ needed = 3, delays = ["1h", "6h", "1d", "2d", "3d"] }} # and until the third of five has signed
# preset = "multi-sig" # in place of both; or "dao-vote", seven days
# daily_cap = "1_000" # most that leaves it in one UTC day

# [run]
# workers = 2 # threads that replay, all processors if not said; the results are the same

# A strategy is a named list of rules; see them with: backtest rules
[[strategy]]
name = "deleverage"
rules = [{{ use = "deleverage", trigger = [0.25, 0.5], step = 0.25 }}] # a list is swept

[[strategy]]
name = "top-up"
rules = [{{ use = "top_up", trigger = 0.25, amount_pct = 10 }}]

# reaction_latency = "2m" in a strategy: how long after its wake a rule is called.
[[strategy]]
name = "exit"
rules = [{{ use = "exit", trigger = 0.25 }}]

# A profile is a list of rules with a name; latency, approval and preset of the reserve can be one strategy's own.
# [[strategy]]
# name = "careful"
# profile = "steward"
# preset = "multi-sig"

# Entries parted by a series of the lake, as it was known when they were made; the report compares each part.
# [[regime]]
# name = "VIX"
# series = "cboe/VIX"
# edges = [20, 30]
# enter = ["20 to 30", "30 or more"] # a signal: open positions only then
# [[regime]]
# use = "fomc_window" # a preset: inside or outside the hours around each statement; more in docs/calendar.md

# Named stretches of time get a breakdown of their own.
[[window]]
name = "2021-05-19"
from = 2021-05-18
to = 2021-05-24
"""

RULE_PY = """\
\"\"\"{title}: close part of the position each time the buffer gets thin.\"\"\"

from backtest import buffer_below, param, reduce, rule


@rule(
    wake=buffer_below("trigger"),
    trigger=param(0.50, low=0.0, high=1.0, help="share of the entry's buffer left at which to act; 0 is liquidation"),
    step=param(0.25, low=0.01, high=1.0, help="share of the open quantity to close"),
)
def {name}(state, p):
    return reduce(p.step, put_back=True)
"""

RULE_TEST_PY = """\
\"\"\"What {name} asks for. Run with: pytest {folder}/test_{name}.py\"\"\"

from types import SimpleNamespace

from {name} import {name}

from backtest import reduce


def call(state, **params):
    return {name}.function(SimpleNamespace(**state), SimpleNamespace(**{name}.values(params)))


def test_it_closes_its_step():
    assert call({{"buffer": 0.4}}, step=0.5) == reduce(0.5, put_back=True)


def test_it_wakes_when_the_buffer_is_thin():
    assert {name}.wakes[0].kind == "buffer_below"
"""


def study_toml(name: str) -> str:
    """Write a first study of that name.

    Errors: `UsageError` for a name that a study cannot have.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise UsageError.at(name, "is not a name for a study", "use small letters, digits and hyphens: my-study")
    return STUDY_TOML.format(name=name)


def rule_files(name: str, folder: str) -> dict[str, str]:
    """Write a first rule and its test, by file name.

    Errors: `UsageError` for a name that a rule cannot have.
    """
    if rules.NAME.fullmatch(name) is None or keyword.iskeyword(name):
        raise UsageError.at(name, "is not a name for a rule", "use small letters, digits and _: my_rule")
    title = name.replace("_", " ").capitalize()
    return {
        f"{name}.py": RULE_PY.format(name=name, title=title),
        f"test_{name}.py": RULE_TEST_PY.format(name=name, folder=folder),
    }
