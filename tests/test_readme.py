"""The README says what is so: its table is the printed one, its examples run, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from backtest.study.rule_files import load_rule_file, try_rule

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = [f"{coin}-buffers" for coin in ("btc", "eth", "xrp", "ltc")]


def blocks(language: str) -> list[str]:
    """Give the fenced blocks of a language, in order."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in fences if name == language]


def test_it_opens_with_the_two_commands() -> None:
    lines = [line.split("#")[0].strip() for line in blocks("sh")[0].splitlines()]
    assert lines == ["make demo", "make test"]


def test_its_table_is_the_printed_one() -> None:
    assert blocks("")[0] == (ROOT / "reports/btc-buffers/table.txt").read_text(encoding="utf-8")


def test_its_picture_is_drawn_from_the_printed_table(tmp_path: Path) -> None:
    script = tmp_path / "picture.py"
    script.write_bytes((ROOT / "docs/picture.py").read_bytes())
    subprocess.run([sys.executable, script, ROOT / "reports/btc-buffers/table.txt"], check=True)
    assert (tmp_path / "btc-buffers.svg").read_bytes() == (ROOT / "docs/btc-buffers.svg").read_bytes()


def test_its_rule_loads_and_compiles(tmp_path: Path) -> None:
    path = tmp_path / "halve.py"
    path.write_text(blocks("python")[0], encoding="utf-8")
    (rule,) = load_rule_file(path)
    assert rule.name == "halve"
    try_rule(rule)


def test_its_study_is_toml_for_that_rule() -> None:
    (strategy,) = tomllib.loads(blocks("toml")[0])["strategy"]
    assert strategy["rules"][0]["use"] == "halve"


def test_its_commands_exist() -> None:
    done = subprocess.run([sys.executable, "-m", "backtest", "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"^  ([a-z-]+) ", done.stdout, re.MULTILINE))
    named = set(re.findall(r"backtest ([a-z][a-z-]+)", "\n".join([*blocks("sh"), *re.findall(r"`[^`\n]+`", README)])))
    assert {"compare", "explain", "verify", "what-if"} <= named
    assert named <= known


@pytest.mark.parametrize("page", ["README.md", "reports/README.md", *(f"reports/{n}/README.md" for n in STUDIES)])
def test_links_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_gallery_lists_every_study() -> None:
    listed = re.findall(r"\]\(([a-z-]+)/README.md\)", (ROOT / "reports/README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.parent.name for path in ROOT.glob("reports/*/README.md"))


@pytest.mark.parametrize("study", STUDIES)
def test_a_reports_figures_are_those_of_its_table(study: str) -> None:
    """Every number with a thousands separator in the text stands in the printed table."""
    folder = ROOT / "reports" / study
    printed = set(re.findall(r"\d{1,3}(?:,\d{3})+", (folder / "table.txt").read_text(encoding="utf-8")))
    stated = set(re.findall(r"\d{1,3}(?:,\d{3})+", (folder / "README.md").read_text(encoding="utf-8")))
    assert stated <= printed | {"13,872", "10,000"}
