"""The one sentence on top: an effect is shown, not shown, or not computed, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from causalbench.artifacts import plain
from causalbench.study import ComparisonStudy, Study
from causalbench.values import CheckResult, Estimate, Interval
from causalbench.wording import interval_text, number

_HOW_CHOSEN = {
    "random": "The units were assigned at random.",
    "not as drawn": "The units were drawn at random, but some didn't get what was drawn for them, so the comparison of what "
    "they got is not a randomized one; that of the plan still is, and is diluted.",
    "rule": "The units were assigned by a rule, not at random; the comparison rests on the assumptions of the method.",
    "opt-in": "The units chose to take part; what made them choose may also have moved the outcome.",
    "chosen": "The units were chosen, not drawn at random; the comparison rests on the assumptions of the method.",
}


def headline(study: Study | ComparisonStudy, estimate: Estimate, checks: Iterable[CheckResult]) -> dict[str, Any]:
    """Return verdict, sentence, reason and reservations for the first success metric."""
    verdict = _verdict(estimate)
    checks = list(checks)
    doubts = [check for check in checks if check.verdict in ("fail", "review")]
    return {
        "metric": estimate.metric,
        "verdict": verdict,
        "sentence": _sentence(estimate, verdict),
        "answer": _answer(estimate),
        "why": _why(estimate, verdict),
        "assignment": _how_chosen(study.launch.assignment, checks),
        "reservations": [
            {"verdict": check.verdict, "question": check.question, "reason": check.reason} for check in doubts
        ],
    }


def _how_chosen(assignment: str, checks: Iterable[CheckResult]) -> str:
    """Say how the units were chosen; that they were drawn is withdrawn where they didn't get what was drawn."""
    departed = any(check.name == "plan-against-actual" and check.verdict in ("fail", "review") for check in checks)
    return _HOW_CHOSEN["not as drawn" if assignment == "random" and departed else assignment]


def _verdict(estimate: Estimate) -> str:
    """Judge by the test; where there is an interval without one, as of a posterior, by whether it leaves out zero."""
    if estimate.interval is None:
        return "not computed"
    if estimate.interval.empty:
        return "misfit"
    shown = not estimate.interval.contains(0.0) if estimate.rejected is None else estimate.rejected
    return "shown" if shown else "not shown"


def _sentence(estimate: Estimate, verdict: str) -> str:
    level = f"{100 * estimate.interval.level:g}%" if estimate.interval else ""
    return {
        "shown": f"An effect on {estimate.metric} is shown at the {level} level.",
        "not shown": f"An effect on {estimate.metric} is not shown at the {level} level.",
        "misfit": f"No constant effect on {estimate.metric} fits the data at the {level} level.",
        "not computed": f"Whether there is an effect on {estimate.metric} could not be computed.",
    }[verdict]


def _answer(estimate: Estimate) -> str:
    """Say the estimate, its total and its set in one sentence."""
    relative = estimate.detail["relative"]
    share = f" ({100 * relative:+.1f}%)" if relative is not None else ""
    text = f"The best estimate is {number(estimate.value, sign=True)} {estimate.estimand.units}{share}"
    total = estimate.detail["incremental"]
    text += "." if total is None else f", {number(total, sign=True)} in total."
    if estimate.interval is None:
        return text
    level = f"{100 * estimate.interval.level:g}%"
    return f"{text} Compatible with the data at {level}: {interval_text(plain(estimate.interval))}."


def _why(estimate: Estimate, verdict: str) -> str:
    if estimate.interval is None:
        return estimate.warnings[-1] if estimate.warnings else "The inference gives no interval here."
    if estimate.p_value is None:
        return _why_without_test(estimate, estimate.interval, verdict)
    level, limit = estimate.interval.level, 1 - estimate.interval.level
    if verdict == "misfit":
        return f"The test rejects every constant effect (p = {estimate.p_value:.3g} for none). Look at the effect by period."
    if verdict == "shown":
        allowed = f"at most the {limit:.3g} that {100 * level:g}% allows"
        return f"That nothing happened is rejected: p = {estimate.p_value:.3g}, {allowed}."
    text = f"The data are compatible with no effect: p = {estimate.p_value:.3g}, more than the {limit:.3g} that "
    text += f"{100 * level:g}% allows. That is not proof of no effect; "
    if estimate.interval.lower is None or estimate.interval.upper is None:
        return f"{text}this test can't bound the effect here."
    return f"{text}effects as large as the set's ends are compatible too."


def _why_without_test(estimate: Estimate, interval: Interval, verdict: str) -> str:
    """Say what an interval without a p-value tells about no effect; of a posterior also the tail beyond zero."""
    name = f"{100 * interval.level:g}% {interval.kind} interval"
    text = f"The {name} leaves out zero" if verdict == "shown" else f"The {name} holds zero"
    if estimate.posterior_tail is not None:
        side = "below" if estimate.value > 0 else "above"
        text += f": the posterior probability of an effect {side} zero is {estimate.posterior_tail:.3g}"
    if verdict == "shown":
        return f"{text}."
    return f"{text}. That is not proof of no effect; effects as large as its ends are compatible too."
