"""`backtest liq` and `backtest margin`: the margin arithmetic of one position or one account."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.output import Json, note, print_table, say, say_json
from backtest.errors import AccountError, Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from backtest.venues.report import Result
    from backtest.venues.steps import Step

# What a flag of `backtest liq` is called in an account.
FLAGS = {
    "account.venue": "--venue",
    "account.as_of": "--as-of",
    "account.margin_mode": "--margin-mode",
    "positions[0].symbol": "--symbol",
    "positions[0].side": "--side",
    "positions[0].qty": "--qty",
    "positions[0].entry_price": "--entry",
    "positions[0].mark_price": "--entry",
    "positions[0].leverage": "--leverage",
    "positions[0].extra_margin": "--extra-margin",
}
Explain = Annotated[bool, typer.Option("--explain", help="Show each step of the arithmetic and its source.")]


def register(app: typer.Typer) -> None:
    app.command("liq")(liq)
    app.command("margin")(margin)


def liq(
    symbol: Annotated[str, typer.Option(help="Symbol, such as BTCUSDT or BTC/USDT:USDT.")],
    side: Annotated[str, typer.Option(help="long or short.")],
    entry: Annotated[str, typer.Option(help="Entry price.")],
    leverage: Annotated[str, typer.Option(help="Leverage set on the position.")],
    venue: Annotated[str, typer.Option(help="binance or bybit.")] = "binance",
    notional: Annotated[str | None, typer.Option(help="Value of the position at entry, in quote.")] = None,
    qty: Annotated[str | None, typer.Option(help="Quantity instead of the value: base coin, or contracts.")] = None,
    margin_mode: Annotated[
        str, typer.Option(help="isolated; cross or multi_assets with nothing else in the pool.")
    ] = "isolated",
    extra_margin: Annotated[str, typer.Option(help="Margin beyond entry value / leverage.")] = "0",
    as_of: Annotated[str | None, typer.Option(help="UTC date of the rules; default: the newest known.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the drawing as a page.")] = None,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Say where a position is liquidated, and draw how equity and margins move until there."""
    from backtest.venues.curve import liquidation_curve
    from backtest.venues.drawing import draw_html, draw_text

    try:
        curve = liquidation_curve(
            venue=venue,
            symbol=symbol,
            side=side,
            entry_price=entry,
            leverage=leverage,
            notional=notional,
            qty=qty,
            margin_mode=margin_mode,
            extra_margin=extra_margin,
            as_of=as_of,
        )
    except AccountError as error:
        problems = (Problem(FLAGS.get(p.where, p.where), p.what, p.remedy) for p in error.problems)
        raise AccountError(*dict.fromkeys(problems)) from None
    if html is not None:
        html.write_text(draw_html(curve), encoding="utf-8")
        note(f"drawn in {html}")
    if as_json:
        say_json(curve.to_dict() | _steps(curve.result, explain=explain))
        return
    say(draw_text(curve))
    say("")
    _print_result(curve.result, explain=explain)


def margin(
    file: Annotated[Path, typer.Argument(help="JSON file with one account or a list of them; - reads stdin.")],
    raw: Annotated[
        str | None, typer.Option("--from", help="Take a venue's raw answer: binance positionRisk, bybit position/list.")
    ] = None,
    balance: Annotated[str | None, typer.Option(help="With --from: wallet balance of a cross pool.")] = None,
    asset: Annotated[str, typer.Option(help="With --from: asset of that balance.")] = "USDT",
    margin_mode: Annotated[
        str | None,
        typer.Option(help="With --from bybit: isolated or cross; positions of unified accounts do not say it."),
    ] = None,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Compute margins, buffer, liquidation and bankruptcy price of an account. docs/account.md has every key."""
    content = _read_json(file)
    if raw is not None:
        content = _from_raw(raw, content, file, margin_mode)
        if balance is not None:
            content["collateral"] = [{"asset": asset, "amount": balance}]
    if isinstance(content, list) and as_json:
        from backtest.venues.report import compute_many

        say_json(compute_many(content))
        return
    problems: list[Problem] = []
    several = isinstance(content, list)
    name = "stdin" if str(file) == "-" else str(file)
    for number, account in enumerate(content if several else [content], 1):
        try:
            result = _computed(account, f"{name} account {number}" if several else name)
        except AccountError as error:
            problems += error.problems
            continue
        if several:
            say(f"account {number}")
        _show(result, explain=explain, as_json=as_json)
    if problems:
        raise AccountError(*problems)


def _computed(account: object, where: str) -> Result:
    from backtest.venues.report import compute

    try:
        return compute(account)
    except AccountError as error:
        raise _placed(error, where) from None


def _placed(error: AccountError, where: str) -> AccountError:
    """Name the file, or the command, in every problem."""
    return AccountError(*(Problem(f"{where}: {p.where}", p.what, p.remedy) for p in error.problems))


def _from_raw(venue: str, raw: object, file: Path, margin_mode: str | None) -> dict[str, Any]:
    """Turn a venue's raw answer into an account."""
    from backtest.venues import payloads

    if venue not in ("binance", "bybit"):
        raise UsageError.at("--from", f'no raw answers of "{venue}"', did_you_mean(venue, ("binance", "bybit")))
    if margin_mode is not None and (venue != "bybit" or margin_mode not in ("isolated", "cross")):
        raise UsageError.at("--margin-mode", "is isolated or cross, for --from bybit only")
    try:
        if venue == "binance":
            return payloads.from_binance_position_risk(raw)
        return payloads.from_bybit_position_list(raw, margin_mode)
    except AccountError as error:
        raise _placed(error, str(file)) from None


def _show(result: Result, *, explain: bool, as_json: bool) -> None:
    if as_json:
        say_json(result.to_dict() | _steps(result, explain=explain))
    else:
        _print_result(result, explain=explain)


def _steps(result: Result, *, explain: bool) -> dict[str, Any]:
    """Give the arithmetic in its JSON form, where asked for."""
    from backtest.venues.explain import explain as steps_of

    return {"steps": [asdict(step) for step in steps_of(result)]} if explain else {}


def _print_result(result: Result, *, explain: bool) -> None:
    from backtest.venues.explain import explain as steps_of

    form = result.to_dict()
    if any(form["account"].values()):
        _print_figures({"account": form["account"]})
        say("")
    if explain:
        _print_steps(steps_of(result))
    _print_figures({f"{row.pop('side')} {row.pop('symbol')}": row for row in form["positions"]})


def _print_steps(steps: Sequence[Step]) -> None:
    """Print the arithmetic, and below it each source once."""
    sources = list(dict.fromkeys(step.source for step in steps))
    rows = [(step.label, step.formula, step.result, f"[{sources.index(step.source) + 1}]") for step in steps]
    print_table(("step", "arithmetic", "result", "source"), rows, align="llrr")
    say("")
    for number, source in enumerate(sources, 1):
        say(f"[{number}] {source}")
    say("")


def _print_figures(columns: dict[str, dict[str, str | None]]) -> None:
    """Print one row a figure and one column an account or a position."""
    if not columns:
        return
    names = next(iter(columns.values()))
    rows = [(name.replace("_", " "), *(column[name] for column in columns.values())) for name in names]
    print_table(("", *columns), rows)


def _read_json(file: Path) -> Any:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_without_repeats)
    except OSError as error:
        raise AccountError.at(file, f"cannot be read ({error.strerror})", "check the path") from None
    except RecursionError:
        raise AccountError.at(file, "is not an account: lists within lists without end", "mend the file") from None
    except ValueError as error:
        raise AccountError.at(file, f"is not JSON: {error}", "mend the file") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object whose keys are written once: of two values, nobody knows which was meant."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'the key "{next(name for name in names if names.count(name) > 1)}" is there twice')
    return content
