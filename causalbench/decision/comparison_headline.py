"""The one sentence on top of a comparison at one time: refused where the groups don't overlap or a placebo shows an effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from causalbench.decision.headline import headline
from causalbench.study import ComparisonStudy
from causalbench.values import CheckResult, Estimate

DECISIVE = ("overlap", "negative-control-outcome")
"""Checks without which there is no headline: whoever fails them compares what can't be compared."""


def comparison_headline(study: ComparisonStudy, estimate: Estimate, checks: Iterable[CheckResult]) -> dict[str, Any]:
    """Return verdict, sentence, reason and reservations for the first success metric.

    Where a check of :data:`DECISIVE` fails, the verdict is ``not credible`` and the sentence claims no effect and names no
    number, unless the study's ``[method] override`` gives a reason; then the headline is the usual one with that reason above.
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
        "why": " ".join(check.reason for check in broken),
        "override": None,
    }
