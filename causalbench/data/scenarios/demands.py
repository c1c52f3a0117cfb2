"""What a readout must say about each scenario, held against the evidence that it left and the truth behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Evidence = Mapping[str, Any]
Truth = Mapping[str, Any]

CALLED = ("shown",)
"""Verdicts that call something an effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One thing that a readout must say, and whether it did."""

    text: str
    met: bool


def demands(name: str, evidence: Evidence, truth: Truth, *, effect: bool) -> tuple[Demand, ...]:
    """Hold a readout against the acceptance list.

    Parameters
    ----------
    name
        Of the scenario, such as ``A1``.
    evidence
        What ``evidence.json`` holds.
    truth
        Of the draw.
    effect
        Whether there was one; the twin must not be called an effect.

    Returns
    -------
    tuple of Demand
        In the order of the list.

    Examples
    --------
    >>> quiet = {"headline": {"verdict": "not shown"}, "grade": {"grade": "B"}, "checks": {"sales": []}}
    >>> demands("A6", quiet, {}, effect=False)
    (Demand(text='nothing is called an effect', met=True),)
    """
    rules = (_WITH if effect else _WITHOUT).get(name, _quiet)
    return tuple(Demand(text=text, met=bool(met)) for text, met in rules(evidence, truth))


Found = Iterator[tuple[str, Any]]


def _quiet(evidence: Evidence, _: Truth) -> Found:
    yield "nothing is called an effect", evidence["headline"]["verdict"] not in CALLED


def _one_country(evidence: Evidence, truth: Truth) -> Found:
    decided, answer = evidence["decision"], evidence["headline"]["answer"]
    yield "the total in hours and the share in percent", "in total" in answer and "%" in answer
    past = (evidence.get("backtest") or {}).get("recalibrated") or {}
    yield "an interval calibrated on this history, with the truth in it", _holds(past.get("interval"), truth["value"])
    yield "what effect the design could have shown", decided["verdicts"][0]["detectable"] is not None
    yield "the donors with their weights", bool(evidence["estimates"][0]["weights"])
    left_out = (decided.get("left_out") or {}).get("units", ())
    yield "both contaminated donors, by name", set(truth["contaminated"]) <= set(left_out)
    told = (decided.get("dynamics") or {}).get("sentence", "")
    yield "14 days: that novelty isn't ruled out", "14 days" in told and "novelty isn't ruled out" in told
    yield "a grade", evidence["grade"]["grade"] in "ABCD"


def _random_markets(evidence: Evidence, truth: Truth) -> Found:
    (result,) = evidence["results"]
    (cell,) = result["cells"]
    yield "a shown effect", evidence["headline"]["verdict"] in CALLED
    yield "the truth in the set of the total", _holds(cell["incremental"]["interval"], truth["incremental"])
    own = next((row for row in result["returns"] if row["planned"]), None)
    yield "the truth in the set of the return", own is not None and _holds(own["interval"], truth["return"])
    p, interval = cell["effect"]["p_value"], cell["effect"]["interval"]
    yield "one p-value and one interval that agree", _holds(interval, 0.0) == (p > 1 - interval["level"] + 1e-9)
    yield "a clean split ratio", evidence["delivery"]["split_ratio"][0]["verdict"] == "pass"


def _safety_filter(evidence: Evidence, truth: Truth) -> Found:
    decided = evidence["decision"]
    verdicts = {row["metric"]: row["verdict"] for row in decided["verdicts"]}
    guards = {row["metric"]: row for row in decided["guardrails"]}
    yield "flagged items are better", verdicts.get("flagged items") == "better"
    yield "the guardrail FAILED", guards["active users"]["verdict"] == "fail"
    prices = [row["sentence"] for row in decided["trades"]]
    yield "ship only if a flagged item is worth at least so much", any("Ship only if" in told for told in prices)
    yield "revise", decided["recommendation"]["action"] == "revise"
    effects = {row["metric"]: row["detail"]["relative"] for row in evidence["estimates"]}
    yield "flagged items fell by about 90%", abs(effects["flagged items"] - truth["relative"]["flagged"]) < 0.1


def _safe_filter(evidence: Evidence, _: Truth) -> Found:
    yield from _quiet(evidence, _)
    verdicts = [row["verdict"] for row in evidence["decision"]["guardrails"]]
    yield "no guardrail is called failed", "fail" not in verdicts


def _phased_rollout(evidence: Evidence, truth: Truth) -> Found:
    estimate = evidence["estimates"][0]
    yield "group-time effects", estimate["estimator"] == "group-time"
    yield "the truth in its interval", _holds(estimate["interval"], truth["value"])
    yield "why two-way fixed effects mislead", _evaluated(evidence, "forbidden-comparisons")
    trends = _check(evidence, "trend-sensitivity") or {}
    yield "how far trends may part before the answer changes", trends.get("statistic") is not None


def _novelty(evidence: Evidence, truth: Truth) -> Found:
    path = evidence["decision"]["dynamics"] or {}
    yield "the effect fades", path.get("verdict") == "fades"
    half, steady, over = (path.get(key) or {} for key in ("half_life", "steady_state", "overstates"))
    yield "its half-life, with the truth in the set", _between(half, truth["half_life"])
    yield "where it settles, with the truth in the set", _between(steady, truth["steady_state"])
    yield "how much the first week overstates it", over.get("value") is not None
    yield "hold", evidence["decision"]["recommendation"]["action"] == "hold"


def _logging_change(evidence: Evidence, truth: Truth) -> Found:
    found = _check(evidence, "level-shift") or {"table": {"suspects": ()}, "reason": ""}
    yield "the markets that changed, by name", set(truth["changed"]) <= set(found["table"]["suspects"])
    yield "the date", truth["since"] in found["reason"]
    yield "no claim, grade D", evidence["grade"]["grade"] == "D" and evidence["headline"]["verdict"] == "no claim"
    rates = [row["false_positive_rate"] for row in evidence["backtest"]["table"]]
    yield "the measured false positive rate", any(rate is not None for rate in rates)


def _opposite_segments(evidence: Evidence, truth: Truth) -> Found:
    found = _check(evidence, "segment-effects") or {"reason": "", "table": {"segments": ()}}
    rows = {row["segment"]: row for row in found["table"]["segments"]}
    yield "not null: opposite effects", "opposite effects" in found["reason"]
    for name in ("new", "power"):
        row = rows.get(name, {})
        close = row and abs(row["relative"] - truth["segments"][name]) < 0.03
        bounded = row and row["lower"] is not None and row["upper"] is not None
        corrected = found["table"].get("interval_level", 0.0) > found["table"].get("level", 1.0)
        yield f"the interval of {name} users, corrected for the number of segments", close and bounded and corrected


def _no_segments(evidence: Evidence, _: Truth) -> Found:
    yield from _quiet(evidence, _)
    found = _check(evidence, "segment-effects") or {"reason": ""}
    yield "no opposite effects are claimed", "opposite effects" not in found["reason"].replace("No opposite", "")


def _self_selected(evidence: Evidence, truth: Truth) -> Found:
    nodes = {node["name"]: node for node in evidence["graph"]["spending"]["nodes"]}
    yield "the set that was chosen", set(truth["must"]) <= {name for name, node in nodes.items() if node["adjusted"]}
    refused = [nodes[name] for name in truth["must_not"]]
    yield "refused variables with a reason", all(node["advice"] == "must not" and node["reason"] for node in refused)
    yield "overlap", _evaluated(evidence, "overlap")
    yield "the robustness value", (_check(evidence, "robustness") or {}).get("statistic") is not None
    yield "the truth in its interval", _holds(evidence["estimates"][0]["interval"], truth["value"])


def _leaked_controls(evidence: Evidence, truth: Truth) -> Found:
    delivery = evidence["delivery"]
    rows = {row["market"]: row for row in delivery["departures"]}
    yield "the controls that got it, by name", set(truth["leaked"]) == set(rows)
    since = {str(rows[market]["since"]) for market in truth["leaked"] if market in rows}
    yield "the day", since == {truth["since"]}
    yield "the claim of a random draw withdrawn", "withdrawn" in evidence["headline"]["assignment"]
    yield "a cap on the grade", bool(delivery["grade_cap"])
    yield "what was received beside what was planned", bool(evidence["results"][0]["received"])


def _looks(evidence: Evidence, _: Truth) -> Found:
    (row,) = evidence["looks"]
    yield "stopped before the last look", row["monitoring"]["stop_look"] in (1, 2, 3)
    yield "family error of at most 5%", row["monitoring"]["family_error"] <= 0.05


def _worth_it(evidence: Evidence, _: Truth) -> Found:
    value = evidence["decision"]["value"] or {}
    stated = str(value.get("prior", "")).startswith("prior:")
    yield "P(net value > 0), under a stated prior", value.get("probability") is not None and stated
    yield "the break-even effect", value.get("break_even") is not None
    yield "the value of waiting two more weeks", bool(value.get("waiting"))


def _not_worth_it(evidence: Evidence, _: Truth) -> Found:
    yield from _quiet(evidence, _)
    yield "not shipped", evidence["decision"]["recommendation"]["action"] != "ship"


def _two_changes(evidence: Evidence, truth: Truth) -> Found:
    rows = {row["name"]: row for row in evidence["results"][0]["factors"]}
    for name, value in truth.items():
        yield f"the truth in the simultaneous set of {name}", _holds(rows[name]["simultaneous"], value)


def _global_launch(evidence: Evidence, _: Truth) -> Found:
    yield "a weak grade at most", evidence["grade"]["grade"] in "CD"
    yield "what a holdout would have bought", "holdout" in str(evidence["grade"]["would_change"])


_WITH: Mapping[str, Callable[[Evidence, Truth], Found]] = {
    "A1": _one_country,
    "A2": _random_markets,
    "A3": _safety_filter,
    "A5": _phased_rollout,
    "A6": _novelty,
    "A7": _logging_change,
    "A8": _opposite_segments,
    "A9": _self_selected,
    "A10": _leaked_controls,
    "A11": _looks,
    "A12": _worth_it,
    "A13": _two_changes,
    "A15": _global_launch,
}
_WITHOUT: Mapping[str, Callable[[Evidence, Truth], Found]] = {
    "A3": _safe_filter,
    "A8": _no_segments,
    "A12": _not_worth_it,
}


def _check(evidence: Evidence, name: str) -> Mapping[str, Any] | None:
    for checks in evidence["checks"].values():
        for check in checks:
            if check["name"] == name:
                found: Mapping[str, Any] = check
                return found
    return None


def _evaluated(evidence: Evidence, name: str) -> bool:
    found = _check(evidence, name)
    return found is not None and found["verdict"] != "not_evaluable"


def _holds(interval: Mapping[str, Any] | None, value: float) -> bool:
    if interval is None:
        return False
    return any(
        (lower is None or lower <= value) and (upper is None or value <= upper) for lower, upper in interval["segments"]
    )


def _between(found: Mapping[str, Any], value: float) -> bool:
    lower, upper = found.get("lower"), found.get("upper")
    return bool(found) and (lower is None or lower <= value) and (upper is None or value <= upper)
