"""How a study shows itself in a notebook."""

from __future__ import annotations

from html import escape

from backtest.study.canonical import resolved
from backtest.study.config import Study


def study_html(study: Study) -> str:
    """Write a study as an HTML table: every key with its value, defaults included."""
    rows = []
    for section, content in resolved(study).items():
        for table in content if isinstance(content, list) else [content]:
            rows += [(section, key, value) for key, value in table.items()]
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td><td>{escape(_text(c))}</td></tr>" for a, b, c in rows)
    return f"<table><caption>Study <b>{escape(study.name)}</b></caption><tbody>{cells}</tbody></table>"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={_text(item)}" for key, item in value.items())
    return str(value)
