"""The five-way verdict on a metric: better, worse, equivalent, not shown, or too early to say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from scipy.special import ndtri

from causalbench.artifacts import plain
from causalbench.decision.effects import MetricEffect

FiveWay = Literal["better", "worse", "equivalent", "not shown", "too early"]

_POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict:
    """Verdict on one metric.

    Attributes
    ----------
    metric, effect
        Its name, and what was found.
    verdict
        ``better`` or ``worse``: no effect and all on the other side are rejected. ``equivalent``: every effect that would be
        worthwhile or as bad is rejected. ``not shown``: neither. ``too early``: no success may be claimed yet.
    worthwhile
        Smallest effect worth having, in size; None where the study names none.
    worthwhile_shown
        Whether every smaller effect is rejected; None without ``worthwhile``.
    detectable
        Size of effect that such data show 4 times in 5, by the normal law; None without an error.
    sentence
        The verdict in words.
    """

    metric: str
    effect: MetricEffect
    verdict: FiveWay
    worthwhile: float | None
    worthwhile_shown: bool | None
    detectable: float | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        result: dict[str, Any] = plain(self)
        return result


def judge(effect: MetricEffect, *, worthwhile: float | None = None, too_early: str = "") -> MetricVerdict:
    r"""Judge one effect by its set.

    Let S be the set of effects compatible with the data, turned so that more is better, and :math:`\delta` the smallest
    worthwhile effect. Then the verdict is

    .. math::
        \text{equivalent if } S \subset (-\delta, \delta), \quad \text{better if } S \subset (0, \infty), \quad
        \text{worse if } S \subset (-\infty, 0), \quad \text{else not shown.}

    Every claim says that the truth lies in a region that S lies in, so **all claims together are wrong with probability at most
    1 - level**, whatever the truth: whenever one is wrong, S misses the truth. So nothing has to be corrected for asking several
    questions of one set (three-sided testing; Goeman, Solari, Stijnen 2010, Statistics in Medicine 29, 2117-2125). The order
    matters: a tiny effect that differs from zero is called equivalent, for it isn't worth having. ``better`` doesn't say
    worthwhile; ``worthwhile_shown`` does, where :math:`S \subset [\delta, \infty)`.

    Too early (fewer periods than a season, a metric not yet mature) withholds better, equivalent and not shown, but never an
    alarm: worse stands.

    Parameters
    ----------
    effect
        On the scale of ``worthwhile``.
    worthwhile
        Positive; None: equivalence can't be claimed.
    too_early
        Why no success may be claimed yet, a sentence; empty where it may.

    Raises
    ------
    ValueError
        When ``worthwhile`` isn't positive.

    Examples
    --------
    >>> found = MetricEffect(metric="sales", value=0.004, lower=0.001, upper=0.007, level=0.95)
    >>> [judge(found, worthwhile=size).verdict for size in (0.01, 0.005, None)]
    ['equivalent', 'better', 'better']
    """
    if worthwhile is not None and not worthwhile > 0:
        raise ValueError(f"worthwhile is {worthwhile}, it must be positive")
    verdict = _verdict(effect, worthwhile, early=bool(too_early))
    shown = None if worthwhile is None else effect.known and effect.gain[1] >= worthwhile
    reach = float(ndtri((1 + effect.level) / 2) + ndtri(_POWER))
    detectable = None if effect.std_error is None else reach * effect.std_error
    return MetricVerdict(
        metric=effect.metric,
        effect=effect,
        verdict=verdict,
        worthwhile=worthwhile,
        worthwhile_shown=shown,
        detectable=detectable,
        sentence=_sentence(effect, verdict, worthwhile, shown, detectable, too_early),
    )


def _verdict(effect: MetricEffect, worthwhile: float | None, *, early: bool) -> FiveWay:
    _, lower, upper = effect.gain
    size = 0.0 if worthwhile is None else worthwhile
    inside = effect.known and -size < lower and upper < size
    if effect.known and upper < 0 and not inside:
        return "worse"
    if early:
        return "too early"
    if inside:
        return "equivalent"
    return "better" if effect.known and lower > 0 else "not shown"


def _sentence(
    effect: MetricEffect,
    verdict: FiveWay,
    worthwhile: float | None,
    shown: bool | None,  # noqa: FBT001
    detectable: float | None,
    too_early: str,
) -> str:
    name = effect.metric
    found = f"{effect.said(effect.value)} (compatible at {100 * effect.level:g}%: {effect.set_text})"
    size = "" if worthwhile is None else effect.said(worthwhile).lstrip("+")
    if not effect.known:
        return f"Nothing is shown about {name}. {effect.problem}"
    if verdict == "too early":
        return f"Too early to say for {name}. {too_early}"
    if verdict == "equivalent":
        return f"{name} is practically unchanged: {found}; every effect of {size} or more is ruled out at this level."
    if verdict == "better":
        enough = {
            None: "",
            True: f" At least {size} is shown.",
            False: f" Whether it is at least {size} is not shown.",
        }[shown]
        return f"{name} is better: {found}.{enough}"
    if verdict == "worse":
        return f"{name} is worse: {found}."
    seen = (
        ""
        if detectable is None or not math.isfinite(detectable)
        else (f" Data like these show effects of {effect.said(detectable).lstrip('+')} 4 times in 5.")
    )
    return f"No change of {name} is shown: {found}. That is not proof of none.{seen}"
