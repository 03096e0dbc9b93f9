"""The cache of compiled code: an edit of any engine file is seen, and vectorbt's own cache is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A function of one file that calls, compiled, a function of another.
ASK = """
import numpy as np
from backtest.engine.margin import fee_reserve
print(fee_reserve(100 * 10**8, 1, 1000, 50_000))
"""


def answer(package: Path, cache: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(package), "BACKTEST_CACHE": str(cache), "BACKTEST_JIT": "1"}
    command = [sys.executable, "-c", ASK]
    done = subprocess.run(command, env=environment, cwd=package, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_edit_of_another_file_is_never_answered_with_stale_code(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "backtest", tmp_path / "backtest", ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    first = answer(tmp_path, cache)
    assert first == str(4_500_000)  # 100 x 0.05 % x (1 - 1 / 10)
    compiled = sorted(cache.rglob("*.nbi"))
    assert compiled, "nothing was kept"
    assert answer(tmp_path, cache) == first
    assert sorted(cache.rglob("*.nbi")) == compiled

    source = tmp_path / "backtest" / "engine" / "arithmetic.py"
    rounded_up = "(left * E8 + rest) * numerator + denominator * E8 - 1"
    text = source.read_text()
    assert rounded_up in text
    source.write_text(text.replace(rounded_up, f"2 * ({rounded_up})"))
    assert answer(tmp_path, cache) != first


def test_the_cache_of_others_is_left_where_it_is() -> None:
    import numba

    import backtest.engine.replay

    assert backtest.engine.replay.replay is not None
    assert numba.config.CACHE_DIR == ""
