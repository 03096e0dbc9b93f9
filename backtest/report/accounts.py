"""The report of continuous accounts: what it is made from, its tables and its chart."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backtest.analysis.accounts import Key, Part, Standing, by_block, by_leverage, standings
from backtest.analysis.pairs import BASELINE, REACTIONS
from backtest.report.evidence_tables import FINER
from backtest.report.figure import LEGEND_ABOVE, SERIES, Figure, Trace, label, rounded
from backtest.report.grid import Cell, Column, Grid, name_cell, pair_cell, plain_grid, points
from backtest.report.model import CURVES, Rows
from backtest.report.story import opening, quote_unit
from backtest.report.summary_csv import csv_cell
from backtest.report.text import date, leverage, number, plural
from backtest.units import E8, time_ms

if TYPE_CHECKING:
    import pyarrow as pa

POLICIES = {
    "stop": "ends at its first liquidation",
    "refill": "is refilled to the capital of the study after a liquidation",
    "continue": "goes on with what a liquidation left",
}
LEFT_OUT = (
    "Left out, because accounts are no matched pairs: after the first difference two accounts hold other positions at "
    "other times. So there are no saved or avoided pairs, no p-values (a few accounts through one history are no "
    "sample), no shuffled twins, no margin to survive, and no replay under other assumptions."
)
TWO_FIGURES = "Two figures: a bot that reacts inside the bar / one that acts at the next open."


@dataclass(frozen=True, slots=True)
class AccountsInput:
    """Everything that a report of accounts is made from; `study` is the resolved study as plain JSON."""

    study: Mapping[str, Any]
    accounts: pa.Table
    blocks: pa.Table
    runs: int
    coverage: Rows
    assumptions: Sequence[tuple[str, str]]
    reproduce: Sequence[str]
    synthetic: bool
    gaps: Rows = ()
    finer: Rows = ()
    refused_actions: Rows = ()
    large_fills: Rows = ()


@dataclass(frozen=True, slots=True)
class AccountsModel:
    """Everything that a report of accounts shows. Strategies: the baseline, then those of the study, then controls."""

    input: AccountsInput
    strategies: tuple[str, ...]
    standings: Mapping[Key, Standing]
    leverages: Mapping[float, Mapping[Key, Part]]
    blocks: Mapping[str, Mapping[Key, Part]]

    @property
    def own(self) -> frozenset[str]:
        """The names of the study's own strategies."""
        return frozenset(strategy["name"] for strategy in self.input.study["strategy"])


def build_accounts(source: AccountsInput) -> AccountsModel:
    """Compute everything that a report of accounts shows."""
    found = standings(source.accounts)
    own = {strategy["name"] for strategy in source.study["strategy"]}

    def place(name: str) -> tuple[Any, ...]:
        worst = max(found[name, reaction].liquidated for reaction in REACTIONS)
        return name != BASELINE, name not in own, worst, name

    names = sorted(dict.fromkeys(name for name, _ in found), key=place)
    return AccountsModel(
        source, tuple(names), found, by_leverage(source.accounts), by_block(source.accounts, source.blocks)
    )


def headline(model: AccountsModel) -> str:
    """Give the title: the study's name."""
    return str(model.input.study["study"]["name"])


def scope(model: AccountsModel) -> str:
    """Say in one line what was replayed."""
    market, entries = model.input.study["market"], model.input.study["entries"]
    count = model.standings[BASELINE, REACTIONS[0]].accounts
    return (
        f"{market['venue'].capitalize()} {', '.join(market['symbols'])}, {date(time_ms(market['start']))} to "
        f"{date(time_ms(market['stop']))}: {opening(model.input.study)}, {entries['margin_mode']} margin; "
        f"{plural(count, 'continuous account')} under each strategy. An account takes the first entry after the end of "
        f"its last position, and holds to the end of the data; it {POLICIES[entries['on_liquidation']]}. "
        f"{plural(model.input.runs, 'position')} in all."
    )


def answer(model: AccountsModel) -> str:
    """Say in one line what came out."""
    hold = model.standings[BASELINE, REACTIONS[0]]
    lost = number(hold.liquidated)
    said = f"Under hold, {plural(hold.accounts, 'account')} had {lost} liquidated positions"
    own = [name for name in model.strategies if name in model.own]
    if not own:
        return f"{said}."
    a, b = (number(model.standings[own[0], reaction].liquidated) for reaction in REACTIONS)
    return f"{said}; fewest of the study's own strategies had {own[0]}: {a if a == b else f'{a} to {b}'}."


# --- tables --------------------------------------------------------------------------------------------------------


def summary_grid(model: AccountsModel) -> Grid:
    """Give the main table; what is about refills only where accounts are refilled."""
    unit = quote_unit(model.input.study)
    refilled = model.input.study["entries"]["on_liquidation"] == "refill"
    columns: list[tuple[Column, Callable[[Standing], float], Callable[[float | None], str]]] = [
        (Column("Accounts"), lambda s: s.accounts, number),
        (Column("Positions", "", "positions that were opened"), lambda s: s.positions, number),
        (Column("Liquidated", "positions", "in full or in part"), lambda s: s.liquidated, number),
        (
            Column("Fewer", "accounts", "accounts with fewer liquidated positions than hold's"),
            lambda s: s.fewer,
            number,
        ),
        (Column("More", "accounts", "accounts with more liquidated positions than hold's"), lambda s: s.more, number),
        (Column("Refills"), lambda s: s.refills, number),
        (Column("Refilled", unit, "paid in anew, over all accounts"), lambda s: s.refill_quote, number),
        (Column("At the end", f"{unit} an account", "mean equity"), lambda s: s.equity_end_quote, number),
        (
            Column("Gain", f"{unit} an account", "mean equity at the end less all paid in"),
            lambda s: s.gain_quote,
            number,
        ),
        (Column("In the market", "% of time"), lambda s: s.in_market, points),
        (Column("Ended", "accounts", "came to an end before the data"), lambda s: s.ended, number),
    ]
    columns = [one for one in columns if refilled or not one[0].title.startswith("Refill")]
    rows = []
    for name in model.strategies:
        first, second = (model.standings[name, reaction] for reaction in REACTIONS)
        figures = (pair_cell(read(first), read(second), write) for _, read, write in columns)
        rows.append((_name(model, name), *figures))
    caption = "Continuous accounts by strategy, intrabar / next open."
    return Grid("accounts", caption, (Column("Strategy", numeric=False), *(one[0] for one in columns)), tuple(rows))


def part_grids(model: AccountsModel) -> list[Grid]:
    """Give liquidated positions and gains by leverage and by calendar block, and refills where there are any."""
    unit = quote_unit(model.input.study)
    by_level = {leverage(level): parts for level, parts in model.leverages.items()}
    grids = [
        _matrix(model, "leverage", "Liquidated positions by leverage.", by_level, lambda part: part.liquidated),
        _matrix(model, "blocks", "Liquidated positions by calendar block.", model.blocks, lambda part: part.liquidated),
    ]
    if model.input.study["entries"]["on_liquidation"] == "refill":
        caption = f"{unit} paid in anew, by calendar block."
        grids.append(_matrix(model, "refills", caption, model.blocks, lambda part: part.refill_quote))
    caption = f"Gain by the end of each calendar block: equity less all paid in, {unit} an account."
    grids.append(_matrix(model, "gains", caption, model.blocks, lambda part: part.gain_quote))
    return grids


def account_grid(model: AccountsModel) -> Grid:
    """List every account."""
    unit = quote_unit(model.input.study)
    rows = [
        {
            "account": row["account_id"],
            "positions": row["links"],
            "liquidated": row["liquidated"],
            "breaches": row["liquidations"],
            "refills": row["refills"],
            f"refilled, {unit}": row["refill_e8"] / E8,
            f"at the end, {unit}": row["equity_end_e8"] / E8,
            f"fees, {unit}": row["fees_e8"] / E8,
            f"funding, {unit}": row["funding_e8"] / E8,
            "in the market, %": 100 * row["market_minutes"] / row["span_minutes"],
            "end": row["end"] if row["refusal"] is None else f"refused: {row['refusal'].replace('_', ' ')}",
        }
        for row in model.input.accounts.to_pylist()
    ]
    return plain_grid("each", "Every account; a breach is one liquidation, full or partial.", rows)


def data_grids(model: AccountsModel) -> list[Grid]:
    """Give what is said of the data and of fills."""
    source = model.input
    tables = (
        ("coverage", "What was read.", source.coverage),
        ("finer", FINER, source.finer),
        ("gaps", "The longest gaps.", source.gaps),
        (
            "actions",
            "What rules asked for and the venue would have refused, in liquidated runs.",
            source.refused_actions,
        ),
        ("fills", "Fills above 1 % of what was traded in their bar.", source.large_fills),
    )
    return [plain_grid(name, caption, rows) for name, caption, rows in tables if rows]


def _matrix(
    model: AccountsModel,
    name: str,
    caption: str,
    parts: Mapping[str, Mapping[Key, Part]],
    read: Callable[[Part], float],
) -> Grid:
    first, second = REACTIONS

    def cell(part: Mapping[Key, Part], strategy: str) -> Cell:
        return pair_cell(read(part[strategy, first]), read(part[strategy, second]), number)

    rows = tuple(
        (_name(model, strategy), *(cell(part, strategy) for part in parts.values())) for strategy in model.strategies
    )
    return Grid(name, caption, (Column("Strategy", numeric=False), *map(Column, parts)), rows)


def _name(model: AccountsModel, strategy: str) -> Cell:
    return name_cell(strategy, strategy != BASELINE and strategy not in model.own)


# --- chart and CSV -------------------------------------------------------------------------------------------------


def gain_figure(model: AccountsModel) -> Figure:
    """Draw the gain by the end of each block: the baseline, and the strategies with fewest liquidated positions."""
    unit = quote_unit(model.input.study)
    shown = [name for name in model.strategies if name == BASELINE or name in model.own][:CURVES]
    data: list[Trace] = [
        {"type": "scatter", "mode": "lines+markers", "name": label(name), "x": list(model.blocks),
         "y": rounded([part[name, REACTIONS[1]].gain_quote for part in model.blocks.values()]),
         "line": {"color": color}, "marker": {"color": color},
         "hovertemplate": f"%{{y:,.0f}} {unit}<extra>{label(name)}, %{{x}}</extra>"}
        for name, color in zip(shown, SERIES, strict=False)
    ]  # fmt: skip
    layout = {
        "xaxis": {"type": "category"},
        "yaxis": {"title": {"text": f"{unit} an account"}},
        "legend": LEGEND_ABOVE,
    }
    caption = "What an account held at the end of each calendar block less all that was paid in, at the next open."
    return Figure("gains", "Gain by calendar block", caption, data, layout)


def accounts_csv(model: AccountsModel) -> str:
    """Write the main table as CSV, a row for each strategy and reaction."""
    names = [field.name for field in dataclasses.fields(Standing)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "control"])
    for strategy in model.strategies:
        control = "false" if strategy in model.own else "true"
        for reaction in REACTIONS:
            row = model.standings[strategy, reaction]
            writer.writerow([*(csv_cell(getattr(row, name)) for name in names), control])
    return out.getvalue()
