"""The tables of a report: the comparison, holding times, margin to survive, worst runs, refused entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backtest.analysis.pairs import BASELINE
from backtest.analysis.summary import Comparison
from backtest.analysis.survive import QUANTILES_PCT, SurvivalRow
from backtest.analysis.worst import WorstRun
from backtest.report.grid import (
    Cell,
    Column,
    Grid,
    figure_cell,
    heat,
    name_cell,
    pair_cell,
    points,
    text_cell,
    two_digits,
)
from backtest.report.model import Model, Strategy, Summary
from backtest.report.text import MISSING, leverage, money, number, p_value


def _both(
    one: Strategy, read: Callable[[Comparison], float | None], write: Callable[[float | None], str], worst: bool = True
) -> Cell:
    return pair_cell(read(one.intrabar), read(one.next_open), write, worst)


@dataclass(frozen=True, slots=True)
class SummaryColumn:
    """A column of the main table and how a strategy fills it."""

    column: Column
    cell: Callable[[Strategy], Cell]


def summary_columns(unit: str) -> tuple[SummaryColumn, ...]:
    """Give the columns of the main table; figures are intrabar / next open, once where they agree."""
    return (
        SummaryColumn(Column("Strategy", numeric=False), lambda s: name_cell(s.name, s.control)),
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
            lambda s: _both(s, lambda r: r.running_cost_pct, two_digits),
        ),
        SummaryColumn(
            Column("Per avoided", unit, "all running cost over the liquidations avoided"),
            lambda s: _both(s, lambda r: r.cost_per_avoided_quote, money),
        ),
        SummaryColumn(
            Column("Exposure", "% kept", "notional-hours over hold's while both were open"),
            lambda s: _both(s, lambda r: r.exposure_kept, points, worst=False),
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


# Only in studies with valued assets: other reports have no such column.
PREMIUM = Column("Premium", "quote", "paid for valued assets, less what was received for them; part of the cost")
_DETAIL: tuple[tuple[Column, Callable[[Comparison], float | None], Callable[[float | None], str]], ...] = (
    (Column("Pairs"), lambda r: r.pairs, number),
    (Column("Full", "runs"), lambda r: r.liquidated_full, number),
    (Column("Partial", "runs"), lambda r: r.liquidated_partial, number),
    (Column("Certain", "runs"), lambda r: r.liquidated_certain, number),
    (Column("Possible", "runs"), lambda r: r.liquidated_possible, number),
    (Column("Layers", "liquidations of their own"), lambda r: r.layer_liquidations, number),
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
    (PREMIUM, lambda r: r.premium_quote, number),
    (Column("Rate", "per 1,000 position-days"), lambda r: r.liquidations_per_1000_position_days, two_digits),
    (Column("Rate", "per 1,000 full-exposure days"), lambda r: r.liquidations_per_1000_full_exposure_days, two_digits),
    (Column("Actions"), lambda r: r.actions, number),
    (Column("Refused actions"), lambda r: r.actions_refused, number),
    (Column("p", "unadjusted"), lambda r: r.p, lambda v: MISSING if v is None else p_value(v)),
)


def detail_grid(summary: Summary) -> Grid:
    """Give every further figure, a row for each strategy and reaction."""
    rows = []
    told = [row for one in summary.strategies for row in (one.intrabar, one.next_open)]
    detail = [one for one in _DETAIL if one[0] is not PREMIUM or any(row.premium_quote for row in told)]
    for one in summary.strategies:
        for row in (one.intrabar, one.next_open):
            cells = [figure_cell(read(row), write(read(row))) for _, read, write in detail]
            rows.append((name_cell(one.name, one.control), text_cell(row.reaction.replace("_", " ")), *cells))
    titles = (Column("Strategy", numeric=False), Column("Reaction", numeric=False))
    caption = "Every strategy under each reaction, in full."
    return Grid("detail", caption, (*titles, *(column for column, _, _ in detail)), tuple(rows))


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
            *(Cell(number(100 * p, 1), p, heat(100 * p)) for p in row.probability),
            figure_cell(row.runs, number(row.runs)),
        )
        for row in model.holding
    )
    return Grid(
        "holding", "Chance that a position under hold has been liquidated within a holding time.", columns, rows
    )


def survive_grid(rows: Sequence[SurvivalRow]) -> Grid | None:
    """Give how much more margin would have saved liquidated positions; null if none was liquidated."""
    if not rows:
        return None
    columns = (
        Column("Side", numeric=False),
        Column("Leverage"),
        Column("Liquidated", "runs"),
        *(Column(f"{pct}\u00a0% live", "% more") for pct in QUANTILES_PCT),
    )
    cells = tuple(
        (
            text_cell(row.side),
            figure_cell(row.leverage, leverage(row.leverage)),
            figure_cell(row.liquidated, number(row.liquidated)),
            *(figure_cell(pct, number(pct, 1)) for pct in row.needed_pct),
        )
        for row in rows
    )
    caption = (
        "Margin to survive: how much more than the margin posted, in per cent of it, would have kept that share of the "
        "liquidated positions alive."
    )
    return Grid("survive", caption, columns, cells)


def worst_grid(runs: Sequence[WorstRun], stories: Mapping[str, Sequence[str]], unit: str) -> Grid | None:
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
            Cell(one.run_id, one.run_id, "run", link=f"run-{i + 1}" if one.run_id in stories else ""),
            text_cell(one.effect or "ended lower"),
            figure_cell(one.baseline_end_quote, number(one.baseline_end_quote)),
            figure_cell(one.end_quote, number(one.end_quote)),
            figure_cell(one.difference_quote, number(one.difference_quote)),
        )
        for i, one in enumerate(runs)
    )
    caption = "Runs of the study's strategies that ended furthest below hold; backtest explain tells their stories."
    return Grid("worst", caption, columns, rows)
