"""Compile the engine's functions with numba, with a cache that no edit can make stale.

numba's disk cache notices an edit in the file of a function but not in the files it calls. So the cache folder is
named by a hash over all sources of the engine: another source, another folder. vectorbt's own cache is left alone.

`BACKTEST_JIT` chooses how the engine runs: `1` compiled (default), `bounds` compiled with bounds checks, `0` in plain
Python. All three give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

MODE = os.environ.get("BACKTEST_JIT", "1")
if MODE not in ("0", "1", "bounds"):
    raise ValueError(f'BACKTEST_JIT is "{MODE}"; it must be 1, bounds or 0')

# `_nrt` off: the engine allocates nothing, so numba need not count references to the arrays that every call passes on.
# Counting them, atomically, was most of the run time and half of the compile time.
OPTIONS: dict[str, Any] = {"boundscheck": MODE == "bounds", "error_model": "numpy", "nogil": True, "_nrt": False}

# numba's own types know neither the options used here nor its configuration.
_njit: Any = numba.njit
_config: Any = numba.config

Function = TypeVar("Function", bound=Callable[..., Any])


def source_hash() -> str:
    """Hash the engine's sources, and the formulas that it compiles: what a replay means, on any machine."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in [
        *sorted(folder.glob("*.py")),
        *sorted(folder.glob("pool/*.py")),
        folder.parent / "schema.py",
        folder.parent / "venues" / "margin.py",
    ]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir() -> Path:
    """Give the folder of compiled code for exactly these sources, this numba, this Python and this mode."""
    base = os.environ.get("BACKTEST_CACHE") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    build = hashlib.sha256(f"{source_hash()} {numba.__version__} {sys.version} {MODE}".encode()).hexdigest()[:16]
    return Path(base) / "liquidation-backtest" / build


def is_compiled() -> bool:
    """Tell whether this machine has compiled the replay before, or need not."""
    return MODE == "0" or any(cache_dir().glob("*/replay.replay-*.nbi"))


def inner(function: Function) -> Function:
    """Compile a function that only compiled functions call: no way in from Python, no cache of its own.

    The wrappers of functions that take markets and desks would be most of the compile time.
    """
    if MODE == "0":
        return function
    compiled: Function = _njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return compiled


def inlined(function: Function) -> Function:
    """Compile a function into each of its callers.

    Handing a market and a desk over pushes more than a hundred words: for a short function most of its time.
    """
    if MODE == "0":
        return function
    compiled: Function = _njit(**OPTIONS, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return compiled


def jit(function: Function, signature: Any = None) -> Function:
    """Compile a function in nopython mode, or return it as it is when `BACKTEST_JIT=0`.

    fastmath stays off and no float contraction is allowed: the same bits on every call.
    """
    if MODE == "0":
        return function
    options = {**OPTIONS, "cache": True}
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(cache_dir())
    try:
        decorate = _njit(**options) if signature is None else _njit(signature, **options)
        compiled: Function = decorate(function)
        return compiled
    finally:
        _config.CACHE_DIR = before
