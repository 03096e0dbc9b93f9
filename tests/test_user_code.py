"""A user's file: run as it is, and every way in which it cannot be told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest.errors import RuleError, SignalError
from backtest.user_code import does_not_run, line_of, run_file


def test_its_names_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 3\n")
    assert run_file(tmp_path / "a.py", RuleError).x == 3


def test_two_files_of_one_source_are_two_modules(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = []\n")
    assert run_file(tmp_path / "a.py", RuleError) is not run_file(tmp_path / "b.py", RuleError)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\ny = (\n", "a.py:2: is not Python: '(' was never closed; mend the line"),
        ("x = 1\n\nx.y\n", "a.py:3: does not run: AttributeError: 'int' object has no attribute 'y'; mend the line"),
        (
            "import no_such_module\n",
            "a.py:1: does not run: ModuleNotFoundError: No module named 'no_such_module'; mend",
        ),
        (None, "a.py: cannot be read (No such file or directory); check the path"),
    ],
)
def test_what_does_not_run_is_told_with_its_line(tmp_path: Path, source: str | None, said: str) -> None:
    if source is not None:
        (tmp_path / "a.py").write_text(source)
    with pytest.raises(SignalError) as error:
        run_file(tmp_path / "a.py", SignalError)
    assert str(error.value).startswith(f"{tmp_path}/{said}")


def test_a_refusal_of_the_wanted_kind_gets_its_line_and_another_is_an_error_like_any(tmp_path: Path) -> None:
    text = "from backtest.errors import RuleError\nraise RuleError.at('here', 'is wrong', 'mend it')\n"
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(RuleError, match=r"a\.py:2: is wrong; mend it"):
        run_file(tmp_path / "a.py", RuleError)
    with pytest.raises(SignalError, match=r"a\.py:2: does not run: RuleError: here: is wrong"):
        run_file(tmp_path / "a.py", SignalError)


def test_an_error_of_a_function_is_told_with_the_line_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    return {}['x']\n")
    module = run_file(tmp_path / "a.py", RuleError)
    with pytest.raises(KeyError) as caught:
        module.f()
    assert line_of(caught.value, tmp_path / "a.py") == f"{tmp_path}/a.py:2"
    assert line_of(caught.value, tmp_path / "b.py") == f"{tmp_path}/b.py"
    assert does_not_run(caught.value) == "does not run: KeyError: 'x'"
