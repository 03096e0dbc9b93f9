"""One run of a finished study: its rows, its equity, its returns, and its story."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from backtest.api.plots import plotly_figure
from backtest.api.tables import frame
from backtest.engine.batch import Terms
from backtest.study.equity import by_interval
from backtest.study.runner import SymbolData
from backtest.study.telling import AnyStory, bars, equity, narrate
from backtest.units import E8

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import plotly.graph_objects as go
    import pyarrow as pa
    import vectorbt as vbt


class Run:
    """One entry under one strategy and reaction. Its bars and rows are brought back when first asked for."""

    def __init__(
        self,
        outcome: Mapping[str, Any],
        data: SymbolData,
        terms: Terms,
        ledger: Callable[[], Mapping[str, pa.Table]],
        story: Callable[[], AnyStory],
    ) -> None:
        self.outcome = dict(outcome)
        self._data, self._terms, self._read_ledger, self._read_story = data, terms, ledger, story

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def _repr_html_(self) -> str:
        lines = "<br>".join(escape(line) for line in self.story.splitlines())
        return f"<p>Run <b>{escape(self.id)}</b></p><p>{lines}</p>"

    @property
    def id(self) -> str:
        """The run's name: strategy/symbol/entry/side/leverage/reaction."""
        return str(self.outcome["run_id"])

    @cached_property
    def ledger(self) -> Mapping[str, pa.Table]:
        """All rows of the run as Arrow tables, exact: transfers, fills, actions. Made again where not kept."""
        return self._read_ledger()

    @property
    def transfers(self) -> pd.DataFrame:
        """The run's transfers in natural units."""
        return frame(self.ledger["transfers"], "transfers")

    @property
    def fills(self) -> pd.DataFrame:
        """The run's fills in natural units."""
        return frame(self.ledger["fills"], "fills")

    @property
    def actions(self) -> pd.DataFrame:
        """What rules asked for in the run, and what became of it."""
        return frame(self.ledger["actions"], "actions")

    @cached_property
    def equity(self) -> pd.Series[float]:
        """The whole capital in quote, wherever it lay: at the entry, then at each bar's close (mark), UTC.

        The last value is what was left after the end.
        """
        import pandas as pd

        curve = equity(self._data, self.outcome, self.ledger)
        index = pd.to_datetime(curve.time_ms, unit="ms", utc=True).rename("time")
        return pd.Series(curve.equity_e8 / E8, index=index, name="equity")

    @property
    def _equity_by_interval(self) -> pd.Series[float]:
        """Give the equity at the end of each bar of the study's interval, whatever finer ones fill it."""
        import pandas as pd

        curve = equity(self._data, self.outcome, self.ledger)
        places, times_ms = by_interval(curve.time_ms, self._data.result.interval_ms)
        index = pd.to_datetime(times_ms, unit="ms", utc=True).rename("time")
        return pd.Series(curve.equity_e8[places] / E8, index=index, name="equity")

    @cached_property
    def returns(self) -> pd.Series[float]:
        """The return of each bar of the study's interval on the whole capital.

        It carries vectorbt's accessor, `run.returns.vbt.returns`.
        """
        import vectorbt  # noqa: F401  registers the accessor

        return self._equity_by_interval.pct_change().iloc[1:].rename("returns")

    def fund(self) -> vbt.Portfolio:
        """Give a vectorbt portfolio that buys one unit at the entry, priced at the run's equity, and keeps it.

        vectorbt knows no margin and would clip leveraged orders, so none are built; its statistics are the run's.
        """
        import numpy as np
        import pandas as pd
        import vectorbt as vbt

        price = self._equity_by_interval
        size = np.full(len(price), np.nan)
        size[0] = 1.0
        bar = pd.Timedelta(milliseconds=self._data.result.interval_ms)
        return vbt.Portfolio.from_orders(price, size=size, price=price.iloc[0], init_cash=price.iloc[0], freq=bar)

    @cached_property
    def bars(self) -> pa.Table:
        """The run bar by bar up to its end: marks, quantity, margins, liquidation price, margin ratio, buffer."""
        return bars(self._data, self._terms, self.outcome, self.ledger)

    def plot(self) -> go.Figure:
        """Draw mark and liquidation price, margin ratio, and equity against margins over time."""
        from backtest.report.trace import trace_figure

        return plotly_figure(trace_figure(self.bars, self.outcome["exit_reason"] == "liquidated"))

    @cached_property
    def story(self) -> str:
        """The run in words and numbers, as `backtest explain` tells it."""
        return "\n".join(narrate(self._read_story()))
