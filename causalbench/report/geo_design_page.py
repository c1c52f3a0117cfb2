"""The page of a geo design: one file that opens offline, written from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from causalbench.report import geo_figures
from causalbench.report.canvas import Drawing
from causalbench.report.page import environment
from causalbench.wording import number, percent

_ROWS = 60


def write(evidence: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.html`` and ``figures/*.svg`` into a folder."""
    drawings = geo_figures.draw(evidence)
    (folder / "figures").mkdir()
    for drawing in drawings:
        (folder / "figures" / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    (folder / "report.html").write_text(render(evidence, drawings), encoding="utf-8")


def render(evidence: Mapping[str, Any], drawings: Sequence[Drawing]) -> str:
    """Return the page; every value of the study is escaped, only our own SVG is markup."""
    template = environment().get_template("geo_design.html.jinja")
    return template.render(
        evidence=evidence,
        drawings=drawings,
        reasons=left_out_by_reason(evidence["left_out"]),
        balance=balance_rows(evidence["balance"]),
        planned=planned_rows(evidence["planned_analysis"]),
        most=_ROWS,
    )


def left_out_by_reason(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """Group the markets that are left out by why they are."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row["reason"], []).append(row["market"])
    return sorted(reasons.items())


def balance_rows(balance: Mapping[str, Any]) -> list[list[str]]:
    """Write means, shares and trends of every cell and of the controls, and how they move together."""
    rows = []
    for row in (*balance["cells"], {**balance["control"], "cell": "control"}):
        both = [row.get(key) for key in ("correlation", "correlation_of_changes")]
        rows.append(
            [
                str(row["cell"]),
                str(row["n_markets"]),
                number(row["mean"]),
                percent(row["share"]),
                number(row["trend"], digits=2, sign=True),
                *("" if value is None else number(value, digits=3) for value in both),
            ]
        )
    return rows


def planned_rows(planned: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write the planned analysis as pairs of what and how."""
    options = ", ".join(f"{key} = {value}" for key, value in planned["options"].items())
    return [
        ("metric", str(planned["metric"])),
        ("estimator", f"{planned['estimator']}{f' ({options})' if options else ''}"),
        ("inference", str(planned["inference"])),
        ("confidence level", f"{100 * planned['level']:g}%"),
        ("duration", f"{planned['duration']} periods"),
        ("cooldown", f"{planned['cooldown']} periods after the end still count"),
        ("looks at the data", str(planned["looks"])),
        ("expected direction", "a loss" if planned["direction"] < 0 else "a gain"),
    ]
