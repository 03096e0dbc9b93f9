"""The synthetic market: seeded bars of perpetuals, the same bytes for a seed on every machine.

One market factor moves all symbols: volatility drifts from day to day, jumps come at random, and every few months an
episode (a crash, sometimes a squeeze) runs for hours and gives part of its way back in days. Each symbol adds noise of
its own. The mark carries a slow premium that follows the day's move; funding follows the premium; the last price
lies around the mark, is dragged beyond it in an episode, and now and then prints a spike that the mark does not know.

Prices come from exact steps only: log prices are sums of int64, and the float operations used (+, -, ×, ÷, √) are
rounded alike by every IEEE processor; `np.exp` and `np.log` are not, so they do not occur.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.data.manifest import EVENT, Dataset, Source
from backtest.data.sources.synthetic_factor import (
    BENCH,
    DEMO,
    NANO,
    Factor,
    Floats,
    Integers,
    Model,
    exp,
    market_factor,
    nano,
    rare,
    volatility_index,
)
from backtest.data.store import Lake, MergeResult, Piece
from backtest.errors import Problem, UsageError, did_you_mean
from backtest.schema import FUNDING_RATE, KLINES, MARK_PRICE, SERIES, Table
from backtest.units import DAY_MS, E8, HOUR_MS, MINUTE_MS, duration_text

if TYPE_CHECKING:
    import pyarrow as pa

VENUE = "binance"  # so that the tiers, contracts and fees of the real symbols apply
INDEX_VENUE, INDEX_NAME = "synthetic", "VIX"
START_MS = 1_672_531_200_000  # 2023-01-01
DAYS = 730

FUNDING_MS = 8 * HOUR_MS

# Funding as Binance computes it on an 8 h symbol: premium + clamp(interest - premium, ±0.05 %), then the cap
# (Binance FAQ 360033525031 of 2026-03-06; the cap is 0.75 × the first tier's 0.4 %).
INTEREST, DAMPENER, FUNDING_CAP = 100_000, 500_000, 3_000_000


@dataclass(frozen=True, slots=True)
class Spec:
    """What a symbol is like: first price, tick, and how strongly it follows the market factor."""

    start_e8: int
    tick_e8: int
    beta: float
    own_share: float  # noise of its own, as a share of the factor's volatility
    volume: float  # base coin an hour, typical


# Ticks: Binance exchangeInfo (BTCUSDT 0.1 as of 2022-12-30, ETHUSDT 0.01 as of 2021-09-06; XRPUSDT, LTCUSDT likewise).
SPECS = {
    "BTCUSDT": Spec(30_000 * E8, E8 // 10, 1.0, 0.25, 9_000.0),
    "ETHUSDT": Spec(2_000 * E8, E8 // 100, 1.2, 0.45, 120_000.0),
    "LTCUSDT": Spec(90 * E8, E8 // 100, 1.1, 0.70, 150_000.0),
    "XRPUSDT": Spec(E8 // 2, E8 // 10_000, 1.1, 0.80, 25_000_000.0),
}


class Bars(NamedTuple):
    """The bars of one symbol as exact integers at 1e-8, and its funding."""

    interval_ms: int
    time_ms: Integers
    last_open_e8: Integers
    last_high_e8: Integers
    last_low_e8: Integers
    last_close_e8: Integers
    mark_open_e8: Integers
    mark_high_e8: Integers
    mark_low_e8: Integers
    mark_close_e8: Integers
    volume: Floats  # base coin
    funding_ms: Integers  # some ms off the hour, as the venue's stamps are
    funding_e8: Integers


class SyntheticMarket(NamedTuple):
    """A generated market: bars by symbol, and a daily volatility index."""

    seed: int
    interval_ms: int
    bars: dict[str, Bars]
    index_ms: Integers
    index_points: Floats

    @property
    def source(self) -> str:
        """Say in the manifest what these data are."""
        return f"SYNTHETIC seed={self.seed}"


def generate(
    seed: int,
    *,
    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
    interval_ms: int = HOUR_MS,
    days: int = DAYS,
    start_ms: int = START_MS,
    model: Model = DEMO,
) -> SyntheticMarket:
    """Generate a market; the same arguments give the same numbers on every machine.

    A symbol's bars do not depend on which other symbols are asked for.

    >>> market = generate(1, days=2)
    >>> len(market.bars["BTCUSDT"].time_ms), market.source
    (48, 'SYNTHETIC seed=1')
    """
    _check(seed, symbols, interval_ms, days, start_ms)
    factor_stream, index_stream, *rest = np.random.SeedSequence(seed).spawn(2 + len(SPECS))
    streams = dict(zip(SPECS, rest, strict=True))
    factor = market_factor(_generator(factor_stream), interval_ms, days, model)
    bars = {
        symbol: _bars(_generator(streams[symbol]), SPECS[symbol], factor, interval_ms, days, start_ms, model)
        for symbol in symbols
    }
    index_ms = start_ms + DAY_MS * np.arange(days, dtype=np.int64)
    return SyntheticMarket(seed, interval_ms, bars, index_ms, volatility_index(_generator(index_stream), factor))


def m30_bars(seed: int) -> Bars:
    """Generate the benchmark's bars: 2,628,000 minutes of one symbol, wild enough to liquidate defended runs."""
    return generate(seed, symbols=("BTCUSDT",), interval_ms=MINUTE_MS, days=1825, model=BENCH).bars["BTCUSDT"]


def pieces(market: SyntheticMarket) -> list[Piece]:
    """Give the market as tables of the lake, each labelled SYNTHETIC with its seed."""
    bar, rows = duration_text(market.interval_ms), {}
    for symbol, bars in market.bars.items():
        rows[Dataset(VENUE, KLINES.name, symbol, bar)] = _klines(bars)
        rows[Dataset(VENUE, MARK_PRICE.name, symbol, bar)] = _mark_price(bars)
        rows[Dataset(VENUE, FUNDING_RATE.name, symbol, EVENT)] = _funding_rate(bars)
    index = {"time_ms": market.index_ms, "value": market.index_points, "available_ms": market.index_ms + DAY_MS}
    rows[Dataset(INDEX_VENUE, SERIES.name, INDEX_NAME, EVENT)] = _table(SERIES, index)
    return [Piece(dataset, frame, Source(market.source, _sha256(frame))) for dataset, frame in rows.items()]


def write(lake: Lake, market: SyntheticMarket) -> list[MergeResult]:
    """Store the market in a lake."""
    return lake.merge(pieces(market))


def _check(seed: int, symbols: Sequence[str], interval_ms: int, days: int, start_ms: int) -> None:
    problems = [
        Problem("symbols", f'no synthetic market for "{symbol}"', did_you_mean(symbol, SPECS))
        for symbol in symbols
        if symbol not in SPECS
    ]
    if seed < 0:
        problems.append(Problem("seed", f"{seed} is negative", "take 0 or more"))
    if len(set(symbols)) != len(symbols):
        problems.append(Problem("symbols", "a symbol is named twice", "name each once"))
    if interval_ms < MINUTE_MS or FUNDING_MS % interval_ms:
        problems.append(Problem("interval", f"{interval_ms} ms does not divide 8 h", "take 1m, 5m, 15m, 1h, 4h or 8h"))
    if days < 1:
        problems.append(Problem("days", f"{days} is under 1", "ask for at least one day"))
    if start_ms % DAY_MS:
        problems.append(Problem("start", f"{start_ms} is not a UTC midnight", "start on a day"))
    if problems:
        raise UsageError(*problems)


def _generator(stream: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(stream))


# --- one symbol ----------------------------------------------------------------------------------------------------


def _bars(
    rng: np.random.Generator, spec: Spec, factor: Factor, interval_ms: int, days: int, start_ms: int, model: Model
) -> Bars:
    bars, per_day = len(factor.move), DAY_MS // interval_ms
    sigma = factor.sigma * np.sqrt(spec.beta * spec.beta + spec.own_share * spec.own_share)
    own = factor.sigma * spec.own_share * rng.standard_normal(bars)
    log_index = _log_path(nano(spec.beta * factor.move / NANO + own), per_day)
    stamps, premium = _premium(rng, log_index, per_day)
    log_mark = log_index + premium
    mark = exp(log_mark / NANO) * (spec.start_e8 / spec.tick_e8)  # in ticks, at the edges of the bars
    basis = 0.0002 * rng.standard_normal(bars + 1)
    basis[1:] += 0.004 * factor.stress * rng.random(bars)
    last = np.rint(mark * (1.0 + basis))
    mark = np.rint(mark)
    up, down = _excursions(rng, np.diff(log_mark) / NANO, sigma)
    last_up, last_down = (way + 0.0001 * rng.standard_exponential(bars) for way in (up, down))
    _add_spikes(rng, last_up, last_down, interval_ms, model)
    volume = rng.standard_exponential(bars) * (1.0 + 100.0 * (up + down)) * (spec.volume * interval_ms / HOUR_MS)
    jitter = rng.integers(0, 20, len(stamps))
    return Bars(
        interval_ms,
        start_ms + interval_ms * np.arange(bars, dtype=np.int64),
        *_candles(last, last_up, last_down, spec.tick_e8),
        *_candles(mark, up, down, spec.tick_e8),
        np.rint(volume * 1000.0) / 1000.0,
        start_ms + FUNDING_MS * np.arange(len(stamps), dtype=np.int64) + jitter,
        _funding_e8(stamps),
    )


def _log_path(moves: Integers, per_day: int) -> Integers:
    """Sum the moves into a log price at the edges of the bars, drawn back to its start by 1/300 a day."""
    level, pulls = 0, []
    for move in moves.reshape(-1, per_day).sum(axis=1).tolist():
        pull = -level // (300 * per_day)
        pulls.append(pull)
        level += move + pull * per_day
    path = np.cumsum(moves + np.repeat(np.array(pulls, dtype=np.int64), per_day))
    return np.concatenate([np.zeros(1, dtype=np.int64), path])


def _premium(rng: np.random.Generator, log_index: Integers, per_day: int) -> tuple[Integers, Integers]:
    """Give the premium at each funding stamp and, straight between stamps, at each edge of a bar (both 1e-9).

    It is drawn to the interest rate plus a hundredth of the last day's move.
    """
    per_stamp = per_day // 3
    at_stamps = log_index[::per_stamp]
    day_move = at_stamps - np.concatenate([np.zeros(3, dtype=np.int64), at_stamps[:-3]])
    noise = nano(0.00008 * rng.standard_normal(len(at_stamps)))
    level, levels = INTEREST, []
    for move, shock in zip(day_move.tolist(), noise.tolist(), strict=True):
        level = (7 * level + 3 * (INTEREST + move // 100)) // 10 + shock
        levels.append(level)
    stamps = np.array(levels, dtype=np.int64)
    steps = np.diff(stamps)[:, None] * np.arange(per_stamp) // per_stamp
    between = (stamps[:-1, None] + steps).ravel()
    return stamps[:-1], np.concatenate([between, stamps[-1:]])


def _funding_e8(premium: Integers) -> Integers:
    """Turn the mean premium (1e-9) of each interval into the rate settled at its end; the first has no interval."""
    mean = (premium + np.concatenate([premium[:1], premium[:-1]])) // 2
    rate = mean + np.clip(INTEREST - mean, -DAMPENER, DAMPENER)
    settled: Integers = np.clip(rate, -FUNDING_CAP, FUNDING_CAP) // (NANO // E8)
    return settled


def _excursions(rng: np.random.Generator, move: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """Draw how far the price goes beyond open and close, above and below, as shares of the price.

    The maximum of a Brownian bridge of length `move`: (√(move² + 2 σ² e) - |move|) / 2 beyond the ends, e exponential.
    """
    length = np.abs(move)
    up, down = (
        (np.sqrt(move * move + 2.0 * sigma * sigma * rng.standard_exponential(len(move))) - length) / 2.0
        for _ in range(2)
    )
    return up, down


def _add_spikes(rng: np.random.Generator, up: Floats, down: Floats, interval_ms: int, model: Model) -> None:
    """Let the last price print far from the mark in a few bars."""
    low, high = model.spike_size
    for way in (up, down):
        spikes = rare(rng, len(way), model.spikes_per_year / 2.0, interval_ms)
        way[spikes] += low + (high - low) * rng.random(len(spikes))


def _candles(edges: Floats, up: Floats, down: Floats, tick_e8: int) -> tuple[Integers, Integers, Integers, Integers]:
    """Make open, high, low and close (1e-8) from prices in ticks at the edges of the bars; no price is under a tick."""
    opened, closed = edges[:-1], edges[1:]
    high = np.rint(np.maximum(opened, closed) * (1.0 + up))
    low = np.rint(np.minimum(opened, closed) * (1.0 - np.minimum(down, 0.5)))
    open_e8, high_e8, low_e8, close_e8 = (
        np.maximum(ticks, 1.0).astype(np.int64) * tick_e8 for ticks in (opened, high, low, closed)
    )
    return open_e8, high_e8, low_e8, close_e8


# --- as tables -----------------------------------------------------------------------------------------------------


def _klines(bars: Bars) -> pa.Table:
    columns = _ohlc(bars.last_open_e8, bars.last_high_e8, bars.last_low_e8, bars.last_close_e8)
    quote_volume = np.rint(bars.volume * columns["close"] * 100.0) / 100.0
    trade_count = np.rint(quote_volume / 2000.0).astype(np.int64) + 1
    rows = {"volume": bars.volume, "quote_volume": quote_volume, "trade_count": trade_count}
    return _table(KLINES, {**columns, **rows, **_times(bars)})


def _mark_price(bars: Bars) -> pa.Table:
    columns = _ohlc(bars.mark_open_e8, bars.mark_high_e8, bars.mark_low_e8, bars.mark_close_e8)
    return _table(MARK_PRICE, {**columns, **_times(bars)})


def _funding_rate(bars: Bars) -> pa.Table:
    rows = {
        "funding_time_ms": bars.funding_ms,
        "funding_rate": bars.funding_e8 / E8,
        "mark_price": bars.mark_open_e8[:: FUNDING_MS // bars.interval_ms] / E8,
        "available_ms": bars.funding_ms,
    }
    return _table(FUNDING_RATE, rows)


def _ohlc(*prices_e8: Integers) -> dict[str, Floats]:
    return {name: price / E8 for name, price in zip(("open", "high", "low", "close"), prices_e8, strict=True)}


def _times(bars: Bars) -> dict[str, Integers]:
    return {"open_time_ms": bars.time_ms, "available_ms": bars.time_ms + bars.interval_ms}


def _table(table: Table, columns: Mapping[str, npt.NDArray[np.number]]) -> pa.Table:
    import pyarrow as pa

    return pa.table([pa.array(columns[name]) for name in table.names], schema=table.arrow())


def _sha256(frame: pa.Table) -> str:
    """Hash the values of a table, column after column."""
    digest = hashlib.sha256()
    for column in frame.columns:
        digest.update(column.to_numpy().tobytes())
    return digest.hexdigest()
