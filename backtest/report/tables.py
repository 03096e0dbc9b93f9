"""The tables of a report, as text with the value that sorts each cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from backtest.analysis.breakdown import Part
from backtest.analysis.effects import Counts
from backtest.analysis.pairs import BASELINE
from backtest.analysis.summary import Comparison
from backtest.analysis.worst import WorstRun
from backtest.report.model import Model, Strategy, Summary
from backtest.report.text import (
    MISSING,
    leverage,
    money,
    number,
    p_value,
    two,
)

LOW = -1e300  # sorts a missing figure below all others


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, the value that sorts it, and a class for its looks."""

    text: str
    value: float | str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: title, unit, what it means, and whether it holds numbers."""

    title: str
    unit: str = ""
    help: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Grid:
    """A table ready to be drawn; `name` is fixed and unique in a report."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def text_cell(text: str, kind: str = "") -> Cell:
    return Cell(text, text, kind)


def figure_cell(value: float | None, text: str, kind: str = "") -> Cell:
    return Cell(text, LOW if value is None else value, kind)


def _both(
    one: Strategy, read: Callable[[Comparison], float | None], write: Callable[[float | None], str], worst: bool = True
) -> Cell:
    """Show a figure under both reactions, sorted by the larger (or the smaller, where less is worse)."""
    first, second = read(one.intrabar), read(one.next_open)
    known = [value for value in (first, second) if value is not None]
    pick = max if worst else min
    return Cell(two(write(first), write(second)), pick(known) if known else LOW)


def _points(fraction: float | None) -> str:
    return number(None if fraction is None else 100.0 * fraction)


def _two_digits(value: float | None) -> str:
    return number(value, 2)


@dataclass(frozen=True, slots=True)
class SummaryColumn:
    """A column of the main table and how a strategy fills it."""

    column: Column
    cell: Callable[[Strategy], Cell]


def summary_columns(unit: str) -> tuple[SummaryColumn, ...]:
    """Give the columns of the main table; figures are intrabar / next open, once where they agree."""
    return (
        SummaryColumn(
            Column("Strategy", numeric=False), lambda s: text_cell(s.name, "control" if s.control else "own")
        ),
        SummaryColumn(
            Column("Liquidated", "runs", "runs whose position was liquidated, in full or in part"),
            lambda s: _both(s, lambda r: r.liquidated, number),
        ),
        SummaryColumn(
            Column("Avoided", "pairs", "only hold was liquidated; the strategy still held at least half"),
            lambda s: _both(s, lambda r: r.avoided, number, worst=False),
        ),
        SummaryColumn(
            Column("Saved", "pairs", "avoided under both reactions"), lambda s: figure_cell(s.saved, number(s.saved))
        ),
        SummaryColumn(
            Column("Exited", "pairs", "only hold was liquidated; the strategy had left, or held less than half"),
            lambda s: _both(s, lambda r: r.exited, number),
        ),
        SummaryColumn(
            Column("Caused", "pairs", "only the strategy was liquidated"),
            lambda s: _both(s, lambda r: r.caused, number),
        ),
        SummaryColumn(
            Column("Cost", "% of capital", "mean shortfall against hold where hold was not liquidated"),
            lambda s: _both(s, lambda r: r.running_cost_pct, _two_digits),
        ),
        SummaryColumn(
            Column("Per avoided", unit, "all running cost over the liquidations avoided"),
            lambda s: _both(s, lambda r: r.cost_per_avoided_quote, money),
        ),
        SummaryColumn(
            Column("Exposure", "% kept", "notional-hours over hold's while both were open"),
            lambda s: _both(s, lambda r: r.exposure_kept, _points, worst=False),
        ),
        SummaryColumn(
            Column("p", "Holm", "chance of such a difference if the strategy did nothing; the weaker reaction"),
            lambda s: text_cell(MISSING) if s.name == BASELINE else figure_cell(s.p_holm, p_value(s.p_holm)),
        ),
        SummaryColumn(
            Column("Blocks", "", "calendar blocks in which the strategy and hold differ: what p rests on"),
            lambda s: _both(s, lambda r: r.discordant_blocks, number, worst=False),
        ),
    )


def summary_grid(summary: Summary, unit: str) -> Grid:
    """Give the main table."""
    columns = summary_columns(unit)
    rows = tuple(tuple(column.cell(one) for column in columns) for one in summary.strategies)
    caption = "Two figures in a cell: a bot that reacts inside the bar / one that acts at the next open."
    return Grid("summary", caption, tuple(column.column for column in columns), rows)


_DETAIL: tuple[tuple[Column, Callable[[Comparison], float | None], Callable[[float | None], str]], ...] = (
    (Column("Pairs"), lambda r: r.pairs, number),
    (Column("Full", "runs"), lambda r: r.liquidated_full, number),
    (Column("Partial", "runs"), lambda r: r.liquidated_partial, number),
    (Column("Certain", "runs"), lambda r: r.liquidated_certain, number),
    (Column("Possible", "runs"), lambda r: r.liquidated_possible, number),
    (Column("Delayed", "pairs"), lambda r: r.delayed, number),
    (Column("Hastened", "pairs"), lambda r: r.hastened, number),
    (Column("Fewer", "points"), lambda r: r.fewer_liquidations_pct, lambda v: number(v, 1)),
    (Column("from", "95 %"), lambda r: r.fewer_liquidations_low_pct, lambda v: number(v, 1)),
    (Column("to", "95 %"), lambda r: r.fewer_liquidations_high_pct, lambda v: number(v, 1)),
    (Column("Running cost", "quote"), lambda r: r.running_cost_quote, money),
    (Column("from", "95 %"), lambda r: r.running_cost_low_quote, money),
    (Column("to", "95 %"), lambda r: r.running_cost_high_quote, money),
    (Column("Benefit", "quote"), lambda r: r.benefit_quote, money),
    (Column("Margin added", "mean quote"), lambda r: r.margin_added_mean_quote, money),
    (Column("Fees", "quote"), lambda r: r.fees_quote, number),
    (Column("Funding", "quote"), lambda r: r.funding_quote, number),
    (Column("Slippage", "quote"), lambda r: r.slippage_quote, number),
    (Column("Rate", "per 1,000 position-days"), lambda r: r.liquidations_per_1000_position_days, _two_digits),
    (Column("Rate", "per 1,000 full-exposure days"), lambda r: r.liquidations_per_1000_full_exposure_days, _two_digits),
    (Column("Actions"), lambda r: r.actions, number),
    (Column("Refused actions"), lambda r: r.actions_refused, number),
    (Column("p", "unadjusted"), lambda r: r.p, lambda v: MISSING if v is None else p_value(v)),
)


def detail_grid(summary: Summary) -> Grid:
    """Give every further figure, a row for each strategy and reaction."""
    rows = []
    for one in summary.strategies:
        for row in (one.intrabar, one.next_open):
            cells = [figure_cell(read(row), write(read(row))) for _, read, write in _DETAIL]
            rows.append((text_cell(one.name), text_cell(row.reaction.replace("_", " ")), *cells))
    titles = (Column("Strategy", numeric=False), Column("Reaction", numeric=False))
    caption = "Every strategy under each reaction, in full."
    return Grid("detail", caption, (*titles, *(column for column, _, _ in _DETAIL)), tuple(rows))


def holding_grid(model: Model) -> Grid:
    """Give the liquidation probability of the baseline by side, leverage and holding time."""
    columns = (
        Column("Side", numeric=False),
        Column("Leverage"),
        *(Column(f"{day}\u00a0d", "%") for day in model.days),
        Column("Runs"),
    )
    rows = tuple(
        (
            text_cell(row.side),
            figure_cell(row.leverage, leverage(row.leverage)),
            *(Cell(number(100 * p, 1), p, f"heat-{round(10 * p)}") for p in row.probability),
            figure_cell(row.runs, number(row.runs)),
        )
        for row in model.holding
    )
    return Grid(
        "holding", "Chance that a position under hold has been liquidated within a holding time.", columns, rows
    )


def part_grid(name: str, caption: str, parts: Sequence[Part]) -> Grid:
    """Give liquidated runs in per cent of the pairs, a row for each strategy and a column for each part."""
    columns = [Column("Strategy", numeric=False)]
    for one in parts:
        base = one.rows[0].intrabar
        columns.append(Column(one.value, f"% of {number(base.pairs)}", f"{one.dimension}: {one.value}"))
    rows = []
    for i, first in enumerate(parts[0].rows):
        cells = [text_cell(first.strategy)]
        for one in parts:
            a, b = one.rows[i].intrabar.liquidated_pct, one.rows[i].next_open.liquidated_pct
            worst = max((v for v in (a, b) if v is not None), default=None)
            heat = "" if worst is None else f"heat-{round(worst / 10)}"
            cells.append(Cell(two(number(a, 1), number(b, 1)), LOW if worst is None else worst, heat))
        rows.append(tuple(cells))
    return Grid(name, caption, tuple(columns), tuple(rows))


def count_grid(name: str, caption: str, parts: Sequence[Part]) -> Grid:
    """Give liquidated runs as counts, a row for each strategy and a column for each part."""
    columns = (Column("Strategy", numeric=False), *(Column(one.value, "runs", one.dimension) for one in parts))
    rows = []
    for i, first in enumerate(parts[0].rows):
        pairs = [(one.rows[i].intrabar.liquidated, one.rows[i].next_open.liquidated) for one in parts]
        cells = (Cell(two(number(a), number(b)), max(a, b)) for a, b in pairs)
        rows.append((text_cell(first.strategy), *cells))
    return Grid(name, caption, columns, tuple(rows))


def sensitivity_grid(parts: Sequence[Part], shown: Iterable[str]) -> Grid:
    """Give the comparison under each assumption and reaction for the strategies shown."""
    columns = (
        Column("Assumption", numeric=False),
        Column("Strategy", numeric=False),
        Column("Reaction", numeric=False),
        Column("Pairs"),
        Column("Liquidated", "runs"),
        Column("Avoided", "pairs"),
        Column("Caused", "pairs"),
        Column("Cost", "% of capital"),
        Column("Exposure", "% kept"),
    )
    names = set(shown)
    rows = []
    for one in parts:
        for row in one.rows:
            if row.strategy in names:
                rows += [_sensitivity_row(one, counts) for counts in (row.intrabar, row.next_open)]
    return Grid("sensitivity", "The same comparison under other assumptions.", columns, tuple(rows))


def _sensitivity_row(one: Part, counts: Counts) -> tuple[Cell, ...]:
    label = one.value if one.dimension != "replayed with" else f"replayed: {one.value}"
    return (
        text_cell(label),
        text_cell(counts.strategy),
        text_cell(counts.reaction.replace("_", " ")),
        figure_cell(counts.pairs, number(counts.pairs)),
        figure_cell(counts.liquidated, number(counts.liquidated)),
        figure_cell(counts.avoided, number(counts.avoided)),
        figure_cell(counts.caused, number(counts.caused)),
        figure_cell(counts.running_cost_pct, number(counts.running_cost_pct, 2)),
        figure_cell(counts.exposure_kept, _points(counts.exposure_kept)),
    )


def worst_grid(runs: Sequence[WorstRun], unit: str) -> Grid | None:
    """List the worst runs; null if no strategy of the study ended a run below hold."""
    if not runs:
        return None
    columns = (
        Column("Run", numeric=False),
        Column("What happened", numeric=False),
        Column("Hold ended with", unit),
        Column("This run", unit),
        Column("Difference", unit),
    )
    rows = tuple(
        (
            text_cell(one.run_id, "run"),
            text_cell(one.effect or "cost"),
            figure_cell(one.baseline_end_quote, number(one.baseline_end_quote)),
            figure_cell(one.end_quote, number(one.end_quote)),
            figure_cell(one.difference_quote, number(one.difference_quote)),
        )
        for one in runs
    )
    caption = "Runs of the study's strategies that ended furthest below hold; `backtest explain . RUN` tells each."
    return Grid("worst", caption, columns, rows)


def plain_grid(name: str, caption: str, rows: Sequence[Mapping[str, object]]) -> Grid:
    """Give a table of rows with the same keys; keys become titles."""
    keys = list(rows[0]) if rows else []
    numeric = {key: all(isinstance(row.get(key), int | float) for row in rows) for key in keys}
    columns = tuple(Column(key.replace("_", " ").capitalize(), numeric=numeric[key]) for key in keys)
    return Grid(name, caption, columns, tuple(tuple(_plain(row.get(key)) for key in keys) for row in rows))


def _plain(value: object) -> Cell:
    if isinstance(value, bool) or value is None:
        return text_cell({True: "yes", False: "no", None: MISSING}[value])
    if isinstance(value, int | float):
        return Cell(number(value, 0 if float(value).is_integer() else 2), value)
    return text_cell(str(value))


def refused_grid(model: Model) -> Grid | None:
    """Count refused entries by reason, side and leverage of the baseline; null if there are none."""
    import pyarrow.compute as pc

    outcomes = model.input.outcomes
    refused = outcomes.filter(
        pc.and_(pc.equal(outcomes["exit_reason"], "refused"), pc.equal(outcomes["strategy"], BASELINE))
    )
    if not refused.num_rows:
        return None
    keys = ["refusal", "symbol", "side", "leverage"]
    counted = refused.group_by(keys).aggregate([([], "count_all")]).sort_by([(key, "ascending") for key in keys])
    rows = [
        {"reason": row["refusal"], "symbol": row["symbol"], "side": row["side"],
         "leverage": leverage(row["leverage"]), "entries": row["count_all"]}
        for row in counted.to_pylist()
    ]  # fmt: skip
    return plain_grid("refused", "Entries that the venue would have refused; they are in no pair and no rate.", rows)
