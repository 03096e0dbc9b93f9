"""A seeded generator of outcomes that look like a study's: overlapping entries on one random market."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from backtest.schema import OUTCOMES
from backtest.units import DAY_MS, E8, time_ms

START_MS = time_ms("2020-01-01")
HORIZON_DAYS = 30

# name: (wider buffer, share held, running cost, width lost by a late bot, waits for a threshold)
STRATEGIES = {
    "hold": (0.0, 1.0, 0.0, 0.0, False),
    "post-all": (1.0, 1.0, 0.0, 0.0, False),
    "smaller-75": (0.33, 0.75, 0.0, 0.0, False),
    "smaller-50": (1.0, 0.5, 0.0, 0.0, False),
    "smaller-25": (3.0, 0.25, 0.0, 0.0, False),
    "deleverage-0.25": (0.45, 0.8, 60.0, 0.12, True),
    "deleverage-0.5": (0.8, 0.65, 110.0, 0.08, True),
    "top-up": (0.3, 1.0, 4.0, 0.1, True),
    "exit": (9.0, 0.3, 150.0, 4.3, True),
    "deleverage-0.25~shuffled": (0.05, 0.8, 60.0, 0.0, True),
}
DEFAULTS: dict[str, object] = {
    "params": "[]", "venue": "binance", "symbol": "BTCUSDT", "side": "long", "leverage": 10.0, "reaction": "both",
    "exit_reason": "horizon", "refusal": None, "liquidated": False, "certainty": None, "cause": None, "partial": False,
    "liquidated_share": 0.0, "liquidation_count": 0, "layer_liquidations": 0, "liquidation_ms": None,
    "liquidation_price_e8": None, "entry_qty_e8": E8, "entry_notional_e8": 50_000 * E8,
    "qty_at_baseline_liquidation_e8": None, "equity_start_e8": 10_000 * E8, "equity_end_e8": 10_000 * E8,
    "fees_e8": 0, "funding_e8": 0, "slippage_e8": 0, "premium_e8": 0, "clearance_fee_e8": 0, "margin_added_e8": 0,
    "turnover_e8": 0, "notional_hours_e2": 0, "notional_hours_paired_e2": 0, "baseline_notional_hours_paired_e2": 0,
    "min_buffer_ppm": None, "max_margin_ratio_ppm": None, "margin_to_survive_e8": None, "actions": 0, "refused": 0,
    "tier_fidelity": "exact", "near_gap": False, "seed_run_id": None,
}  # fmt: skip


def run(strategy: str, day: float, **values: object) -> dict[str, object]:
    """Make one outcome row; the rest is the plainest run there is."""
    row = DEFAULTS | {"strategy": strategy, "entry_ms": START_MS + int(day * DAY_MS)} | values
    row.setdefault("exit_ms", int(str(row["entry_ms"])) + HORIZON_DAYS * DAY_MS)
    if row["liquidation_ms"] is not None:
        row = {"exit_ms": row["liquidation_ms"]} | row | {"liquidated": True}
        row = row | {"exit_reason": values.get("exit_reason", "liquidated"), "certainty": row["certainty"] or "certain"}
        row["exit_ms"] = values.get("exit_ms", row["liquidation_ms"])
    row["run_id"] = "/".join(str(row[k]) for k in ("strategy", "symbol", "entry_ms", "side", "leverage", "reaction"))
    return row


def table(rows: list[dict[str, object]]) -> pa.Table:
    """Turn rows into an outcomes table."""
    return pa.Table.from_pylist(rows, schema=OUTCOMES.arrow())


STEP_MS = 4 * 3_600_000
STEPS = HORIZON_DAYS * 6


def market(days: int, seed: int) -> np.ndarray:
    """Make 4-hour prices: a heavy-tailed walk with a few crashes."""
    random = np.random.default_rng(seed)
    moves = random.standard_t(3, days * 6) * 0.0075
    for step in random.integers(0, days * 6, max(1, days // 250)):
        moves[step] -= 0.18
    return 20_000 * np.exp(np.cumsum(moves))


def outcomes(days: int = 400, seed: int = 1, symbols: tuple[str, ...] = ("BTCUSDT",)) -> pa.Table:
    """Make the outcomes of a study with an entry a day, both sides, 5, 10 and 20 times."""
    rows: list[dict[str, object]] = []
    for number, symbol in enumerate(symbols):
        rows += _symbol_rows(symbol, market(days, seed + number), np.random.default_rng(seed + 100 + number))
    return table(rows)


def _symbol_rows(symbol: str, price: np.ndarray, random: np.random.Generator) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for first in range(0, len(price) - 1, 6):
        path = price[first : first + STEPS + 1]
        for side, sign in (("long", 1), ("short", -1)):
            adverse = -sign * (path / path[0] - 1)
            for leverage in (5.0, 10.0, 20.0):
                entry = {"symbol": symbol, "side": side, "leverage": leverage, "entry_ms": START_MS + first * STEP_MS}
                rows += _entry_rows(entry, path, adverse, leverage, sign, random)
    return rows


def _entry_rows(
    entry: dict[str, object], path: np.ndarray, adverse: np.ndarray, leverage: float, sign: int,
    random: np.random.Generator,
) -> list[dict[str, object]]:  # fmt: skip
    room = 1 / leverage - 0.005
    base_at = _first(adverse, room)
    if random.random() < 0.003:
        return [run(s, 0, **entry, exit_reason="refused", refusal="gap", exit_ms=None) for s in STRATEGIES]
    rows = []
    for strategy, (wider, kept, cost, late, waits) in STRATEGIES.items():
        acted = waits and adverse.max() > room * 0.7
        cut = kept if acted or not waits else 1.0
        for reaction in ("intrabar", "next_open") if waits else ("both",):
            width = wider - (late * 2 if reaction == "next_open" else 0.0) + (random.normal(0, 0.05) if acted else 0.0)
            died_at = _first(adverse, room * (1 + width) if acted or not waits else room)
            rows.append(
                _row(entry, strategy, reaction, path, (base_at, died_at), (cut, cost if acted else 0.0), leverage, sign)
            )
    return rows


def _row(
    entry: dict[str, object], strategy: str, reaction: str, path: np.ndarray, deaths: tuple[int | None, int | None],
    figures: tuple[float, float], leverage: float, sign: int,
) -> dict[str, object]:  # fmt: skip
    (base_at, died_at), (cut, cost) = deaths, figures
    notional = 5_000 * leverage
    end = died_at if died_at is not None else len(path) - 1
    pnl = -5_000.0 if died_at is not None else notional * sign * (path[-1] / path[0] - 1) * cut
    both_open = min(end, base_at if base_at is not None else end)
    liquidation_ms = None if died_at is None else int(str(entry["entry_ms"])) + died_at * STEP_MS
    return run(
        strategy, 0, **entry, reaction=reaction, liquidation_ms=liquidation_ms,
        exit_ms=int(str(entry["entry_ms"])) + end * STEP_MS,
        exit_reason="liquidated" if died_at is not None else "horizon" if end == STEPS else "data_end",
        cause=None if died_at is None else "price",
        liquidation_price_e8=None if died_at is None else int(path[died_at] * E8),
        entry_notional_e8=int(notional * E8), equity_end_e8=int((10_000 + max(pnl, -5_000) - cost) * E8),
        qty_at_baseline_liquidation_e8=None if base_at is None else int(cut * E8),
        fees_e8=int(notional * 0.0008 * E8), funding_e8=int(notional * 0.003 * sign * E8),
        slippage_e8=int(notional * 0.0004 * E8),
        margin_added_e8=1_000 * E8 if strategy == "top-up" and cost else 0, actions=int(cost > 0),
        notional_hours_e2=int(notional * cut * end * 400),
        notional_hours_paired_e2=int(notional * cut * both_open * 400),
        baseline_notional_hours_paired_e2=int(notional * both_open * 400), min_buffer_ppm=100_000,
        margin_to_survive_e8=int(900 * E8) if strategy == "hold" and died_at is not None else None,
        tier_fidelity="extrapolated" if int(str(entry["entry_ms"])) < START_MS + 100 * DAY_MS else "exact",
    )  # fmt: skip


def _first(adverse: np.ndarray, room: float) -> int | None:
    hit = np.flatnonzero(adverse[1:] >= room)
    return int(hit[0]) + 1 if len(hit) else None
