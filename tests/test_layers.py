"""Laws about the source itself: who imports whom, what has a test, how long things are, what is not named."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import backtest
from backtest import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "backtest"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_shipped" not in path.parts)
SOURCES = [*MODULES, *sorted((ROOT / "strategies").glob("*.py"))]

FILE_LINES = 500
FUNCTION_LINES = 70
# What may be longer today, and how long. A number may go down, and leaves the list once it is under the limit.
LONGER: dict[str, int] = {}

UNTESTED_LINES = 40
HEAVY = ("numba", "vectorbt", "pandas", "plotly", "statsmodels", "scipy", "matplotlib")

# Written in pieces, so that this file does not name them.
FORBIDDEN_TEXT = {
    "a package index": re.compile("py" r"pi\.org|python" r"hosted|--(extra-)?index" r"-url|--find" "-links"),
    "a path of one machine": re.compile(r"(?<![\w.$}])/(work|root|home|Users|opt)" r"/\w"),
    "a page that is not part of the project": re.compile("DESIGN" r"(\.md| §)|\bissue" r" #?\d"),
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# --- imports -------------------------------------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_imports_go_one_way() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("errors", "schema"),
        ("units", "venues"),
        ("engine/margin", "data"),
        ("analysis/pairs", "engine.margin"),
        ("data/store", "study"),
        ("data/store", "signals"),
        ("signals/compute", "study"),
        ("report/text", "study"),
        ("study/config", "cli"),
    ],
)
def test_the_contracts_catch_an_import_against_the_grain(importer: str, imported: str, tmp_path: Path) -> None:
    """A package of the same modules, all empty but for one wrong import, is refused."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for path in MODULES:
        twin = tmp_path / name_of(path)
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.touch()
    place = tmp_path / "backtest" / importer
    (place / "__init__.py" if place.is_dir() else place.with_suffix(".py")).write_text(f"import backtest.{imported}\n")
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout, done.stdout + done.stderr


def test_the_oracle_shares_nothing_with_the_kernel() -> None:
    allowed = ("backtest.schema", "backtest.errors", "backtest.engine.oracle")
    found = {
        f"{name_of(path)} imports {name}"
        for path in (PACKAGE / "engine" / "oracle").rglob("*.py")
        for name in imports_of(ast.parse(path.read_text()))
        if name.split(".")[0] in ("backtest", "numba") and not name.startswith(allowed)
    }
    assert not found


def test_the_command_line_loads_nothing_heavy() -> None:
    program = f"import sys, backtest.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist_once() -> None:
    names = backtest.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(backtest, name) for name in names)


def test_editors_are_told_of_every_public_name_from_its_home() -> None:
    stub = [node for node in ast.parse((PACKAGE / "__init__.pyi").read_text()).body if isinstance(node, ast.ImportFrom)]
    told = {alias.asname: node.module for node in stub for alias in node.names}
    assert told == {name: vars(backtest)["_HOMES"][name] for name in backtest.__all__}


# --- tests ---------------------------------------------------------------------------------------------------------


def code_lines(path: Path) -> int:
    return sum(1 for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith("#"))


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_every_module_has_a_test() -> None:
    """A test file imports or patches it, a tested command uses it, or a module of the same room leads to it."""
    uses = {module_of(path): set(imports_of(ast.parse(path.read_text()))) for path in MODULES}
    tests = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    patched = {name for text in tests for name in re.findall(r'setattr\("([\w.]+)\.\w+"', text)}
    commands = [
        f"backtest.cli.{path.stem.removeprefix('test_')}" for path in (ROOT / "tests" / "cli").glob("test_*.py")
    ]
    used = {name for command in commands for name in uses.get(command, ())}
    tested = {name for text in tests for name in imports_of(ast.parse(text))}.union(patched, used) & uses.keys()
    fresh = set(tested)
    while fresh:
        found = {used for module in fresh for used in uses[module] & uses.keys() if room_of(used) == room_of(module)}
        fresh = found - tested
        tested |= fresh
    missing = [m for path in MODULES if (m := module_of(path)) not in tested and code_lines(path) > UNTESTED_LINES]
    assert missing == []


def test_no_folder_of_tests_hides_another() -> None:
    """Two test files of one name need packages around them, else the second is not collected."""
    stems: dict[str, list[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        if not (path.parent / "__init__.py").exists():
            stems.setdefault(path.name, []).append(name_of(path))
    assert not {name: paths for name, paths in stems.items() if len(paths) > 1}


# --- size and style ------------------------------------------------------------------------------------------------


def sizes() -> Iterator[tuple[str, int, int]]:
    """Give each file and function with its length and its limit."""
    for path in SOURCES:
        text = path.read_text()
        yield name_of(path), len(text.splitlines()), FILE_LINES
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                yield f"{name_of(path)}::{node.name}", node.end_lineno - node.lineno + 1, FUNCTION_LINES


def test_files_and_functions_stay_short() -> None:
    too_long = {name: lines for name, lines, limit in sizes() if lines > LONGER.get(name, limit)}
    assert not too_long


def test_exceptions_to_length_are_still_needed() -> None:
    needed = {name: lines for name, lines, limit in sizes() if lines > limit}
    assert needed == LONGER


def test_only_the_command_line_prints_and_reads_arguments() -> None:
    found = []
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] in ("cli", "cli.py", "__main__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input"):
                found.append(f"{name_of(path)}:{node.lineno} {node.func.id}")
            if isinstance(node, ast.Attribute) and node.attr == "argv":
                found.append(f"{name_of(path)}:{node.lineno} argv")
    assert found == []


def test_every_module_says_what_it_is() -> None:
    mute = [name_of(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert mute == []


def tracked_files() -> list[Path]:
    """List the files of the project: what git tracks, or all text files where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    suffixes = {".py", ".toml", ".md", ".lock", ".json", ".txt", ".html", ".css", ".js", ""}
    hidden = {".git", ".venv", "build", "dist", "lake"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and path.suffix in suffixes and not hidden & set(path.relative_to(ROOT).parts)
    ]


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_the_project_does_not_name(what: str) -> None:
    found = []
    for path in tracked_files():
        if path in (Path(__file__), ROOT / "Makefile") or path.suffix in (".parquet", ".png", ".feather"):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if FORBIDDEN_TEXT[what].search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_lock_files_hold_nothing_but_pins_and_hashes() -> None:
    line = re.compile(r"[a-z0-9._-]+==[a-z0-9.+!]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    for name in ("requirements.lock", "requirements-test.lock"):
        rows = (ROOT / name).read_text().splitlines()
        assert [row for row in rows if not line.fullmatch(row)] == [], name


def test_the_test_lock_pins_what_the_runtime_lock_pins() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[^ ]+==[^ ]+", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-test.lock")


# --- errors --------------------------------------------------------------------------------------------------------


def test_every_kind_of_failure_has_its_own_exit_code() -> None:
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.BacktestError) and kind.__module__ == errors.__name__
    ]
    codes = {kind.__name__: vars(kind).get("exit_code") for kind in classes}
    assert all(isinstance(code, int) and 0 < code < 126 for code in codes.values()), codes
    assert len(set(codes.values())) == len(codes), codes
    documented = dict(re.findall(r"(\w+Error) +(\d+)", errors.__doc__ or ""))
    assert {name: str(code) for name, code in codes.items()} == documented
