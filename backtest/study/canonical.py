"""The canonical form of a study: defaults filled in, sweeps unrolled, decimals as text. Equal studies, equal bytes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from backtest.data.resample import Bootstrap
from backtest.study import naming
from backtest.study.config import BPS_E8, EntrySpec, StrategySpec, Study
from backtest.study.form import ASSET, AssetSpec, FormSpec
from backtest.study.market import AS_OF, MarketSpec
from backtest.study.regime import resolved_regimes
from backtest.study.signal_spec import resolved_signals
from backtest.units import duration_text, e8_text, time_text


def resolved(study: Study) -> dict[str, Any]:
    """Give the canonical form of a study: every default filled in, sweeps unrolled, decimals as text.

    It has the keys of the TOML form, so it reads back as a study; what was not given and has no value is left out.
    """
    market, entries, costs, reserve = study.market, study.entries, study.costs, study.reserve
    return {
        "study": {"name": study.name, "seed": study.seed, "capital": e8_text(study.capital_e8)},
        "market": _resolved_market(market, study),
        "entries": {
            **_resolved_times(entries),
            "margin_mode": entries.margin_mode,
            "margin_share": e8_text(entries.margin_share_e8),
            **_resolved_end(entries),
            **({"basket": True} if study.form.basket else {}),
            **({"isolated": list(study.form.isolated)} if study.form.isolated else {}),
        },
        "costs": {
            "taker_fee_bps": _bps_or_as_of(costs.taker_fee_e8),
            "slippage_bps": _bps(costs.slippage_e8),
            "liquidation_slippage_bps": _bps(costs.liquidation_slippage_e8),
            "clearance_fee_bps": _bps_or_as_of(costs.clearance_fee_e8),
            "capital_cost_apr": e8_text(costs.capital_cost_apr_e8),
        },
        "reserve": {
            "latency": duration_text(reserve.latency_ms),
            **({} if reserve.daily_cap_e8 is None else {"daily_cap": e8_text(reserve.daily_cap_e8)}),
        },
        "strategy": [_resolved_strategy(strategy) for strategy in study.strategies],
        "window": [{"name": w.name, "from": _instant(w.from_ms), "to": _instant(w.to_ms)} for w in study.windows],
        **({"regime": list(resolved_regimes(study.regimes))} if study.regimes else {}),
        **_resolved_form(study.form),
        **({"signal": list(resolved_signals(study.signals))} if study.signals else {}),
    }


def _resolved_market(market: MarketSpec, study: Study) -> dict[str, object]:
    form: dict[str, object] = {
        "venue": market.venue,
        "symbols": list(market.symbols),
        "interval": duration_text(market.interval_ms),
        "start": _instant(market.start_ms),
        "stop": _instant(market.stop_ms),
        "tiers": market.tiers,
        "gaps": market.gaps,
        "release": study.release,
    }
    made = market.resample
    if isinstance(made, Bootstrap):
        form["resample"] = {"method": "bootstrap", "block": duration_text(made.block_ms), "seed": made.seed}
    elif made is not None:
        by_span = {(window.from_ms, window.to_ms): window.name for window in study.windows}
        scale = _hundredths(made.scale_e2)
        form["resample"] = {"method": "crash", "windows": [by_span[span] for span in made.windows], "scale": scale}
    if market.finer_ms:
        form["finer"] = [duration_text(length_ms) for length_ms in market.finer_ms]
    if market.last_for_mark:
        form["last_for_mark"] = True
    return form


def _resolved_times(entries: EntrySpec) -> dict[str, object]:
    if entries.when is None and entries.every_ms is None:
        return {"list": [entry.text for entry in entries.listed]}
    sides = [naming.side_name(side) for side in entries.sides]
    return {
        **({"when": entries.when} if entries.every_ms is None else {"every": duration_text(entries.every_ms)}),
        **({"side": sides} if sides else {}),
        "leverage": [_hundredths(leverage) for leverage in entries.leverages_e2],
    }


def _resolved_form(form: FormSpec) -> dict[str, object]:
    tables: dict[str, list[dict[str, str]]] = {"layer": [], "collateral": []}
    for layer in form.layers:
        symbol = {} if layer.symbol is None else {"symbol": layer.symbol}
        tables["layer"].append({"use": layer.use, **symbol, "leverage": _hundredths(layer.leverage_e2)})
    for asset in form.assets:
        tables["layer"].append(_resolved_asset(asset))
    for one in form.collaterals:
        shares = {"share": e8_text(one.share_e8), "ratio": e8_text(one.ratio_e8)}
        tables["collateral"].append({"symbol": one.symbol, **shares})
    return {name: rows for name, rows in tables.items() if rows}


def _resolved_asset(asset: AssetSpec) -> dict[str, str]:
    return {
        "use": ASSET,
        "asset": asset.asset,
        "side": naming.side_name(asset.side),
        "settlement": asset.settlement,
        "account": asset.account,
        "ratio": e8_text(asset.ratio_e8),
        "size_by": asset.size_by,
        "step": e8_text(asset.step_e8),
        "fee_bps": _bps(asset.fee_e8),
        "slippage_bps": _bps(asset.slippage_e8),
    }


def _hundredths(value_e2: int) -> str:
    return naming.decimal_text(Decimal(value_e2) / 100)


def _resolved_end(entries: EntrySpec) -> dict[str, object]:
    account = entries.continuous
    if account is None:
        return {"horizon": duration_text(entries.horizon_ms)}
    return {"continuous": True, "on_liquidation": account.on_liquidation, "block": account.block}


def study_json(study: Study) -> str:
    """Write the canonical form as JSON: equal studies give equal bytes."""
    return json.dumps(resolved(study), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def study_toml(study: Study) -> str:
    """Write a study as a TOML file that reads back as the same study."""
    lines: list[str] = []
    for name, section in resolved(study).items():
        for table in section if isinstance(section, list) else [section]:
            lines.append(f"[[{name}]]" if isinstance(section, list) else f"[{name}]")
            lines += [f"{key} = {_toml_value(value)}" for key, value in table.items()] + [""]
    return "\n".join(lines)


def _toml_value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml_value(item)}' for key, item in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)


def _resolved_strategy(strategy: StrategySpec) -> dict[str, object]:
    form: dict[str, object] = {
        "name": strategy.name,
        "rules": [{"use": rule.use, **dict(rule.params)} for rule in strategy.rules],
        "cooldown": duration_text(strategy.cooldown_ms),
    }
    if strategy.base_name != strategy.name:
        form["base_name"] = strategy.base_name
    if strategy.latency_ms is not None:
        form["latency"] = duration_text(strategy.latency_ms)
    if strategy.reaction_ms:
        form["reaction_latency"] = duration_text(strategy.reaction_ms)
    return form


def _bps(rate_e8: int) -> str:
    return naming.decimal_text(Decimal(rate_e8) / BPS_E8)


def _bps_or_as_of(rate_e8: int | None) -> str:
    return AS_OF if rate_e8 is None else _bps(rate_e8)


def _instant(ms: int) -> str:
    return time_text(ms, seconds=True).replace(" ", "T")
