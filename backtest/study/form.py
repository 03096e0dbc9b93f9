"""The legs of a study's runs beyond one position: `basket`, `[[layer]]`, `[[collateral]]`. Contract: docs/pools.md.

A layer is a hedge in a contract of the venue, or (`use = "asset"`) something whose value is data: a valued asset.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from backtest.errors import CoverageError, did_you_mean
from backtest.schema import SIZE_BY, TARGETS
from backtest.study import reader
from backtest.study.market import SYMBOL, MarketSpec
from backtest.study.naming import SIDES
from backtest.study.reader import BadValueError, Convert, Section
from backtest.units import E8
from backtest.venues.contracts import Contract, contract_at
from backtest.venues.symbols import normalize_symbol

# What the pool replay has places for.
BASKET_MAX = 8
COLLATERALS_MAX = 4
OPPOSITE, ASSET = TARGETS[0], TARGETS[3]
BPS_E8 = E8 // 10_000
ASSETS_MAX = len(TARGETS) - TARGETS.index(ASSET)
SETTLEMENTS, ACCOUNTS = ("paid", "margined"), ("core", "own")
_ASSET_NAME = reader.text("([A-Za-z0-9._-]+/)?[A-Za-z0-9][A-Za-z0-9._-]*", "the name of an asset", '"BTC-PUT-30D"')


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A hedge that rules may open: "opposite" in the core's own contract, "inverse" or "other" in a symbol's.

    `place` is where the file names it, for messages.
    """

    use: str
    symbol: str | None
    leverage_e2: int
    place: str = field(default="layer", compare=False)


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """A valued asset that rules may hold: its name in the lake, what of it and where, and what trading it costs."""

    asset: str
    side: int
    settlement: str
    account: str
    ratio_e8: int
    size_by: str
    step_e8: int
    fee_e8: int
    slippage_e8: int
    place: str = field(default="layer", compare=False)

    @property
    def is_bought_and_paid(self) -> bool:
        """Say whether its value is owned outright, so that a share of it can count as equity."""
        return self.side > 0 and self.settlement == "paid"


@dataclass(frozen=True, slots=True)
class CollateralSpec:
    """Coin in place of a share of the posted margin: the mark of a symbol prices it, a ratio of that counts."""

    symbol: str
    share_e8: int
    ratio_e8: int


@dataclass(frozen=True, slots=True)
class FormSpec:
    """The legs of a run: all symbols in one account or each by itself, hedges, collateral, and valued assets."""

    basket: bool = False
    isolated: tuple[str, ...] = ()  # symbols of a basket with an account of their own beside the shared one
    layers: tuple[LayerSpec, ...] = ()
    collaterals: tuple[CollateralSpec, ...] = ()
    assets: tuple[AssetSpec, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """What rules may `trade`, by the names that they write."""
        first = TARGETS.index(ASSET)
        return (*(layer.use for layer in self.layers), *TARGETS[first : first + len(self.assets)])

    @property
    def is_single(self) -> bool:
        """Say whether a run has one leg and quote as margin."""
        return self == SINGLE


SINGLE = FormSpec()


def settles_in_coin(contract: Contract) -> bool:
    """Say whether a contract's profit is paid in its base coin.

    >>> settles_in_coin(contract_at("binance", "BTCUSD_PERP", 1_700_000_000_000))
    True
    """
    return contract.settle != contract.quote


def read_form(top: Section, entries: Section, market: MarketSpec | None, margin_mode: str) -> FormSpec:
    """Read the legs of a study's runs; `market` is None where it could not be read, and is then not compared with."""
    basket = entries.get("basket", reader.switch, False)
    isolated = entries.many("isolated", SYMBOL, ())
    if basket and market is not None:
        _check_basket(entries, market, margin_mode)
    if isolated:
        isolated = _check_isolated(entries, market, isolated, basket=basket)
    layers, assets = [], []
    for number, section in enumerate(top.tables("layer"), 1):
        place = f"layer[{number}]"
        use = section.get("use", reader.choice(*TARGETS[: TARGETS.index(ASSET) + 1]))
        if use == ASSET:
            assets.append(_asset(section, place))
        else:
            layers.append(_layer(section, use, place, market))
    if len({layer.use for layer in layers}) < len(layers):
        top.problem("layer", "names one kind twice", "a run has each kind once, and up to four valued assets")
    if assets and market is not None:
        _check_assets(top, market, margin_mode, assets)
    collaterals = tuple(_collateral(section, market) for section in top.tables("collateral"))
    if collaterals and market is not None and all(isinstance(one.share_e8, int) for one in collaterals):
        _check_collaterals(top, market, margin_mode, collaterals)
    return FormSpec(basket, isolated, tuple(layers), collaterals, tuple(assets))


def _check_basket(entries: Section, market: MarketSpec, margin_mode: str) -> None:
    count = len(market.symbols)
    if not 2 <= count <= BASKET_MAX:
        entries.problem("basket", f"holds {count} symbols", f"give market.symbols 2 to {BASKET_MAX} of them")
    if margin_mode != "cross":
        entries.problem("basket", "needs one account for all of its positions", 'set margin_mode = "cross"')
    if entries.has("list") or entries.has("from"):
        entries.problem("basket", "opens all symbols at once, a list one by one", "take out one of the two")
    coin = [symbol for symbol in market.symbols if _is_coin(market, symbol)]
    if coin:
        entries.problem("basket", f"holds {coin[0]}, which settles in its own coin", "take linear contracts only")


def _check_isolated(
    entries: Section, market: MarketSpec | None, isolated: tuple[str, ...], *, basket: bool
) -> tuple[str, ...]:
    """Refuse symbols that cannot stand isolated beside a basket; give the others by their normal names."""
    if not basket:
        remedy = 'set basket = true, or margin_mode = "isolated" for runs of one symbol each'
        entries.problem("isolated", "names symbols, and there is no basket beside which they could stand", remedy)
    if market is None:
        return isolated
    named = tuple(normalize_symbol(symbol, market.venue) for symbol in isolated)
    for symbol in named:
        if symbol not in market.symbols:
            remedy = did_you_mean(symbol, market.symbols[1:])
            entries.problem("isolated", f"names {symbol}, which is not in market.symbols", remedy)
    if market.symbols[0] in named:
        what = f"names {market.symbols[0]}, the first symbol, which rules see and which the shared account is for"
        entries.problem("isolated", what, "name another symbol first in market.symbols")
    return named


def _is_coin(market: MarketSpec, symbol: str) -> bool:
    """Say whether a symbol is known and settles in coin; an unknown one is refused where its tape is built."""
    try:
        return settles_in_coin(contract_at(market.venue, symbol, market.start_ms))
    except CoverageError:
        return False


def _layer(section: Section, use: str, place: str, market: MarketSpec | None) -> LayerSpec:
    symbol = None
    if use == OPPOSITE and section.has("symbol"):
        section.problem("symbol", "is not for the opposite leg, which is in the core's own contract", "take it out")
    elif use in TARGETS[1:]:
        symbol = section.get("symbol", _contract(market, coin=use == "inverse"))
        if market is not None and symbol in market.symbols:
            section.problem("symbol", f"is {symbol}, which the core holds", 'take another, or use = "opposite"')
    else:
        section.has("symbol")
    return LayerSpec(use, symbol, section.get("leverage", reader.scaled(100, "1", "1000")), place)


def _asset(section: Section, place: str) -> AssetSpec:
    share, bps = reader.scaled(E8, "0", "1"), reader.scaled(BPS_E8, "0", "10000")
    asset = AssetSpec(
        asset=section.get("asset", _ASSET_NAME),
        side=section.get("side", _side, SIDES["long"]),
        settlement=section.get("settlement", reader.choice(*SETTLEMENTS), "paid"),
        account=section.get("account", reader.choice(*ACCOUNTS)),
        ratio_e8=section.get("ratio", share, E8),
        size_by=section.get("size_by", reader.choice(*SIZE_BY), SIZE_BY[0]),
        step_e8=section.get("step", reader.scaled(E8, "0", "1000000", above=True)),
        fee_e8=section.get("fee_bps", bps),
        slippage_e8=section.get("slippage_bps", bps),
        place=place,
    )
    if section.has("leverage"):
        remedy = "take it out: its margins per unit are in the lake, beside its marks"
        section.problem("leverage", "is not for a valued asset", remedy)
    if section.ok and asset.ratio_e8 != E8 and not (asset.is_bought_and_paid and asset.account == "core"):
        what = "is for what is bought and paid, in the core's account: all else counts whole"
        section.problem("ratio", what, "take it out, or set it to 1")
    return asset


def _side(raw: object) -> int:
    return SIDES[reader.choice(*SIDES)(raw)]


def _check_assets(top: Section, market: MarketSpec, margin_mode: str, assets: list[AssetSpec]) -> None:
    if len(assets) > ASSETS_MAX:
        top.problem("layer", f"names {len(assets)} valued assets", f"name at most {ASSETS_MAX}")
    if len({str(one.asset).rpartition("/")[2] for one in assets}) < len(assets):
        top.problem("layer", "names one asset twice", "a run holds each once: its fills bear its name")
    if market.resample is not None:
        what = "holds a valued asset, whose marks were not made for a market that is drawn anew"
        top.problem("layer", what, "take out market.resample, or the asset")
    if any(one.account == "core" for one in assets):
        remedy = 'set account = "own", or margin_mode = "cross" in [entries]'
        if margin_mode != "cross":
            top.problem("layer", "puts an asset into the core's account, which is isolated", remedy)
        if any(_is_coin(market, symbol) for symbol in market.symbols):
            what = "puts an asset in quote into the account of a core that settles in coin"
            top.problem("layer", what, 'set account = "own"')


def _contract(market: MarketSpec | None, *, coin: bool) -> Convert[str]:
    """Read the symbol of a contract that settles in coin, or of one that does not."""

    def convert(raw: object) -> str:
        name = SYMBOL(raw)
        if market is None:
            return name
        symbol = normalize_symbol(name, market.venue)
        try:
            contract = contract_at(market.venue, symbol, market.start_ms)
        except CoverageError as error:
            problem = error.problems[0]
            raise BadValueError(f"is {reader.show(raw)}, {problem.what}", problem.remedy) from None
        if settles_in_coin(contract) != coin:
            example = "BTCUSD_PERP" if market.venue == "binance" else "BTCUSD"
            remedy = f"take a coin-settled contract, such as {example}" if coin else f"take {contract.base}USDT"
            raise BadValueError(f"is {symbol}, which settles in {contract.settle}", remedy)
        return symbol

    return convert


def _collateral(section: Section, market: MarketSpec | None) -> CollateralSpec:
    share = reader.scaled(E8, "0", "1", above=True)
    return CollateralSpec(
        symbol=section.get("symbol", _contract(market, coin=False)),
        share_e8=section.get("share", share),
        ratio_e8=section.get("ratio", share),
    )


def _check_collaterals(
    top: Section, market: MarketSpec, margin_mode: str, collaterals: tuple[CollateralSpec, ...]
) -> None:
    if margin_mode != "cross":
        top.problem("collateral", "needs one account that all of it backs", 'set margin_mode = "cross" in [entries]')
    if any(_is_coin(market, symbol) for symbol in market.symbols):
        top.problem("collateral", "stands beside a core that settles in coin", "take linear contracts, or none of it")
    if len(collaterals) > COLLATERALS_MAX:
        top.problem("collateral", f"names {len(collaterals)} coins", f"name at most {COLLATERALS_MAX}")
    if len({one.symbol for one in collaterals}) < len(collaterals):
        top.problem("collateral", "names one coin twice", "add their shares")
    if sum(one.share_e8 for one in collaterals) > E8:
        top.problem("collateral", "has shares that add up to more than 1", "lower them")
