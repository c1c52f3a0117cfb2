"""The page of a switchback design, written from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalbench.report.page import environment

_ROWS = 200


def write(evidence: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.html`` into a folder."""
    (folder / "report.html").write_text(render(evidence), encoding="utf-8")


def render(evidence: Mapping[str, Any]) -> str:
    """Return the page; every value of the study is escaped."""
    columns = list(dict.fromkeys(key for row in evidence["candidates"] for key in row))
    shown = [
        key for key in columns if not any(isinstance(row.get(key), (list, dict)) for row in evidence["candidates"])
    ]
    schedule = evidence["schedule"]
    return (
        environment()
        .get_template("geo_switchback.html.jinja")
        .render(evidence=evidence, columns=shown, schedule=schedule[:_ROWS], n_rows=len(schedule))
    )
