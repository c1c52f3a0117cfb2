"""The one sentence on top of a comparison at one time: refused where the groups don't overlap or a placebo shows an effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from causalbench.decision.headline import headline
from causalbench.study import ComparisonStudy
from causalbench.values import CheckResult, Estimate

DECISIVE = {
    "overlap": "Too few units of the other group are like those that the effect is about.",
    "negative-control-outcome": "The method finds an effect on the outcome before the treatment, where there can be none.",
}
"""Checks without which there is no headline, and what it means that one fails: it compares what can't be compared."""


def comparison_headline(study: ComparisonStudy, estimate: Estimate, checks: Iterable[CheckResult]) -> dict[str, Any]:
    """Return verdict, sentence, reason and reservations for the first success metric.

    Where a check of :data:`DECISIVE` fails, the verdict is ``not credible`` and nothing in the headline claims an effect or names
    a number, unless the study's ``[method] override`` gives a reason; then the headline is the usual one with that reason above.
    """
    checks = tuple(checks)
    broken = [check for check in checks if check.name in DECISIVE and check.verdict == "fail"]
    found = headline(study, estimate, checks)
    if not broken:
        return {**found, "override": None}
    names = " and ".join(check.name.replace("-", " ") for check in broken)
    fails = f"{names} {'fails' if len(broken) == 1 else 'fail'}"
    if study.method.override is not None:
        return {**found, "override": f"Shown although {fails}, because the study says so: {study.method.override}"}
    return {
        **found,
        "verdict": "not credible",
        "sentence": f"Not credible: these data can't say whether there is an effect on {estimate.metric}.",
        "answer": f"No effect is claimed, because {fails}.",
        "why": " ".join(DECISIVE[check.name] for check in broken),
        "reservations": [{**doubt, "reason": "The table of checks says more."} for doubt in found["reservations"]],
        "override": None,
    }
