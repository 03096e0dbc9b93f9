"""Compare kernel and oracle on worlds without end: python -m tests.engine.fuzz --seed N --minutes M.

A failure prints what differs and the one command that repeats it, and ends the run with code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from differences import differences
from worlds import draw_world

SEEDS_EACH = 1_000_000  # worlds of one fuzz seed before the next one's begin


def main() -> int:
    """Run until the minutes are over, the worlds are done, or a world differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="first world; with --minutes, seed x 1,000,000")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--worlds", type=int, help="stop after so many worlds, from --seed itself")
    given = parser.parse_args()
    first = given.seed if given.worlds else given.seed * SEEDS_EACH
    end = time.monotonic() + given.minutes * 60
    done = 0
    while (given.worlds is None or done < given.worlds) and time.monotonic() < end:
        lines = differences(draw_world(first + done))
        if lines:
            print(f"world {first + done} differs:", *lines, sep="\n  ")
            print(f"repeat with: python -m tests.engine.fuzz --seed {first + done} --worlds 1")
            return 1
        done += 1
        if done % 500 == 0:
            print(f"{done:,} worlds agree", flush=True)
    print(f"{done:,} worlds agree, from {first}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
