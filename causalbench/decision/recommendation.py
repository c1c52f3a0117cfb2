"""From verdicts to one action: ship, hold, revise or stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from causalbench.artifacts import plain
from causalbench.decision.dynamics import Dynamics
from causalbench.decision.guardrails import Guardrail, overall
from causalbench.decision.value import NetValue
from causalbench.decision.verdict import MetricVerdict
from causalbench.wording import number, percent

Action = Literal["ship", "hold", "revise", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to do, by the rules of :func:`recommend`.

    Attributes
    ----------
    action
        ``ship``, ``hold`` (decide later), ``revise`` (change the launch) or ``stop`` (don't ship).
    rule
        Number and name of the rule that decided.
    reasons
        Sentences, the deciding one first.
    changes
        What would change it, sentences.
    """

    action: Action
    rule: str
    reasons: tuple[str, ...]
    changes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        result: dict[str, Any] = plain(self)
        return result


def recommend(
    success: MetricVerdict,
    guardrails: Sequence[Guardrail] = (),
    *,
    value: NetValue | None = None,
    dynamics: Dynamics | None = None,
) -> Recommendation:
    """Choose an action; the first rule that applies decides.

    1. A guardrail fails: **revise**. Nothing that the success metric gains outweighs it here; whoever wants to pay that price
       reads the exchange rate and moves the margin before the next launch.
    2. The success metric is worse: **stop**.
    3. Too early: **hold**.
    4. A guardrail isn't shown to hold: **hold**. Not shown is no pass, so a launch that harms a guardrail beyond its margin ships
       with probability at most half of ``1 - level`` where the set's ends err alike, whatever else is found.
    5. The effect fades, and hasn't settled or nothing good is shown to stay: **hold**; the average so far says little about that.
    6. The study values the launch: **ship** where the probability of a positive net value reaches ``ship_if``; else **hold**
       where waiting is worth more than it costs, or where the probability is still open; else **stop**.
    7. It doesn't: **ship** what is better, **stop** what is equivalent to nothing, **hold** what isn't shown.

    Parameters
    ----------
    success
        Verdict on the first success metric.
    guardrails
        Verdicts on all guardrails.
    value
        Of the launch, where the study has ``[value]``.
    dynamics
        Of the effect on the success metric.
    """
    guard = overall(guardrails)
    broken = tuple(one.sentence for one in guardrails if one.verdict == "fail")
    unclear = tuple(one.sentence for one in guardrails if one.verdict == "not shown")
    wider = tuple(_margin_change(one) for one in guardrails if one.verdict != "pass")
    if guard == "fail":
        return Recommendation(action="revise", rule="1 guardrail", reasons=(*broken, success.sentence), changes=wider)
    if success.verdict == "worse":
        return Recommendation(action="stop", rule="2 harm", reasons=(success.sentence,), changes=())
    if success.verdict == "too early":
        return Recommendation(action="hold", rule="3 too early", reasons=(success.sentence, *unclear), changes=wider)
    if guard == "not shown":
        return Recommendation(
            action="hold", rule="4 guardrail not shown", reasons=(*unclear, success.sentence), changes=wider
        )
    if dynamics is not None and dynamics.verdict == "fades" and not dynamics.lasts(success.effect.good_side):
        reasons = (dynamics.sentence, success.sentence, *(() if value is None else (value.sentence,)))
        more = f"{dynamics.more_periods} more periods" if dynamics.more_periods else "More periods"
        return Recommendation(action="hold", rule="5 fading", reasons=reasons, changes=(f"{more} show what stays.",))
    if value is not None:
        return _by_value(success, value)
    return _by_verdict(success)


def _by_value(success: MetricVerdict, value: NetValue) -> Recommendation:
    best, reasons = value.best_wait, [value.sentence, success.sentence]
    rule, changes = (
        "6 value",
        [f"A probability of {percent(value.ship_if)} decides; it is {percent(value.probability)}."],
    )
    if value.rel_break_even is not None:
        changes.append(f"The net value turns at an effect of {percent(value.rel_break_even, sign=True)}.")
    if value.verdict == "worth it":
        if success.verdict != "better":
            reasons.append(
                "The probability rests on the prior too: by the data alone no change for the better is shown."
            )
        return Recommendation(action="ship", rule=rule, reasons=tuple(reasons), changes=tuple(changes))
    if best is not None:
        changes.append(
            f"{best.periods} more periods change the decision with probability {percent(best.changes)}, worth "
            f"{number(best.value)} {value.currency} after their cost."
        )
        return Recommendation(action="hold", rule=rule, reasons=tuple(reasons), changes=tuple(changes))
    action: Action = "stop" if value.verdict == "not worth it" else "hold"
    return Recommendation(action=action, rule=rule, reasons=tuple(reasons), changes=tuple(changes))


def _by_verdict(success: MetricVerdict) -> Recommendation:
    actions: dict[str, Action] = {"better": "ship", "equivalent": "stop"}
    changes: tuple[str, ...] = ()
    if success.verdict == "not shown" and success.effect.known:
        changes = ("More periods or units would make the set narrower; it holds effects of both signs.",)
    return Recommendation(
        action=actions.get(success.verdict, "hold"), rule="7 verdict", reasons=(success.sentence,), changes=changes
    )


def _margin_change(one: Guardrail) -> str:
    limit = one.effect.said(one.passes_from)
    if limit == "unbounded":
        return f"{one.metric}: no margin would pass, as the data don't bound the harm."
    return f"{one.metric}: a margin wider than {limit} would have passed."
