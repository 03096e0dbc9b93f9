"""The exception tree: one class and one exit code for each kind of failure.

    BacktestError            1
    ├── UsageError           2   a command was called with arguments it cannot use
    ├── StudyError           3   a study, a recipe or a config file is wrong
    ├── DataError            4   a file of market data is missing, malformed or contradicts itself
    ├── IntegrityError       5   a stored file is not what the manifest says it is
    ├── CoverageError        6   data, tiers or contracts do not cover what a study needs
    ├── RuleError            7   a rule does not exist, does not compile or misbehaves
    ├── AccountError         8   an account cannot be computed
    ├── SourceError          9   a remote source did not deliver
    ├── SignalError         11   a signal does not exist, cannot be computed or looks ahead
    └── InvariantError      70   our own fault: a law of the ledger does not hold

The command line adds 10: a file or folder that the system does not let us read or write.

An error carries every problem found, not the first one. A problem says where, what and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: its place, what is wrong there, and the remedy."""

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.remedy}" if self.remedy else text


class BacktestError(Exception):
    """Base of every error that is shown to a person without a traceback."""

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("an error needs at least one problem")
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    @classmethod
    def at(cls, where: object, what: str, remedy: str = "") -> BacktestError:
        """Build an error with one problem.

        >>> str(DataError.at("a.csv row 3", "price is negative", "fix the row"))
        'a.csv row 3: price is negative; fix the row'
        """
        return cls(Problem(str(where), what, remedy))


class UsageError(BacktestError):
    exit_code = 2


class StudyError(BacktestError):
    exit_code = 3


class DataError(BacktestError):
    exit_code = 4


class IntegrityError(BacktestError):
    exit_code = 5


class CoverageError(BacktestError):
    exit_code = 6


class RuleError(BacktestError):
    exit_code = 7


class AccountError(BacktestError):
    exit_code = 8


class SourceError(BacktestError):
    exit_code = 9


class SignalError(BacktestError):
    exit_code = 11


class InvariantError(BacktestError):
    exit_code = 70


@contextmanager
def in_file(name: str) -> Iterator[None]:
    """Name the file of a study in every problem with it that is found inside and does not name it.

    >>> with in_file("study.toml"):
    ...     raise StudyError.at("market.start", "is after the end")
    Traceback (most recent call last):
    backtest.errors.StudyError: study.toml: market.start: is after the end
    """
    try:
        yield
    except (StudyError, CoverageError) as error:
        places = [p.where if p.where.startswith(name) else f"{name}: {p.where}" for p in error.problems]
        raise type(error)(*(replace(p, where=place) for p, place in zip(error.problems, places, strict=True))) from None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give the remedy for an unknown name: the near match, or the list of known ones.

    >>> did_you_mean("deleverge", ["deleverage", "exit"])
    'did you mean "deleverage"?'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    return "known: " + (", ".join(names) if names else "none")
