"""What a comparison frees goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHILD = """
import resource
import numpy as np
import pyarrow as pa
from backtest.cli.memory import return_what_is_freed

def resident_mb():
    with open("/proc/self/statm") as status:
        return int(status.read().split()[1]) * resource.getpagesize() / 1e6

return_what_is_freed()
assert pa.default_memory_pool().backend_name == "system"
before = resident_mb()
for _ in range(3):
    # Arrays of a hundred kilobytes, as a study's columns are: in all 300 MB, by turns of numpy and of Arrow.
    held = [np.ones(12_500) if i % 2 else pa.array(np.ones(12_500) * i) for i in range(3_000)]
    full = resident_mb()
    kept = held[::100]
    del held
    assert full - before > 250, (before, full)
    assert resident_mb() - before < 60, (before, full, resident_mb())
    del kept
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
def test_memory_of_freed_tables_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
