"""`summary.csv`: every figure of the comparison, a row for each strategy and reaction."""

from __future__ import annotations

import csv
import dataclasses
import io

from backtest.analysis.summary import Comparison
from backtest.report.model import Summary

# Floats are written with this many significant digits.
DIGITS = 9
# A text cell that starts with one of these would be run as a formula by a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def summary_csv(summary: Summary) -> str:
    """Write the comparison as CSV: units in the column names, empty where there is no figure, lines end in LF."""
    names = [field.name for field in dataclasses.fields(Comparison)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "control"])
    for one in summary.strategies:
        for row in (one.intrabar, one.next_open):
            writer.writerow([*(csv_cell(getattr(row, name)) for name in names), "true" if one.control else "false"])
    return out.getvalue()


def inert(text: str) -> str:
    """Write text so that no spreadsheet takes it for a formula.

    >>> inert("=1+1")
    "'=1+1"
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_cell(value: str | int | float | None) -> str:
    """Write a figure or a name as a cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return inert(value)
    return str(value) if isinstance(value, int) else f"{value:.{DIGITS}g}"
