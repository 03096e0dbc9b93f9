"""The bars that a run uses, and what comes into force or falls due with each. Section 1 and 9 of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from backtest.engine.oracle.numbers import e8
from backtest.engine.oracle.pool.assets import AssetTerms
from backtest.engine.oracle.pool.model import Asset, AssetBar, Instrument, PoolBar, PoolMarket, PoolPlan
from backtest.engine.oracle.run import in_force


class Step(NamedTuple):
    """One bar in units of 1e-8: its number since the entry, and each price by instrument, assets last."""

    number: int
    time_ms: int
    close_ms: int
    trade_open: tuple[int, ...]
    trade_close: tuple[int, ...]
    mark_open: tuple[int, ...]
    mark_high: tuple[int, ...]
    mark_low: tuple[int, ...]
    mark_close: tuple[int, ...]


class Tape:
    """The bars from the entry to the stop that every instrument has."""

    def __init__(self, market: PoolMarket, plan: PoolPlan) -> None:
        self.market = market
        by_time = [{bar.time_ms: bar for bar in instrument.bars} for instrument in market.instruments]
        shared = set.intersection(*(set(bars) for bars in by_time))
        times = sorted(time for time in shared if plan.entry_ms <= time < plan.stop_ms)
        self.steps = [
            _step(
                number,
                market.interval_ms,
                [bars[time] for bars in by_time] + [_asset_bar(asset, time) for asset in market.assets],
            )
            for number, time in enumerate(times)
        ]

    def terms(self, instrument: int, time_ms: int) -> tuple[int, int]:
        """Give the indices of the risk table and the taker rate in force."""
        dated: Instrument = self.market.instruments[instrument]
        return in_force(dated.tiers, time_ms), in_force(dated.taker, time_ms)

    def asset_terms(self, instrument: int, time_ms: int) -> AssetTerms:
        """Give what is in force of an asset at a bar's open: it is listed from its first bar to the end of its last."""
        asset = self.market.assets[instrument - len(self.market.instruments)]
        last = _last_bar(asset, time_ms)
        if last is None or time_ms >= asset.bars[-1].time_ms + self.market.interval_ms:
            return AssetTerms()
        return AssetTerms(True, e8(last.initial), e8(last.maintenance))

    def rates(self, instrument: int, after_ms: int, time_ms: int) -> list[int]:
        """Give the funding rates of an instrument's own bars after one used bar, up to the next one."""
        if instrument >= len(self.market.instruments):
            return []  # an asset has no funding
        dated = self.market.instruments[instrument]
        stamps: Sequence[Any] = [bar.time_ms for bar in dated.bars if after_ms < bar.time_ms <= time_ms]
        return [e8(dated.funding[stamp]) for stamp in stamps if stamp in dated.funding]


def _last_bar(asset: Asset, time_ms: int) -> AssetBar | None:
    """Give the last bar of an asset that begins at or before a time, whether the run uses it or not."""
    return next((bar for bar in reversed(asset.bars) if bar.time_ms <= time_ms), None)


def _asset_bar(asset: Asset, time_ms: int) -> PoolBar:
    """Give an asset's mark in a bar as prices of an instrument: its own, else the last close; 0 before it is listed."""
    last = _last_bar(asset, time_ms)
    if last is None:
        return PoolBar(time_ms, *(Decimal(0),) * 6)
    if last.time_ms < time_ms:
        return PoolBar(time_ms, *(last.close,) * 6)
    return PoolBar(time_ms, last.open, last.close, last.open, last.high, last.low, last.close)


def _step(number: int, interval_ms: int, bars: list[PoolBar]) -> Step:
    columns = zip(*(map(e8, bar[1:7]) for bar in bars), strict=True)
    length_ms = interval_ms if bars[0].length_ms is None else bars[0].length_ms
    return Step(number, bars[0].time_ms, bars[0].time_ms + length_ms, *columns)
