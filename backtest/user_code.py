"""Run a Python file that a user wrote, and say in which of its lines an error arose."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from backtest.errors import BacktestError


def run_file(path: Path, failure: type[BacktestError]) -> ModuleType:
    """Run a file and give its module, under a name that its source and its path decide.

    Raises `failure` with file, line and reason where it cannot be read or does not run.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise failure.at(path, f"cannot be read ({error.strerror})", "check the path") from None
    name = f"user_file_{hashlib.sha256(source + str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise failure.at(path, "is not a Python file", "name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except failure as error:
        raise failure(*(replace(p, where=line_of(error, path)) for p in error.problems)) from None
    except SyntaxError as error:
        raise failure.at(f"{path}:{error.lineno}", f"is not Python: {error.msg}", "mend the line") from None
    except Exception as error:  # the file is the user's own code: anything can happen in it
        raise failure.at(line_of(error, path), does_not_run(error), "mend the line") from None
    return module


def does_not_run(error: Exception) -> str:
    """Say what a user's code died of."""
    return f"does not run: {type(error).__name__}: {error}"


def line_of(error: Exception, path: Path) -> str:
    """Say where in a file an error arose."""
    origin = str(path.absolute())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
    return f"{path}:{lines[-1]}" if lines else str(path)
