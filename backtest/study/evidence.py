"""What a report says of the data under a study: coverage, gaps, volatility before entries, refusals, large fills."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backtest.analysis.breakdown import Tag
from backtest.analysis.pairs import BASELINE
from backtest.data.assets import AssetResult
from backtest.data.calendar import known_events, windows
from backtest.data.store import Lake
from backtest.data.tape import TapeResult
from backtest.study.config import Study
from backtest.study.instruments import Instrument
from backtest.study.pools import BASKET
from backtest.study.regime_steps import EventPart
from backtest.study.runner import SymbolData
from backtest.units import DAY_MS, E8, time_text

Row = dict[str, object]
VOLATILITY_DAYS = 30
LARGE_SHARE = 0.01  # of what was traded in a bar
GAPS_MAX = 20


def _instruments(loaded: Sequence[SymbolData]) -> list[Instrument]:
    """List what the runs of all symbols are replayed on, each once."""
    return list({one.symbol: one for data in loaded for one in data.instruments}.values())


def coverage(loaded: Sequence[SymbolData]) -> list[Row]:
    """List what was read, table by table."""
    rows: list[Row] = []
    for one in _instruments(loaded):
        tape = one.result.tape
        for table, count in (
            ("klines and mark_price", len(tape.time_ms)),
            ("funding_rate", len(one.result.funding_ms)),
        ):
            rows.append(
                {
                    "table": table,
                    "symbol": one.symbol,
                    "first": time_text(int(tape.time_ms[0])),
                    "last": time_text(int(tape.time_ms[-1])),
                    "rows": count,
                    "gaps": len(one.result.holes),
                }
            )
    return rows + asset_coverage(loaded)


def asset_coverage(loaded: Sequence[SymbolData]) -> list[Row]:
    """List the marks of valued assets that were read."""
    return [
        {
            "table": one.dataset.table,
            "symbol": f"{one.dataset.venue} {one.tape.name}",
            "first": time_text(int(one.tape.time_ms[0])),
            "last": time_text(int(one.tape.time_ms[-1])),
            "rows": len(one.tape.time_ms),
            "gaps": len(one.holes),
        }
        for one in _assets(loaded)
    ]


def _assets(loaded: Sequence[SymbolData]) -> list[AssetResult]:
    """List the valued assets of all runs, each once."""
    return list({one.tape.name: one for data in loaded for one in data.assets}.values())


def gaps(loaded: Sequence[SymbolData]) -> list[Row]:
    """List the longest gaps, the longest first: bars or funding that are missing."""
    holes = [(one.symbol, one.result.interval_ms, one.result.holes) for one in _instruments(loaded)]
    holes += [(one.tape.name, one.tape.interval_ms, one.holes) for one in _assets(loaded)]
    found = [
        ((last - first) // interval_ms + 1, name, first, last)
        for name, interval_ms, its_holes in holes
        for first, last in its_holes
    ]
    found.sort(key=lambda gap: (-gap[0], *gap[1:]))
    return [
        {"symbol": symbol, "first missing": time_text(first), "last missing": time_text(last), "bars": bars}
        for bars, symbol, first, last in found[:GAPS_MAX]
    ]


def finer(loaded: Sequence[SymbolData]) -> list[Row]:
    """List what finer bars replaced, and how many bars stayed because rows were missing or said something else."""
    return [
        {
            "symbol": one.symbol,
            "finer": said.interval,
            "bars": said.bars,
            "replaced": said.replaced,
            "from": None if said.first_ms is None else time_text(said.first_ms),
            "to": None if said.last_ms is None else time_text(said.last_ms),
            "rows missing": said.missing,
            "disagree": said.disagreed,
            "of other legs": said.bars - said.replaced - said.missing - said.disagreed,
        }
        for one in _instruments(loaded)
        for said in one.result.refined
    ]


def regimes(study: Study, loaded: Sequence[SymbolData]) -> list[Tag]:
    """Give the regime of each entry time by the study's own series."""
    found = []
    for spec in study.regimes:
        by_entry: dict[tuple[str, int], str] = {}
        for data in loaded:
            for entry_ms, place in zip(
                data.entries.rows["entry_ms"].tolist(), data.tags[spec.name].tolist(), strict=True
            ):
                by_entry[data.symbol, entry_ms] = spec.labels[place]
        found.append(Tag(spec.name, spec.labels, by_entry))
    return found


def near_events(study: Study, lake: Lake, outcomes: pa.Table) -> list[Row]:
    """Count the baseline's liquidations inside the event windows of a study, beside the share of time that they are."""
    hold = outcomes.filter(pc.and_(pc.equal(outcomes["strategy"], BASELINE), outcomes["liquidated"]))
    liquidation_ms = hold["liquidation_ms"].to_numpy()
    start, stop = study.market.start_ms, study.market.stop_ms
    rows: list[Row] = []
    for spec in study.regimes:
        if isinstance(spec.part, EventPart):
            near = windows(known_events(spec.part.kind, lake=lake.root), spec.part.before_ms, spec.part.after_ms)
            first, last = np.maximum(near.first_ms, start), np.minimum(near.last_ms, stop - 1)
            inside = int(near.hold(liquidation_ms).sum())
            rows.append(
                {
                    "window": f"{spec.name}: {spec.part.text}",
                    "windows": int((first <= last).sum()),
                    "% of the time": round(100 * int(np.maximum(last - first + 1, 0).sum()) / (stop - start), 2),
                    "liquidations of hold": len(hold),
                    "inside": inside,
                    "% of them": round(100 * inside / len(hold), 2) if len(hold) else None,
                }
            )
    return rows


def volatility(loaded: Sequence[SymbolData]) -> pa.Table | None:
    """Give, for each entry time, how much the mark moved in the 30 days before: symbol, entry_ms, volatility_pct.

    The standard deviation of the log returns of bars, in per cent a year of 365 days; null where fewer than two days
    lie before. An entry sees closed bars only. A basket has several marks, and so none of this.
    """
    tables = []
    for data in loaded:
        if data.symbol == BASKET:
            return None
        tape, interval_ms = data.result.tape, data.result.interval_ms
        times = np.unique(data.entries.rows["entry_ms"])
        ends = (tape.close_ms - tape.time_ms[0]) % interval_ms == 0  # of the study's own bars, whatever fills them
        opens_ms = tape.close_ms[ends] - interval_ms
        moves = np.diff(np.log(tape.mark_close_e8[ends] / E8))
        stop = np.searchsorted(opens_ms, times - interval_ms, side="right") - 1
        start = np.maximum(np.searchsorted(opens_ms, times - VOLATILITY_DAYS * DAY_MS), 0)
        deviation = _deviation(moves, start, np.maximum(stop, 0))
        yearly = 100.0 * deviation * np.sqrt(365.0 * DAY_MS / interval_ms)
        known = (stop - start) * interval_ms >= 2 * DAY_MS
        columns = {
            "symbol": pa.repeat(pa.scalar(data.symbol), len(times)),
            "entry_ms": pa.array(times),
            "volatility_pct": pa.array(np.round(yearly, 6), mask=~known),
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _deviation(
    values: npt.NDArray[np.float64], start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    count = np.maximum(stop - start, 1)
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (values, values**2))
    mean = (sums[stop] - sums[start]) / count
    return np.asarray(np.sqrt(np.maximum((squares[stop] - squares[start]) / count - mean**2, 0.0)))


def refused_actions(folder: Path) -> list[Row]:
    """Count what rules asked for and the venue would have refused, in the runs whose rows are kept."""
    refused = pc.field("status") != "done"
    actions = pq.read_table(folder / "actions.parquet", columns=["run_id", "rule", "verb", "status"], filters=refused)
    strategy = pc.list_element(pc.split_pattern(actions["run_id"], "/", max_splits=1), 0)
    keys = ["strategy", "rule", "verb", "status"]
    counted = actions.append_column("strategy", strategy).group_by(keys).aggregate([([], "count_all")])
    rows = counted.sort_by([(key, "ascending") for key in keys]).to_pylist()
    return [
        {
            "strategy": row["strategy"],
            "rule": row["rule"],
            "asked": row["verb"].replace("_", " "),
            "reason": row["status"].replace("_", " "),
            "actions": row["count_all"],
        }
        for row in rows
    ]


def large_fills(loaded: Sequence[SymbolData], outcomes: pa.Table, folder: Path) -> list[Row]:
    """Count fills above 1 % of what was traded in their bar: entries of all runs, others where rows are kept."""
    rows: list[Row] = []
    texts = ["symbol", "cause"]
    fills = pq.read_table(folder / "fills.parquet", columns=[*texts, "time_ms", "cost_e8"], read_dictionary=texts)
    runs = outcomes.select(["symbol", "exit_reason", "entry_ms", "entry_notional_e8"])
    for one in _instruments(loaded):
        if one.is_inverse:
            continue  # its fills are valued in coin
        entered = runs.filter(
            pc.and_(pc.equal(runs["symbol"], one.symbol), pc.not_equal(runs["exit_reason"], "refused"))
        )
        mine = fills.filter(pc.is_in(fills["symbol"], pa.array([one.symbol, f"{one.symbol}.opposite"])))
        forced = mine.filter(pc.equal(mine["cause"], "liquidation"))
        others = mine.filter(pc.and_(pc.not_equal(mine["cause"], "liquidation"), pc.not_equal(mine["cause"], "entry")))
        for what, table, time, value in (
            ("entries", entered, "entry_ms", "entry_notional_e8"),
            ("forced closes", forced, "time_ms", "cost_e8"),
            ("other fills of liquidated runs", others, "time_ms", "cost_e8"),
        ):
            share = _share_of_bar(one.result, table[time].to_numpy(), table[value].to_numpy())
            rows.append(
                {
                    "symbol": one.symbol,
                    "fills": what,
                    "number": len(share),
                    "above 1 % of their bar": int((share > LARGE_SHARE).sum()),
                    "largest, % of its bar": round(100.0 * float(share.max(initial=0.0)), 4),
                }
            )
    return rows


def _share_of_bar(
    result: TapeResult, time_ms: npt.NDArray[np.int64], value_e8: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Give each fill over the quote volume of its bar; a bar without trade counts as one in which all was ours."""
    bar = np.minimum(np.searchsorted(result.tape.time_ms, time_ms), len(result.quote_volume) - 1)
    volume = result.quote_volume[bar]
    return np.asarray(np.divide(value_e8 / E8, volume, out=np.ones(len(bar)), where=volume > 0))
