"""The command line: what a person types, and the one place where errors become lines and exit codes."""

from __future__ import annotations

import os
import sys
from bdb import BdbQuit
from collections.abc import Sequence
from typing import Annotated

import typer

from backtest.cli import calendar, data, intervals, lookahead, margin, rules, runs, signals, simplified, study
from backtest.cli.output import print_problems, say
from backtest.errors import BacktestError, Problem, UsageError

NO_ACCESS = 10  # a file or folder that the system does not let us read or write
INTERRUPTED = 130  # what typer gives for Ctrl-C: 128 + SIGINT, as shells count it

app = typer.Typer(
    name="backtest",
    help="Measure what really keeps a leveraged perpetual from being liquidated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: drawing it costs more than all the rest of the start
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (study, runs, intervals, lookahead, simplified, margin, data, calendar, rules, signals):
    group.register(app)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        say(_version())
        raise typer.Exit


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("liquidation-backtest")
    except PackageNotFoundError:
        return "not installed: run from its source"


def run(argv: Sequence[str]) -> int:
    """Run one command and give its exit code; errors are printed to stderr, one line for each problem.

    >>> run(["--version"])  # doctest: +SKIP
    """
    try:
        code = typer.main.get_command(app).main(list(argv), prog_name="backtest", standalone_mode=False)
        sys.stdout.flush()
    except BacktestError as error:
        print_problems(error.problems)
        return error.exit_code
    except typer.TyperException as error:
        print_problems([Problem("", " ".join(error.format_message().split()).rstrip("."), "see: backtest --help")])
        return UsageError.exit_code
    except BrokenPipeError:
        # The reader of our output left, such as `head`; what remains to be flushed must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BdbQuit:  # the person left the debugger
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        what = f"cannot be read or written ({error.strerror})"
        print_problems([Problem(str(error.filename), what, "check the path, its rights and the space left")])
        return NO_ACCESS
    if code == INTERRUPTED:
        print_problems([Problem("", "interrupted", "call the same command again to go on")])
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command in `sys.argv` and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))
