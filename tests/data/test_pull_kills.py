"""A pull that is killed at any moment leaves a readable lake; the next call finishes, to the bytes of a calm run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from market_files import tree
from pulling import now_ms, pulled, recipe
from server import Market

from backtest.data.manifest import Dataset
from backtest.data.store import Lake

_PULL = """
import os, shutil, signal, sys
from pathlib import Path
from backtest.data.pull import hosts
from backtest.data.pull.recipe import read_recipe
from backtest.data.pull.run import pull
from backtest.data.store import Lake
lake, url, now_ms, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
hosts._HOSTS = {name: hosts.Host(url, 0.0) for name in hosts._HOSTS}
def counted(call):
    def step(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return step
os.fsync, shutil.rmtree = counted(os.fsync), counted(shutil.rmtree)
Path.replace, Path.unlink, Path.rmdir = counted(Path.replace), counted(Path.unlink), counted(Path.rmdir)
print("ready", flush=True)
pull(Lake(lake), read_recipe(Path(sys.argv[5])), now_ms)
"""
_RECIPE = """
[[pull]]
venue = "binance"
symbols = ["BTCUSDT"]
tables = ["klines", "funding_rate"]
interval = "1h"
start = 2024-12-01
"""


def run_pull(lake: Path, market: Market, kill_at: int = 0, kill_after_s: float | None = None) -> int:
    recipe = lake.parent / "recipe.toml"
    recipe.write_text(_RECIPE)
    command = [sys.executable, "-c", _PULL, str(lake), market.url, str(now_ms(market)), str(kill_at), str(recipe)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            process.kill()
        _, problems = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), problems.decode()
        return process.returncode


@pytest.fixture
def small(market):
    """Give the market with one month and four days."""
    market.listed = "2024-12-20"
    return market


@pytest.mark.slow
def test_two_pulls_at_once_do_what_one_does(tmp_path, small):
    pulled(tmp_path / "calm", small, recipe(("klines", "funding_rate"), start="2024-12-01"))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: run_pull(tmp_path / "lake", small), range(2))) == [0, 0]
    assert tree(tmp_path / "lake") == tree(tmp_path / "calm")


def rows(root: Path, dataset: Dataset) -> set[tuple[object, ...]]:
    return {tuple(row.values()) for row in Lake(root).read(dataset).to_pylist()}


def kill_and_finish(folder: Path, market: Market, points: list[dict], enough: int) -> int:
    """Give how many of the pulls were killed, at most `enough`; each is finished by a second call and compared."""
    wanted = recipe(("klines", "funding_rate"), start="2024-12-01")
    calm = folder / "calm"
    pulled(calm, market, wanted)
    truth = {dataset: rows(calm, dataset) for dataset in Lake(calm).datasets()}
    killed = 0
    for number, point in enumerate(points):
        root = folder / f"lake{number}"
        killed += run_pull(root, market, **point) == -signal.SIGKILL
        for dataset in Lake(root).datasets():
            assert rows(root, dataset) <= truth[dataset]
        pulled(root, market, wanted)
        assert tree(root) == tree(calm)
        if killed == enough:
            break
    return killed


def test_a_kill_at_any_step_leaves_a_readable_lake_and_the_next_pull_finishes(tmp_path, small):
    points = [{"kill_at": step} for step in random.Random(5).sample(range(1, 35), 5)]
    assert kill_and_finish(tmp_path, small, points, 5) == 5


@pytest.mark.slow
def test_a_kill_at_every_step_and_at_any_moment_of_a_pull(tmp_path, small):
    chance = random.Random(7)
    steps = [{"kill_at": step} for step in range(1, 36)]
    moments = [{"kill_after_s": chance.uniform(0, 0.5)} for _ in range(200)]  # one that comes too late does not count
    assert kill_and_finish(tmp_path, small, steps + moments, 100) == 100


def test_what_was_downloaded_before_a_kill_is_not_downloaded_again(tmp_path, small):
    """The archives of a year are merged together; a kill before that leaves them in the lake's waiting room."""
    assert run_pull(tmp_path / "lake", small, kill_at=4) == -signal.SIGKILL
    waiting = [path.name for path in (tmp_path / "lake" / ".pull").rglob("*.zip") if not path.name.startswith(".tmp")]
    small.requests.clear()
    pulled(tmp_path / "lake", small, recipe(start="2024-12-01"))
    assert waiting
    assert not [address for address in small.requests if address.endswith(tuple(waiting))]
