"""The plain-text answer of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from causalbench.wording import counted, interval_name, interval_text, number, percent


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """Write one estimate as a few aligned lines."""
    detail, interval, tail = estimate["detail"], estimate["interval"], estimate["posterior_tail"]
    by_cohort = "group_time" in detail or "aggregates" in detail
    over, compared = _one_time(estimate) if not estimate["n_post"] else _over_periods(estimate, by_cohort=by_cohort)
    rows = [
        ("effect", f"{number(estimate['value'])} {estimate['estimand']['units']}"),
        (interval_name(estimate).partition(" of ")[0], interval_text(interval)),
        ("p-value", number(estimate["p_value"])) if tail is None else ("posterior tail", number(tail)),
        ("standard error", number(estimate["std_error"])) if estimate["std_error"] is not None else None,
        ("relative", percent(detail["relative"], sign=True)) if detail["relative"] is not None else None,
        ("total", f"{number(detail['incremental'])} over {over}") if detail["incremental"] is not None else None,
        ("compared with", compared),
        *_rollout(detail),
        *(("warning", warning) for warning in estimate["warnings"]),
    ]
    shown = [row for row in rows if row]
    width = max(len(label) for label, _ in shown)
    lines = [f"{estimate['estimator']} with {estimate['inference']} inference, {estimate['estimand']['window']}"]
    return "\n".join(lines + [f"  {label:<{width}}  {text}" for label, text in shown])


def _over_periods(estimate: Mapping[str, Any], *, by_cohort: bool) -> tuple[str, str]:
    """Say what the total is over, and what the treated are compared with."""
    after = "each from its launch on" if by_cohort else f"{estimate['n_post']} periods"
    before = f"{counted(estimate['n_pre'], 'period')} before the {'first ' if by_cohort else ''}launch"
    never = " never treated" if by_cohort else ""
    return (
        f"{estimate['n_treated']} treated, {after}",
        f"{estimate['n_control']} control units{never}, {before}",
    )


def _one_time(estimate: Mapping[str, Any]) -> tuple[str, str]:
    covariates = ", ".join(estimate["detail"]["covariates"])
    adjusted = f", adjusted for {covariates}" if covariates else ", adjusted for nothing"
    return estimate["estimand"]["population"], f"{estimate['n_control']} control units{adjusted}"


def _rollout(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the other averages of group-time effects, and the test before the launch."""
    for name, found in (detail.get("aggregates") or {}).items():
        yield f"{name} average", f"{number(found['value'])} (standard error {number(found['std_error'])})"
    pretest = detail.get("pretest")
    if pretest:
        p_value = pretest["p_value_small_sample"]
        text = (
            "too few clusters to test it" if p_value is None else f"p = {number(p_value)}, no proof of parallel trends"
        )
        yield "before launch", f"all zero together: {text}"
