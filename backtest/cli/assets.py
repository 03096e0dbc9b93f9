"""`backtest data make-asset`: marks of an option, priced from what the lake holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.options import duration_option, require_order, time_option
from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, say_json
from backtest.errors import Problem, UsageError
from backtest.units import duration_ms

if TYPE_CHECKING:
    from backtest.pricing.options import Right
    from backtest.pricing.rolled import Series
    from backtest.study.priced import Volatility


def make_asset(
    name: Annotated[str, typer.Argument(help="What the asset is called, such as BTC-PUT.")],
    symbol: Annotated[str, typer.Option(help="Whose mark it is an option on.")],
    volatility: Annotated[
        str, typer.Option(help="Series of the lake in per cent, such as deribit/BTC-DVOL, or realised:30d.")
    ],
    tenor: Annotated[str, typer.Option(help="From listing to expiry, such as 90d.")],
    venue: Annotated[str, typer.Option(help="Whose mark bars.")] = "binance",
    interval: Annotated[str, typer.Option(help="Length of a bar.")] = "1h",
    right: Annotated[str, typer.Option(help="put or call.")] = "put",
    moneyness: Annotated[float, typer.Option(help="Strike as a share of the mark at the listing.")] = 1.0,
    roll: Annotated[str | None, typer.Option(help="Sell it and buy a fresh one so often; without: it expires.")] = None,
    roll_cost_bps: Annotated[float, typer.Option(help="What a roll costs, of the value.")] = 0.0,
    contracts: Annotated[float, typer.Option(help="How many contracts one unit begins as.")] = 1.0,
    skew: Annotated[float, typer.Option(help="σ(K) = σ (1 − skew ln(K/F)) for strikes under the mark.")] = 0.0,
    factor: Annotated[float, typer.Option(help="Multiply the volatility by this.")] = 1.0,
    start: Annotated[str | None, typer.Option(help="UTC date or time of the listing; else the first bar.")] = None,
    stop: Annotated[str | None, typer.Option(help="Price bars before this UTC date or time; else all.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Let the new marks replace those there are.")] = False,
    lake: LakeFolder = LAKE,
    as_json: Json = False,
) -> None:
    """Price a put or call by Black-76 from mark bars and a volatility, and store its marks for studies.

    Nothing is known before its time: volatility, strike and expiry of a bar are those at its open.
    """
    from backtest.data.manifest import Dataset
    from backtest.data.store import Lake
    from backtest.study.priced import make_asset as price

    span = time_option("--start", start), time_option("--stop", stop)
    require_order(("--start", span[0]), ("--stop", span[1]))
    series = _series(right, moneyness, tenor, roll, roll_cost_bps, skew, contracts)
    result = price(
        Lake(lake),
        name,
        Dataset(venue, "mark_price", symbol, interval).check(),
        series,
        _volatility(volatility, factor, interval),
        start_ms=span[0],
        stop_ms=2**62 if span[1] is None else span[1],
        replace=replace,
    )
    if as_json:
        say_json(result.dataset._asdict() | {"rows": result.rows_read})
        return
    print_table(("venue", "table", "asset", "interval", "rows"), [(*result.dataset, result.rows_read)], align="llllr")
    note('a model, not a market; how it was priced: backtest data sql "SELECT name FROM sources"')


def register(app: typer.Typer) -> None:
    app.command("make-asset")(make_asset)


def _series(
    right: str, moneyness: float, tenor: str, roll: str | None, roll_cost_bps: float, skew: float, contracts: float
) -> Series:
    """Read what is followed. Raises `UsageError` with all that is wrong."""
    from backtest.pricing.options import RIGHTS
    from backtest.pricing.rolled import Series

    tenor_ms, roll_ms = duration_option("--tenor", tenor) or 0, duration_option("--roll", roll)
    fits = [
        (right in RIGHTS, "--right", f"{right!r} is neither put nor call", ""),
        (tenor_ms > 0, "--tenor", "is no time", "give 30d or the like"),
        (roll_ms is None or 0 < roll_ms <= tenor_ms, "--roll", f"{roll} is not within the tenor", "roll sooner"),
        (0.01 <= moneyness <= 100, "--moneyness", f"{moneyness:g} is out of range", "take 0.01 to 100"),
        (0 <= roll_cost_bps < 10_000, "--roll-cost-bps", f"{roll_cost_bps:g} is out of range", "take 0 to 9999"),
        (0 < contracts <= 1e9, "--contracts", f"{contracts:g} is out of range", "take more than 0 to 1e9"),
        (0 <= skew <= 1, "--skew", f"{skew:g} is out of range", "take 0 to 1"),
    ]
    if problems := [Problem(where, what, remedy) for fine, where, what, remedy in fits if not fine]:
        raise UsageError(*problems)
    named: Right = "put" if right == "put" else "call"
    return Series(named, moneyness, tenor_ms, roll_ms, skew, roll_cost_bps / 10_000, contracts)


def _volatility(text: str, factor: float, interval: str) -> Volatility:
    """Read where volatility comes from. Raises `UsageError`."""
    from backtest.study.priced import Volatility

    if not 0 < factor <= 10:
        raise UsageError.at("--factor", f"{factor:g} is out of range", "take more than 0 to 10")
    kind, _, span = text.partition(":")
    if kind == "realised":
        window_ms = duration_option("--volatility", span) or 0
        if window_ms < 2 * duration_ms(interval):
            raise UsageError.at("--volatility", f"{text!r} is shorter than two bars", "write it like realised:30d")
        return Volatility(realised_ms=window_ms, factor=factor)
    if "/" not in text:
        raise UsageError.at(
            "--volatility", f"{text!r} names no series", "write it like deribit/BTC-DVOL, or realised:30d"
        )
    return Volatility(series=text, factor=factor)
