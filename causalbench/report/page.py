"""The HTML report: one file that opens offline, written from the evidence alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from latex2mathml.converter import convert
from markupsafe import Markup

from causalbench.artifacts import digest
from causalbench.report import decision_page, decision_words, figures, rollout
from causalbench.report.canvas import Drawing
from causalbench.wording import VISIBLE_WEIGHT, evidence_text, interval_name, interval_text, number, percent

_ROWS = 120


def write(evidence: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.html``, ``decision.html`` where the evidence carries a decision, and ``figures/*.svg`` into a folder."""
    drawings = {estimate["metric"]: figures.draw(evidence, estimate["metric"]) for estimate in evidence["estimates"]}
    (folder / "figures").mkdir()
    for i, drawn in enumerate(drawings.values()):
        for drawing in drawn:
            stem = drawing.name if i == 0 else f"{drawing.name}_{i + 1}"
            (folder / "figures" / f"{stem}.svg").write_text(drawing.svg, encoding="utf-8")
    (folder / "report.html").write_text(render(evidence, drawings), encoding="utf-8")
    decision = decision_page.compose(evidence)
    if decision is not None:
        text = environment().get_template("decision.html.jinja").render(page=decision)
        (folder / "decision.html").write_text(text, encoding="utf-8")


def render(evidence: Mapping[str, Any], drawings: Mapping[str, list[Drawing]]) -> str:
    """Return the page; every value of the study is escaped, only our own SVG and MathML are markup."""
    sections = [_section(evidence, estimate, drawings) for estimate in evidence["estimates"]]
    sections.sort(key=lambda section: section["metric"] != evidence["headline"]["metric"])
    template = environment().get_template("report.html.jinja")
    decision = decision_page.compose(evidence)
    return template.render(evidence=evidence, sections=sections, page=decision, evidence_digest=digest(evidence))


def environment() -> jinja2.Environment:
    """Return where all pages are rendered: everything is escaped, and the filters write numbers as people read them."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("causalbench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "signed": lambda value: number(value, sign=True),
        "percent": percent,
        "signed_percent": lambda value: percent(value, sign=True),
        "rough": lambda value: number(value, digits=2),
        "at_grade": decision_words.verdict,
        "effect": decision_words.effect,
        "effect_set": decision_words.effect_set,
        "limit": decision_words.limit,
        "method_label": decision_words.method_label,
        "interval": interval_text,
        "interval_name": interval_name,
        "evidence": evidence_text,
        "mathml": lambda latex: Markup(convert(latex, display="block")),  # noqa: S704 - our own equations
        "picture": lambda drawing: Markup(drawing.inline()),  # noqa: S704 - drawn here, text escaped by the drawing
    }
    made.filters |= filters
    return made


def _section(
    evidence: Mapping[str, Any], estimate: Mapping[str, Any], drawings: Mapping[str, list[Drawing]]
) -> dict[str, Any]:
    """Collect what the page shows of one metric."""
    metric, path, start = estimate["metric"], estimate["path"], estimate["n_pre"]
    columns = [path[key][start:] for key in ("periods", "observed", "counterfactual", "effect")]
    rows = zip(*columns, _bands(estimate)[start:], strict=True)
    audit = evidence["audits"][metric]
    declared = next(item for item in evidence["study"]["metric"] if item["name"] == metric)
    weights = sorted((estimate["weights"] or {}).items(), key=lambda item: (-item[1], item[0]))
    return {
        "metric": metric,
        "role": declared["role"],
        "scale": declared["scale"],
        "estimate": estimate,
        "drawings": drawings[metric],
        "checks": evidence["checks"][metric],
        "audit": audit,
        "rollout": rollout.describe(estimate, audit["launches"]),
        "refused": evidence["headline"]["verdict"] == "not credible" and metric == evidence["headline"]["metric"],
        "graph": (evidence["graph"] or {}).get(metric),
        "weighting": _weighting(evidence, estimate),
        "chosen": _chosen(evidence, estimate),
        "rows": list(rows)[:_ROWS],
        "weights": [(unit, weight) for unit, weight in weights if abs(weight) >= VISIBLE_WEIGHT],
    }


def _bands(estimate: Mapping[str, Any]) -> list[str]:
    """Write the band of every period."""
    bands = estimate["path_bands"]
    if bands is None:
        return [""] * len(estimate["path"]["periods"])
    ends = zip(bands["lower"], bands["upper"], strict=True)
    return [interval_text(None if None in end else {"segments": [end]}) for end in ends]


def _weighting(evidence: Mapping[str, Any], estimate: Mapping[str, Any]) -> str:
    """Say whom the average counts how much."""
    if estimate["estimand"]["weighting"] == "unit":
        return "every unit counts the same"
    return f"units weighted by {evidence['study']['data']['weights']}"


def _chosen(evidence: Mapping[str, Any], estimate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name what was chosen: estimator, inference, options and columns, whoever chose them."""
    data, options = evidence["study"]["data"], evidence["provenance"]["options"]
    covariates = estimate["detail"].get("covariates", data["covariates"])
    columns = {"covariates": covariates, "cluster": data["cluster"]}
    inference = {"inference": estimate["inference"], **estimate["inference_options"]}
    named = [*{"estimator": estimate["estimator"], **options}.items(), *inference.items(), *columns.items()]
    texts = [(key, ", ".join(map(str, value)) if isinstance(value, list) else value) for key, value in named]
    return [(key, str(value)) for key, value in texts if value not in (None, "")]
