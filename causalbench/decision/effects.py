"""An effect as a decision needs it: on the scale that the study's margins are written in, with its set and its error."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from scipy.special import ndtri

from causalbench.artifacts import plain
from causalbench.study.tables import Metric
from causalbench.values import Estimate, Interval
from causalbench.wording import number, percent

Scale = Literal["relative", "absolute"]
Side = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEffect:
    """Effect on one metric, with everything that it is compatible with.

    Attributes
    ----------
    metric
        Its name.
    value, lower, upper
        Best estimate and ends of the set of effects compatible with the data; ends may be infinite. NaN ends: there is no set.
    level
        Of the set, two-sided; each of its ends errs with at most half of ``1 - level``.
    std_error
        Of the value; where the inference gives none, half the set's width over the normal quantile. None where that isn't finite.
    scale
        ``relative``: shares of the outcome without the launch. ``absolute``: units of the outcome per unit and period.
    good_side
        Which side is good.
    problem
        Why there is no set, a sentence; empty where there is one.
    """

    metric: str
    value: float
    lower: float
    upper: float
    level: float
    std_error: float | None = None
    scale: Scale = "relative"
    good_side: Side = "higher"
    problem: str = ""
    known: bool = field(init=False)

    def __post_init__(self) -> None:
        known = not (math.isnan(self.lower) or math.isnan(self.upper) or math.isnan(self.value))
        if known and self.lower > self.upper:
            raise ValueError(f"the set of {self.metric} runs from {self.lower} to {self.upper}")
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}, it must lie strictly between 0 and 1")
        object.__setattr__(self, "known", known)

    @property
    def gain(self) -> tuple[float, float, float]:
        """Value, lower and upper end, turned so that more is better."""
        if self.good_side == "higher":
            return self.value, self.lower, self.upper
        return -self.value, -self.upper, -self.lower

    def said(self, value: float) -> str:
        """Write an effect of this scale."""
        if not math.isfinite(value):
            return "unbounded"
        return percent(value, sign=True) if self.scale == "relative" else number(value, sign=True)

    @property
    def set_text(self) -> str:
        """The set in words."""
        if not self.known:
            return "not computed"
        low = "unbounded below" if self.lower == -math.inf else self.said(self.lower)
        high = "unbounded above" if self.upper == math.inf else self.said(self.upper)
        return f"{low} to {high}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        result: dict[str, Any] = plain(self)
        return result


def effect_of(estimate: Estimate, metric: Metric, *, interval: Interval | None = None) -> MetricEffect:
    r"""Return the effect of an estimate on the scale that the metric's margins are written in.

    With :math:`Y` the mean outcome of the treated, observed, an effect :math:`\tau` per unit and period means a relative one of

    .. math:: r(\tau) = \frac{\tau}{Y - \tau},

    which ascends in :math:`\tau` below Y. So the set of relative effects is the image of the set of effects, end by end, exact
    at the same level: nothing has to be said about the error of the denominator, because what varies there is :math:`\tau`
    itself. An end at or beyond Y leaves nothing without the launch, and is unbounded. Effects on logarithms are relative ones:
    :math:`r = e^\tau - 1`. The error is carried over by the slope, :math:`Y / (Y - \tau)^2` or :math:`e^\tau`.

    Parameters
    ----------
    estimate
        Of the metric.
    metric
        Its table in the study.
    interval
        Another set in place of the estimate's own, such as one recalibrated on the history; the error then is this set's.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> one = Interval(segments=((-2.0, 10.0),), level=0.9, kind="confidence")
    >>> found = SimpleNamespace(metric="sales", value=5.0, std_error=3.6, interval=one, detail={"counterfactual_mean": 100.0})
    >>> effect = effect_of(found, Metric(name="sales", column="Y"))
    >>> effect.value, round(effect.lower, 4), round(effect.upper, 4)
    (0.05, -0.0187, 0.1053)
    """
    used = estimate.interval if interval is None else interval
    level = 0.95 if used is None else used.level
    absolute = metric.effects == "absolute"
    observed = estimate.detail["counterfactual_mean"] + estimate.value
    logarithmic = metric.logarithmic
    problem = _problem(used, positive=absolute or logarithmic or observed > 0)

    def turned(effect: float) -> float:
        return effect if absolute else relative(effect, observed=observed, logarithmic=logarithmic)

    value = turned(estimate.value) if absolute or logarithmic or observed > 0 else math.nan
    lower = upper = math.nan
    if used is not None and not problem:
        lower, upper = turned(used.segments[0][0]), turned(used.segments[-1][1])
    return MetricEffect(
        metric=estimate.metric,
        value=value,
        lower=lower,
        upper=upper,
        level=level,
        std_error=_error(estimate, used, interval is not None, slope=_slope(estimate.value, observed, metric)),
        scale=metric.effects,
        good_side=metric.good_side,
        problem=problem,
    )


def relative(effect: float, *, observed: float, logarithmic: bool = False) -> float:
    """Return an effect per unit and period as a share of the outcome without the launch; see :func:`effect_of`.

    Examples
    --------
    >>> relative(5.0, observed=105.0), relative(110.0, observed=105.0)
    (0.05, inf)
    """
    if logarithmic:
        return math.expm1(effect) if effect < 700 else math.inf
    if effect == -math.inf:
        return -1.0
    return effect / (observed - effect) if effect < observed else math.inf


def std_error_of(estimate: Estimate, *, interval: Interval | None = None) -> float | None:
    """Return the error of an estimate in its own units: its own, or what its set stands for; None where that isn't finite."""
    used = estimate.interval if interval is None else interval
    return _error(estimate, used, interval is not None, slope=1.0)


def _problem(interval: Interval | None, *, positive: bool) -> str:
    if interval is None:
        return "The inference gives no set of effects here."
    if interval.empty:
        return "No constant effect fits the data."
    return (
        "" if positive else "The outcome isn't positive, so there are no relative effects; write margins as absolute."
    )


def _slope(value: float, observed: float, metric: Metric) -> float:
    if metric.effects == "absolute":
        return 1.0
    if metric.logarithmic:
        return math.exp(min(value, 700.0))
    return observed / (observed - value) ** 2 if observed > 0 and value < observed else math.nan


def _error(estimate: Estimate, interval: Interval | None, replaced: bool, *, slope: float) -> float | None:  # noqa: FBT001
    """Return the error times a slope."""
    own = estimate.std_error
    if replaced or own is None:
        if interval is None or interval.empty or interval.lower is None or interval.upper is None:
            return None
        own = (interval.upper - interval.lower) / (2 * float(ndtri((1 + interval.level) / 2)))
    error = own * slope
    return float(error) if math.isfinite(error) and error > 0 else None
