"""`backtest liq` and `backtest margin`: the margin arithmetic of one position or one account."""

from __future__ import annotations

import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.output import Json, print_table, say_json
from backtest.errors import AccountError, Problem, UsageError

if TYPE_CHECKING:
    from backtest.venues.report import Result


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
    mark: Annotated[str | None, typer.Option(help="Mark price now; default: the entry price.")] = None,
    margin_mode: Annotated[str, typer.Option(help="isolated or cross.")] = "isolated",
    balance: Annotated[str | None, typer.Option(help="Cross: wallet balance of the margin asset.")] = None,
    asset: Annotated[str, typer.Option(help="Cross: the margin asset.")] = "USDT",
    extra_margin: Annotated[str, typer.Option(help="Isolated: margin added to the position.")] = "0",
    as_of: Annotated[str | None, typer.Option(help="UTC date of the rules; default: the newest known.")] = None,
    as_json: Json = False,
) -> None:
    """Say where a position is liquidated, and how much buffer is left before that."""
    position = {
        "symbol": symbol,
        "side": side,
        "qty": _qty(entry, notional, qty),
        "entry_price": entry,
        "mark_price": mark or entry,
        "leverage": leverage,
        "extra_margin": extra_margin,
    }
    account: dict[str, Any] = {"venue": venue, "as_of": as_of, "margin_mode": margin_mode, "positions": [position]}
    if balance is not None:
        account["collateral"] = [{"asset": asset, "amount": balance}]
    elif margin_mode == "cross":
        raise UsageError.at("liq", "a cross position needs its pool's wallet", "give --balance")
    _show(_computed(account, "liq"), as_json=as_json)


def margin(
    file: Annotated[Path, typer.Argument(help="JSON file with one account or a list of them; - reads stdin.")],
    as_json: Json = False,
) -> None:
    """Compute margins, buffer, liquidation and bankruptcy price of an account."""
    content = _read_json(file)
    if isinstance(content, list) and as_json:
        from backtest.venues.report import compute_many

        say_json(compute_many(content))
        return
    problems: list[Problem] = []
    for number, account in enumerate(content if isinstance(content, list) else [content], 1):
        try:
            _show(
                _computed(account, f"{file} account {number}" if isinstance(content, list) else str(file)),
                as_json=as_json,
            )
        except AccountError as error:
            problems += error.problems
    if problems:
        raise AccountError(*problems)


def _computed(account: object, where: str) -> Result:
    from backtest.venues.report import compute

    try:
        return compute(account)
    except AccountError as error:
        raise AccountError(*(Problem(f"{where}: {p.where}", p.what, p.remedy) for p in error.problems)) from None


def _show(result: Result, *, as_json: bool) -> None:
    form = result.to_dict()
    if as_json:
        say_json(form)
        return
    if any(form["account"].values()):
        _print_figures({"account": form["account"]})
    _print_figures({f"{row.pop('side')} {row.pop('symbol')}": row for row in form["positions"]})


def _print_figures(columns: dict[str, dict[str, str | None]]) -> None:
    """Print one row a figure and one column an account or a position."""
    names = next(iter(columns.values()), {})
    rows = [(name.replace("_", " "), *(column[name] for column in columns.values())) for name in names]
    print_table(("", *columns), rows)


def _qty(entry: str, notional: str | None, qty: str | None) -> str:
    """Give the quantity; a value is divided by the entry price and cut to 8 decimals."""
    if (notional is None) == (qty is None):
        raise UsageError.at("liq", "needs the size of the position", "give --notional or --qty, one of them")
    if qty is not None:
        return qty
    try:
        exact = Decimal(notional or "") / Decimal(entry)
    except (InvalidOperation, ZeroDivisionError):
        raise UsageError.at("liq", f"cannot divide --notional {notional} by --entry {entry}", "give numbers") from None
    return f"{exact.quantize(Decimal('1e-8'), 'ROUND_DOWN').normalize():f}"


def _read_json(file: Path) -> Any:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise AccountError.at(file, f"cannot be read ({error.strerror})", "check the path") from None
    except ValueError as error:
        raise AccountError.at(file, f"is not JSON: {error}", "mend the file") from None
