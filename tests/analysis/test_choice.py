"""Which runs a report follows."""

from __future__ import annotations

import pyarrow as pa

from backtest.analysis.breakdown import Window, breakdowns
from backtest.analysis.choice import crash_runs, middle_leverage, one_after_the_other, typical_liquidation
from backtest.analysis.pairs import columns, pair_up
from tests.analysis.fake import DAY_MS, START_MS, run, table


def lost(day: float, after: float, leverage: float = 10.0) -> dict[str, object]:
    at = START_MS + int((day + after) * DAY_MS)
    return run("hold", day, leverage=leverage, liquidation_ms=at)


def test_the_typical_liquidation_has_the_middle_leverage_and_the_median_life() -> None:
    rows = [lost(0, 1), lost(1, 9), lost(2, 3), lost(3, 5, 20.0), lost(4, 2, 5.0), run("hold", 5)]
    held = columns(table(rows))
    assert middle_leverage(held) == 10.0
    assert typical_liquidation(held) == rows[2]["run_id"]
    assert typical_liquidation(columns(table([run("hold", 0)]))) is None


def test_a_crash_is_shown_by_a_run_that_was_there_before_it() -> None:
    window, quiet = Window("one", START_MS + 10 * DAY_MS, START_MS + 12 * DAY_MS), Window("quiet", 0, 1)
    rows = [lost(10.5, 0.5), lost(9, 1.5), lost(0, 4)]
    assert crash_runs(columns(table(rows)), [quiet, window]) == [(window, rows[1]["run_id"])]
    assert crash_runs(columns(table(rows[:1])), [window]) == [(window, rows[0]["run_id"])]


def test_a_chain_never_overlaps() -> None:
    rows = [run("hold", d, side=s) for d in (0, 10, 30, 35, 65) for s in ("long", "short")]
    held = columns(table(rows))
    chosen = one_after_the_other(held, 30 * DAY_MS)
    assert held["side"][chosen].tolist() == ["long"] * 3
    assert ((held["entry_ms"][chosen] - START_MS) // DAY_MS).tolist() == [0, 30, 65]


def test_regimes_are_thirds_of_the_entry_times() -> None:
    rows = [run(s, d) for s in ("hold", "a") for d in range(7)]
    entry = [START_MS + d * DAY_MS for d in range(7)]
    volatility = pa.table(
        {"symbol": ["BTCUSDT"] * 7, "entry_ms": entry, "volatility_pct": [None, 60.0, 10.0, 20.0, 30.0, 40.0, 50.0]}
    )
    parts = breakdowns(pair_up(table(rows)), volatility)
    assert [(p.value, p.rows[1].intrabar.pairs) for p in parts if p.dimension == "volatility before the entry"] == [
        ("calm third", 2),
        ("middle third", 2),
        ("wild third", 2),
        ("not known", 1),
    ]


def test_texts_may_be_dictionary_encoded() -> None:
    plain = table([lost(0, 1), run("hold", 1), run("a", 0), run("a", 1, liquidation_ms=START_MS + 2 * DAY_MS)])
    coded = plain
    for i, field in enumerate(plain.schema):
        if pa.types.is_string(field.type) and field.name != "run_id":
            halves = [plain[field.name].slice(0, 2), plain[field.name].slice(2)]
            parts = [half.combine_chunks().dictionary_encode() for half in halves]
            coded = coded.set_column(i, field.name, pa.chunked_array(parts))
    for mine, theirs in zip(pair_up(coded), pair_up(plain), strict=True):
        for name in theirs.treated:
            assert mine.treated[name].tolist() == theirs.treated[name].tolist()
