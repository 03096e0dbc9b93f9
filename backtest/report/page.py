"""A page: one HTML file that needs nothing else, the same bytes for the same input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from backtest.report.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, headline: str, charts: Mapping[str, Figure], **content: object) -> str:
    """Fill in a template; style, script and one copy of plotly are part of the page."""
    import jinja2
    import plotly.offline

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        headline=headline,
        figures=charts,
        figure_json={name: figure_json(figure) for name, figure in charts.items()},
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
        plotly=plotly.offline.get_plotlyjs(),
        **content,
    )


def figure_json(figure: Figure) -> str:
    """Write a figure as JSON that is inert inside a script element."""
    text = json.dumps({"data": figure.data, "layout": figure.layout}, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
