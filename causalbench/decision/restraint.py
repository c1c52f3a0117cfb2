"""The action at the strength that the grade allows: weak evidence ships nothing, and silences no alarm."""

from __future__ import annotations

from dataclasses import replace

from causalbench.decision.grade import Letter
from causalbench.decision.recommendation import Recommendation

_WHY = {
    "revise": "A guardrail failed: change the launch before it goes any further.",
    "stop": "By the rules of the study this isn't worth keeping.",
    "hold": "Nothing is decided yet.",
    "ship": "It meets the standard that the study set.",
}
_BY_RULE = {
    "harm": "The success metric moved the wrong way.",
    "too early": "It is too early for a claim.",
    "guardrail not shown": "A guardrail is not shown to hold: get more data on it first.",
    "fading": "It fades and hasn't settled: keep it where it is until it has, and decide by what stays.",
    "value": "The stated value, cost and prior decide.",
}
_EQUIVALENT = "Every effect of a worthwhile size is ruled out, so there is little to gain or lose by it."
_OPEN = "Neither an effect nor its absence is shown: get more data before deciding."


def restrain(found: Recommendation, *, letter: Letter, verdict: str, wait: str | None, claimed: bool) -> Recommendation:
    """Hold back an action that the grade doesn't carry; its first reason then says so in one sentence.

    1. At grade D nothing is decided, unless all that is missing is time: then a failed guardrail still asks for a change.
    2. At grade C nothing is shipped or stopped: it is a hint. A failed guardrail still asks for a change.
    3. Nothing ships by its verdict, or waits for an effect to settle, that the headline doesn't see. By a stated value it may
       still ship: the probability counts an effect that isn't shown as strongly as prior and data do.

    Parameters
    ----------
    found
        By the rules of the study alone.
    letter
        Grade of the evidence.
    verdict
        Five-way verdict on the success metric.
    wait
        How long to wait, where it is too early.
    claimed
        Whether the headline calls an effect shown, or suggested.

    Examples
    --------
    >>> ship = Recommendation(action="ship", rule="7 verdict", reasons=("sales is better.",), changes=())
    >>> restrain(ship, letter="C", verdict="better", wait=None, claimed=False).action
    'hold'
    """
    rule = found.rule.partition(" ")[2]
    if letter == "D" and wait is None:
        why = "These data can't carry a decision either way; see what would change that."
        return _held(found, "grade D", why)
    if found.action == "revise":
        return _told(found, _WHY["revise"])
    if wait is not None:
        return _held(found, "3 too early", f"{_BY_RULE['too early']} {wait}")
    if letter in ("C", "D") and found.action in ("ship", "stop"):
        why = f"Grade {letter} is too weak to {found.action} on: confirm it where units are assigned at random."
        return _held(found, f"grade {letter}", why)
    if not claimed and (rule == "fading" or (rule == "verdict" and found.action == "ship")):
        return _held(found, "headline", _OPEN)
    if rule == "verdict" and verdict == "equivalent":
        return _told(found, _EQUIVALENT)
    if rule == "verdict" and found.action == "hold":
        return _told(found, _OPEN)
    return _told(found, _BY_RULE.get(rule, _WHY[found.action]))


def _told(found: Recommendation, why: str) -> Recommendation:
    return replace(found, reasons=(why, *found.reasons))


def _held(found: Recommendation, rule: str, why: str) -> Recommendation:
    return replace(found, action="hold", rule=rule, reasons=(why, *found.reasons))
