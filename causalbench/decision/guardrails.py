"""Guardrails: is a metric shown not to be harmed by more than its margin allows?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.special import ndtr, ndtri

from causalbench.artifacts import plain
from causalbench.decision.effects import MetricEffect

GuardrailVerdict = Literal["pass", "fail", "not shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """Verdict on one guardrail.

    Attributes
    ----------
    metric, margin
        Its name, and the largest harm allowed, on the scale of ``effect``; its sign is the bad side.
    effect
        What was found.
    verdict
        ``pass``: harm as large as the margin is rejected. ``fail``: only harm beyond the margin is compatible with the data.
        ``not shown``: both are.
    harm_shown
        Whether no effect and every good one are rejected, whatever the margin: a harm within it may pass and be real.
    passes_from
        The tightest margin that these data would let pass; infinite where nothing is bounded.
    power
        How often such data let a launch without any effect pass at this margin, by the normal law; None without an error.
    sentence
        The verdict in words.
    """

    metric: str
    margin: float
    effect: MetricEffect
    verdict: GuardrailVerdict
    harm_shown: bool
    passes_from: float
    power: float | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        result: dict[str, Any] = plain(self)
        return result


def guardrail(effect: MetricEffect, *, margin: float) -> Guardrail:
    r"""Test non-inferiority at a margin.

    Let :math:`\theta` be the effect, turned so that more is better, and :math:`-\Delta` the margin. The null is harm beyond it:

    .. math:: H_0: \theta \le -\Delta \quad\text{against}\quad H_1: \theta > -\Delta.

    It is rejected when the whole set of effects lies above the margin. The set holds the truth with probability ``level``, so
    where its ends err alike a launch that does harm the metric by :math:`\Delta` or more passes with probability at most
    ``(1 - level) / 2``: 2.5% at 95%, the customary one-sided level (ICH E9, 1998, section 3.3.2; Piaggio et al. 2012, JAMA 308,
    2594-2604). It is at most ``1 - level`` whatever the ends. A wide set neither passes nor fails: **not shown is no pass**. The
    power for a launch without effect is :math:`\Phi(\Delta / s - z_{(1 + level) / 2})` by the normal law with error s.

    Don't choose the margin after seeing the data, and don't read a pass as "no harm": harm within the margin passes.

    Parameters
    ----------
    effect
        On the scale of the margin.
    margin
        Not zero; negative where a fall is bad.

    Raises
    ------
    ValueError
        When the margin is zero.

    Examples
    --------
    >>> found = MetricEffect(metric="dau", value=-0.05, lower=-0.07, upper=-0.03, level=0.95, std_error=0.01)
    >>> guardrail(found, margin=-0.02).verdict, guardrail(found, margin=-0.08).verdict, guardrail(found, margin=-0.06).verdict
    ('fail', 'pass', 'not shown')
    """
    if margin == 0 or not math.isfinite(margin):
        raise ValueError(f"margin is {margin}, it must be a number other than 0")
    side = 1.0 if margin < 0 else -1.0
    allowed = -abs(margin)
    ends = sorted((side * effect.lower, side * effect.upper)) if effect.known else [-math.inf, math.inf]
    verdict: GuardrailVerdict = "pass" if ends[0] > allowed else "fail" if ends[1] < allowed else "not shown"
    quantile = float(ndtri((1 + effect.level) / 2))
    power = None if effect.std_error is None else float(ndtr(abs(margin) / effect.std_error - quantile))
    return Guardrail(
        metric=effect.metric,
        margin=margin,
        effect=effect,
        verdict=verdict,
        harm_shown=ends[1] < 0,
        passes_from=side * min(ends[0], 0.0),
        power=power,
        sentence=_sentence(effect, margin, verdict, harm=ends[1] < 0, power=power),
    )


def overall(guardrails: Sequence[Guardrail]) -> GuardrailVerdict:
    """Judge all guardrails together: pass where every one passes, fail where one fails.

    To pass, every null must be rejected, so each is tested at its own level and the whole errs no more often than one: an
    intersection-union test (Berger 1982, Technometrics 24, 295-300). A fail needs no more than one, and K guardrails of launches
    that sit exactly on their margins sound K times as many false alarms; away from the margins there are hardly any. Without
    guardrails there is nothing to fail.

    Examples
    --------
    >>> overall(())
    'pass'
    """
    verdicts = [one.verdict for one in guardrails]
    if "fail" in verdicts:
        return "fail"
    return "not shown" if "not shown" in verdicts else "pass"


def _sentence(
    effect: MetricEffect, margin: float, verdict: GuardrailVerdict, *, harm: bool, power: float | None
) -> str:
    name, allowed, level = effect.metric, effect.said(margin), f"{100 * effect.level:g}%"
    if not effect.known:
        return f"{name}: not shown to stay within {allowed}. {effect.problem}"
    found = f"{effect.said(effect.value)} ({level} set {effect.set_text})"
    if verdict == "fail":
        return f"{name} FAILED its margin of {allowed}: {found}, all of it beyond the margin."
    if verdict == "pass":
        real = " A change for the worse is shown, within the margin." if harm else ""
        return f"{name} passes its margin of {allowed}: {found}, none of it beyond the margin.{real}"
    seen = "" if power is None else f" Data like these let a harmless launch pass {_share(power)} of the time."
    return f"{name}: not shown to stay within its margin of {allowed}: {found} reaches beyond it.{seen}"


def _share(power: float) -> str:
    return "less than 1%" if power < 0.01 else f"{100 * power:.0f}%"
