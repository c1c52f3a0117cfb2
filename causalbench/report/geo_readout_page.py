"""The HTML page of a geo test's readout: one file that opens offline, written from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalbench.report import geo_readout_figures as figures
from causalbench.report.canvas import Drawing
from causalbench.report.geo_readout_figures._test import said
from causalbench.report.geo_readout_figures.showcase import NAMES
from causalbench.report.page import environment
from causalbench.wording import VISIBLE_WEIGHT, percent

_ROWS = 120
_APART = ("showcase", "looks")


def write(evidence: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.html`` and ``figures/*.svg`` into a folder."""
    drawings = {result["metric"]: figures.draw(evidence, result["metric"]) for result in evidence["results"]}
    (folder / "figures").mkdir()
    for i, drawn in enumerate(drawings.values()):
        for drawing in drawn:
            stem = drawing.name if i == 0 else f"{drawing.name}_metric_{i + 1}"
            (folder / "figures" / f"{stem}.svg").write_text(drawing.svg, encoding="utf-8")
    (folder / "report.html").write_text(render(evidence, drawings), encoding="utf-8")


def render(evidence: Mapping[str, Any], drawings: Mapping[str, list[Drawing]]) -> str:
    """Return the page; every value of the study is escaped, only our own SVG and MathML are markup."""
    made = environment()
    made.filters |= {"percent_interval": _percent_interval, "p": _p_text}
    main = evidence["headline"]["metric"]
    every = {metric: [d for d in drawn if not d.name.startswith(_APART)] for metric, drawn in drawings.items()}
    sections = [_section(result, every[result["metric"]], evidence["trial"]["n_pre"]) for result in evidence["results"]]
    sections.sort(key=lambda section: section["result"]["metric"] != main)
    apart = drawings.get(main, [])
    return made.get_template("geo_readout.html.jinja").render(
        evidence=evidence,
        sections=sections,
        showcase_drawings=[drawing for drawing in apart if drawing.name.startswith("showcase")],
        looks_drawings=[drawing for drawing in apart if drawing.name.startswith("looks")],
        scheme_names=NAMES,
    )


def _section(result: Mapping[str, Any], drawings: list[Drawing], n_pre: int) -> dict[str, Any]:
    """Collect what the page shows of one metric."""
    return {
        "result": result,
        "drawings": drawings,
        "said": [said(result, cell) for cell in result["cells"]],
        "tested": [cell["effect"] for cell in result["cells"]],
        "rows": [_rows(cell["path"], n_pre) for cell in result["cells"]],
        "weights": [_weights(cell["weights"]) for cell in result["cells"]],
    }


def _rows(path: Mapping[str, Any], start: int) -> list[tuple[Any, ...]]:
    columns = [path[key][start:] for key in ("periods", "observed", "counterfactual", "effect")]
    return list(zip(*columns, strict=True))[:_ROWS]


def _weights(found: Mapping[str, float] | None) -> list[tuple[str, float]]:
    weights = sorted((found or {}).items(), key=lambda item: (-item[1], item[0]))
    return [(unit, weight) for unit, weight in weights if abs(weight) >= VISIBLE_WEIGHT]


def _p_text(p_value: float | None) -> str:
    """Write a p-value, which comes from a count, with three digits."""
    return "not computed" if p_value is None else f"{p_value:.3g}"


def _percent_interval(interval: Mapping[str, Any]) -> str:
    """Write a set of relative effects in percent."""
    if not interval["segments"]:
        return "empty"
    parts = []
    for lower, upper in interval["segments"]:
        low = "unbounded below" if lower is None else percent(lower)
        parts.append(f"{low} to {'unbounded above' if upper is None else percent(upper)}")
    return " or ".join(parts)
