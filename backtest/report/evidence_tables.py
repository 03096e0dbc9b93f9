"""Tables of evidence: timing against luck, who is among the best, how well tiers are known, what was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backtest.analysis.pairs import BASELINE, REACTIONS
from backtest.analysis.summary import Comparison
from backtest.analysis.timing import Timing
from backtest.report.grid import Cell, Column, Grid, figure_cell, name_cell, pair_cell, plain_grid, text_cell
from backtest.report.model import Model
from backtest.report.text import leverage, number, p_value, two

FIDELITY = {
    "exact": "the table was seen then",
    "bounded": "between two sightings: the day of change is only bounded",
    "extrapolated": "before the first sighting",
    "current": "one table for all dates, or the newest after it was last seen",
}
FINER = (
    "Bars in whose place finer ones are replayed; others stay, as finer rows are missing, join to another bar, or do "
    "so for another leg of the runs."
)
BEST_SET_LEVEL = 0.05
TWIN_MEANINGS = {
    "~shuffled": "the same actions, each played at another run's moment",
    "~random-windows": "the same rule, with events drawn by lot at the same clock time and weekday",
}


def timing_grid(rows: Sequence[Timing]) -> Grid | None:
    """Set each strategy beside its twins; null where there are none."""
    if not rows:
        return None
    columns = (
        Column("Strategy", numeric=False),
        Column("Reaction", numeric=False),
        Column("Liquidated", "runs"),
        Column("Twin", "", "; ".join(f"{_twin(name)}: {what}" for name, what in TWIN_MEANINGS.items()), numeric=False),
        Column("Liquidated twins", "runs"),
        Column("Fewer", "points of the runs"),
        Column("from", "95 %"),
        Column("to", "95 %"),
        Column("p", "Holm", "chance of such a difference if the moments did not matter"),
        Column("Blocks", "", "calendar blocks in which the two differ"),
    )
    cells = tuple(
        (
            text_cell(row.strategy),
            text_cell(row.reaction.replace("_", " ")),
            figure_cell(row.liquidated, number(row.liquidated)),
            text_cell(_twin(row.twin)),
            figure_cell(row.twin_liquidated, number(row.twin_liquidated)),
            *(figure_cell(value, number(value, 1)) for value in (row.fewer_pct, row.fewer.low, row.fewer.high)),
            figure_cell(row.p_holm, p_value(row.p_holm)),
            figure_cell(row.discordant_blocks, number(row.discordant_blocks)),
        )
        for row in rows
    )
    caption = "Is it the timing? Each strategy against its twins, which act as often at moments drawn by lot."
    return Grid("timing", caption, columns, cells)


def _twin(name: str) -> str:
    return name.removeprefix("~").replace("-", " ")


def best_set_grid(model: Model) -> Grid:
    """Say which strategies cannot be told apart from the one that loses fewest positions."""
    rows = []
    for one in model.summary.strategies:
        if (one.name, REACTIONS[0]) not in model.best_set:
            continue
        first, second = (model.best_set[one.name, reaction] for reaction in REACTIONS)
        rows.append(
            (
                name_cell(one.name, one.control),
                pair_cell(_lost(one.intrabar), _lost(one.next_open), lambda value: number(value, 1)),
                pair_cell(first, second, lambda value: p_value(value or 0.0), worst=False),
                text_cell(two(_inside(first), _inside(second))),
            )
        )
    columns = (
        Column("Strategy", numeric=False),
        Column("Positions lost", "% of pairs", "liquidated, or left by the time hold was liquidated"),
        Column("p", "best set", "model confidence set: at a level above it the strategy is left out"),
        Column("Best set", "95 %", numeric=False),
    )
    caption = (
        "Who may be the best: strategies that cannot be told apart from the one that loses fewest positions, to the "
        "venue or by leaving."
    )
    return Grid("best", caption, columns, tuple(rows))


def _lost(row: Comparison) -> float | None:
    return 100.0 * (row.liquidated + row.exited) / row.pairs if row.pairs else None


def _inside(p: float) -> str:
    return "in" if p > BEST_SET_LEVEL else "out"


def fidelity_grid(model: Model) -> Grid:
    """Count runs and liquidations of the baseline by how well the tier tables of their time are known."""
    held = model.pairs[BASELINE, REACTIONS[0]].treated
    rows = []
    for name, meaning in FIDELITY.items():
        mine = held["tier_fidelity"] == name
        if mine.any():
            runs, lost = int(mine.sum()), int(held["liquidated"][mine].sum())
            counts = (figure_cell(count, number(count)) for count in (runs, lost))
            share = Cell(number(100.0 * lost / runs, 1), lost / runs)
            rows.append((text_cell(name), text_cell(meaning), *counts, share))
    columns = (
        Column("Tiers", numeric=False),
        Column("Meaning", numeric=False),
        Column("Runs"),
        Column("Liquidated", "runs"),
        Column("Liquidated", "%"),
    )
    return Grid("fidelity", "How well the tier tables are known, over the runs of hold.", columns, tuple(rows))


def refused_grid(model: Model) -> Grid | None:
    """Count refused entries by reason, side and leverage of the baseline; null if there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    outcomes = model.input.outcomes
    refused = outcomes.filter(
        pc.and_(pc.equal(outcomes["exit_reason"], "refused"), pc.equal(outcomes["strategy"], BASELINE))
    )
    if not refused.num_rows:
        return None
    keys = ["refusal", "symbol", "side", "leverage"]
    texts = {name: refused[name].cast(pa.string()) for name in keys[:-1]}
    counted = pa.table(texts | {"leverage": refused["leverage"]}).group_by(keys).aggregate([([], "count_all")])
    rows = [
        {"reason": row["refusal"].replace("_", " "), "symbol": row["symbol"], "side": row["side"],
         "leverage": leverage(row["leverage"]), "entries": row["count_all"]}
        for row in counted.sort_by([(key, "ascending") for key in keys]).to_pylist()
    ]  # fmt: skip
    return plain_grid("refused", "Entries that the venue would have refused; they are in no pair and no rate.", rows)


def rows_grid(name: str, caption: str, rows: Sequence[Mapping[str, object]]) -> Grid | None:
    """Give a plain table; null without rows."""
    return plain_grid(name, caption, rows) if rows else None
