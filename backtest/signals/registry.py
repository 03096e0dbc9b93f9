"""The shipped signals: kinds with parameters, and presets that a rule can name without any more being said."""

from __future__ import annotations

from backtest.signals import ask, breadth, indicators, regimes
from backtest.signals.kinds import Kind
from backtest.signals.spec import SignalSpec

_MODULES = (indicators, regimes, breadth, ask)
SIGNALS = {kind.name: kind for module in _MODULES for kind in vars(module).values() if isinstance(kind, Kind)}

# A kind by its own name is a preset as well: with its default interval and parameters.
PRESETS = {
    preset.name: preset
    for preset in (
        SignalSpec("macd_12_26_9_1d_cross", "macd_cross"),
        SignalSpec("macd_12_26_9_1d", "macd_histogram"),
        SignalSpec("rsi_14_1d", "rsi"),
        SignalSpec("rsi_14_1d_extreme", "rsi_extreme"),
        SignalSpec("atr_14_1d", "atr"),
        SignalSpec("atr_14_1h", "atr", "1h"),
        SignalSpec("vol_30d", "volatility"),
        SignalSpec("vol_30d_regime", "volatility_regime"),
        SignalSpec("breadth_1d", "breadth"),
        SignalSpec("ad_divergence_60d", "ad_divergence"),
        SignalSpec("vix_band", "series_band"),
    )
}
