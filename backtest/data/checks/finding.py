"""What a check finds, and what it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backtest.data.detect import Floats, Ints, Prices
from backtest.data.manifest import Dataset
from backtest.units import time_text

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of defect in one place: `severity` is "error", "warning" or "note"."""

    severity: str
    where: str
    what: str
    first_ms: int | None
    count: int
    remedy: str

    def __str__(self) -> str:
        at = f" from {time_text(self.first_ms)}" if self.first_ms is not None else ""
        return f"{self.severity}: {self.where}{at}: {self.what}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One dataset as arrays: times in UTC milliseconds, columns in natural units, NaN where missing."""

    where: str
    dataset: Dataset
    time_ms: Ints
    values: Mapping[str, Floats]

    @property
    def prices(self) -> Prices:
        return Prices(*(self.values[name] for name in Prices._fields))

    def take(self, rows: Ints) -> Sheet:
        """Give some of the rows."""
        values = {name: column[rows] for name, column in self.values.items()}
        return Sheet(self.where, self.dataset, self.time_ms[rows], values)


def rows_finding(sheet: Sheet, severity: str, rows: Ints, what: str, remedy: str) -> Finding:
    """Name rows of a sheet: how many, and the time of the first."""
    count = f"{rows.size} × " if rows.size > 1 else ""
    return Finding(severity, sheet.where, count + what, int(sheet.time_ms[rows[0]]), int(rows.size), remedy)


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """List findings, most severe first."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
