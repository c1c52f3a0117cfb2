"""Several metrics in one decision: weighted sums, exchange rates, and the effect on a ratio of two metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri

from causalbench.artifacts import plain
from causalbench.numerics.ratio_sets import fieller_set
from causalbench.values import FloatArray, Interval
from causalbench.wording import interval_text, number

TradeVerdict = Literal["worth it", "not worth it", "not shown", "free"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighedSum:
    """A weighted sum of effects: an overall evaluation criterion.

    Attributes
    ----------
    weights
        By metric.
    value, std_error, interval, p_value
        Of the sum; by the normal law.
    parts
        What each metric adds to the sum.
    """

    weights: Mapping[str, float]
    value: float
    std_error: float
    interval: Interval
    p_value: float
    parts: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        result: dict[str, Any] = plain(self)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRate:
    """How much of one metric was paid for a unit of another.

    Attributes
    ----------
    gain, loss
        Names of the metrics.
    gained, lost
        Per unit and period, turned so that positive is a gain of the one and a loss of the other.
    rate
        Units of ``loss`` paid for one unit of ``gain``; None where nothing was gained.
    interval
        All rates that the data don't reject; may be unbounded.
    worth
        What the study says one unit of ``gain`` is worth, in units of ``loss``; None where it doesn't.
    verdict
        ``worth it`` where every rate of the set is below ``worth``, ``not worth it`` where none is, ``free`` where a gain is
        shown and every rate of the set is negative: the other metric gains too. Else ``not shown``.
    sentence
        In words: ship only if one unit is worth at least so much.
    """

    gain: str
    loss: str
    gained: float
    lost: float
    rate: float | None
    interval: Interval
    worth: float | None
    verdict: TradeVerdict
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        result: dict[str, Any] = plain(self)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioEffect:
    """Relative effect on a ratio of two metrics.

    Attributes
    ----------
    value, std_error
        As a share of the ratio without the launch.
    interval
        Set of such effects.
    method
        ``delta`` or ``placebos``.
    """

    value: float
    std_error: float
    interval: Interval
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        result: dict[str, Any] = plain(self)
        return result


def weighed_sum(
    effects: Mapping[str, float], covariance: FloatArray, *, weights: Mapping[str, float], level: float
) -> WeighedSum:
    r"""Return a weighted sum of effects with its error.

    .. math:: O = w'\hat\theta, \qquad s^2 = w' \Sigma w,

    with the joint covariance :math:`\Sigma`: metrics that err together count so. Weights are chosen before the data are seen; an
    overall evaluation criterion in money is :mod:`causalbench.decision.value` (Kohavi, Tang, Xu 2020, Trustworthy Online
    Controlled Experiments, chapter 7).

    Parameters
    ----------
    effects
        By metric.
    covariance
        Shape (n_metrics, n_metrics), in their order; see :meth:`causalbench.decision.joint.Joint.covariance`.
    weights
        By metric; one that isn't named counts nothing.
    level
        Of the interval.

    Raises
    ------
    ValueError
        When weights name other metrics, or the sum has no error.

    Examples
    --------
    >>> import numpy as np
    >>> found = weighed_sum({"a": 2.0, "b": 1.0}, np.array([[1.0, 0.5], [0.5, 1.0]]), weights={"a": 1, "b": -1}, level=0.95)
    >>> found.value, found.std_error
    (1.0, 1.0)
    """
    unknown = sorted(set(weights) - set(effects))
    if unknown:
        raise ValueError(f"weights name no metric: {', '.join(unknown)}")
    w = np.array([weights.get(name, 0.0) for name in effects])
    values = np.array(list(effects.values()))
    variance = float(w @ covariance @ w)
    if not variance > 0:
        raise ValueError("the weighted sum has no error")
    value, error = float(w @ values), math.sqrt(variance)
    return WeighedSum(
        weights=dict(weights),
        value=value,
        std_error=error,
        interval=_normal(value, error, level),
        p_value=2 * float(ndtr(-abs(value) / error)),
        parts={name: float(part) for name, part in zip(effects, w * values, strict=True)},
    )


def exchange_rate(
    gain: tuple[str, float],
    loss: tuple[str, float],
    covariance: FloatArray,
    *,
    level: float,
    gain_side: Literal["higher", "lower"] = "higher",
    loss_side: Literal["higher", "lower"] = "higher",
    worth: float | None = None,
) -> ExchangeRate:
    r"""Return how much of one metric is paid for a unit of another.

    With g gained of the one and l lost of the other, per unit and period, the rate paid is :math:`\rho = l / g`, and the launch
    is worth it for whoever values one unit of the gain at more than :math:`\rho` units of the loss. The set holds every rate that

    .. math:: z(\rho) = \frac{\hat l - \rho \hat g}{\sqrt{V_{ll} - 2 \rho V_{gl} + \rho^2 V_{gg}}}

    doesn't reject (Fieller 1954, see :mod:`causalbench.numerics.ratio_sets`). It is unbounded where the gain itself isn't shown:
    then no rate can be named. The verdict for a stated worth v doesn't need the ratio: :math:`z(v)` tests :math:`v g = l`, so it
    is *worth it* where :math:`\hat l - v \hat g` is significantly negative.

    Parameters
    ----------
    gain, loss
        Name and effect of each metric, per unit and period.
    covariance
        Of both effects, shape (2, 2), the gain first.
    level
        Of the set, two-sided.
    gain_side, loss_side
        Which side is good in each metric.
    worth
        What one unit of the gain is worth in units of the loss.

    Examples
    --------
    >>> import numpy as np
    >>> found = exchange_rate(("flagged", -90.0), ("dau", -45.0), np.diag([9.0, 25.0]), level=0.95, gain_side="lower")
    >>> found.rate, found.verdict
    (0.5, 'not shown')
    """
    signs = (1.0 if gain_side == "higher" else -1.0, -1.0 if loss_side == "higher" else 1.0)
    gained, lost = signs[0] * gain[1], signs[1] * loss[1]
    order = np.array([[covariance[1, 1], covariance[0, 1]], [covariance[0, 1], covariance[0, 0]]])
    turned = order * np.outer(signs[::-1], signs[::-1])
    quantile = float(ndtri((1 + level) / 2))
    segments = fieller_set(lost, gained, turned, quantile=quantile)
    shown = gained > quantile * math.sqrt(turned[1, 1])
    verdict = _traded(lost, gained, turned, quantile, shown=shown, segments=segments, worth=worth)
    interval = Interval(segments=segments, level=level, kind="confidence")
    rate = lost / gained if gained > 0 else None
    return ExchangeRate(
        gain=gain[0],
        loss=loss[0],
        gained=gained,
        lost=lost,
        rate=rate,
        interval=interval,
        worth=worth,
        verdict=verdict,
        sentence=_trade_sentence(
            gain[0], loss[0], rate, interval, worth, verdict, shown=shown, less=gain_side == "lower"
        ),
    )


def ratio_effect(
    numerator: tuple[float, float], denominator: tuple[float, float], *, correlation: float, level: float
) -> RatioEffect:
    r"""Return the relative effect on a ratio from those on its parts, by the delta method on the logarithms.

    With relative effects :math:`r_n, r_d` the ratio changes by

    .. math:: r = \frac{1 + r_n}{1 + r_d} - 1, \qquad
        \mathrm{var}\,\log(1 + r) \approx a_n^2 + a_d^2 - 2 \rho a_n a_d, \quad a = \frac{s}{1 + r}

    (Deng, Knoblich, Lu 2018, KDD 233-242, section 3). The interval is formed on the logarithm, which can't pass -100%. It is
    for parts far from zero; with errors of more than about 20% of a part use :func:`ratio_effect_of_placebos`.

    Parameters
    ----------
    numerator, denominator
        Relative effect and its error.
    correlation
        Of the two errors, see :class:`causalbench.decision.joint.Joint`.
    level
        Of the interval.

    Examples
    --------
    >>> found = ratio_effect((0.10, 0.01), (0.10, 0.01), correlation=1.0, level=0.95)
    >>> round(found.value, 12), round(found.std_error, 12)
    (0.0, 0.0)
    """
    if min(numerator[0], denominator[0]) <= -1 or not -1 <= correlation <= 1:
        raise ValueError("relative effects must lie above -1, and the correlation between -1 and 1")
    logs = math.log1p(numerator[0]) - math.log1p(denominator[0])
    a, b = numerator[1] / (1 + numerator[0]), denominator[1] / (1 + denominator[0])
    error = math.sqrt(max(a**2 + b**2 - 2 * correlation * a * b, 0.0))
    reach = float(ndtri((1 + level) / 2)) * error
    ends = (math.expm1(logs - reach), math.expm1(logs + reach))
    return RatioEffect(
        value=math.expm1(logs),
        std_error=error * math.exp(logs),
        interval=Interval(segments=(ends,), level=level, kind="confidence"),
        method="delta",
    )


def ratio_effect_of_placebos(numerator: float, denominator: float, errors: FloatArray, *, level: float) -> RatioEffect:
    r"""Return the relative effect on a ratio with the joint errors of placebo launches.

    Placebo launches b change the ratio by :math:`q_b = (1 + e_{nb}) / (1 + e_{db})` though nothing happened. The set holds every
    r whose ratio :math:`(1 + \hat r) / (1 + r)` isn't more extreme than they are, with B placebos and the launch itself counted:

    .. math:: p(r) = \frac{1 + \#\{b : |\log q_b| \ge |\log\frac{1 + \hat r}{1 + r}|\}}{1 + B}.

    It needs no law and no small errors; it needs at least 1 / (1 - level) - 1 placebos and is unbounded with fewer.

    Parameters
    ----------
    numerator, denominator
        Relative effects.
    errors
        Joint relative errors of the same placebo launches, shape (2, n_placebos), above -1.
    level
        Of the set.
    """
    if np.min(errors) <= -1 or min(numerator, denominator) <= -1:
        raise ValueError("relative effects and errors must lie above -1")
    logs = math.log1p(numerator) - math.log1p(denominator)
    sizes = np.sort(np.abs(np.log1p(errors[0]) - np.log1p(errors[1])))[::-1]
    # p > 1 - level holds while at least so many placebos are as extreme.
    needed = math.floor((1 - level) * (1 + len(sizes)) + 1e-9)
    reach = float(sizes[needed - 1]) if 1 <= needed <= len(sizes) else math.inf
    ends = (math.expm1(logs - reach), math.expm1(logs + reach) if math.isfinite(reach) else math.inf)
    return RatioEffect(
        value=math.expm1(logs),
        std_error=float(np.sqrt(np.mean(sizes**2))) * math.exp(logs),
        interval=Interval(segments=(ends,), level=level, kind="placebo"),
        method="placebos",
    )


def _normal(value: float, error: float, level: float) -> Interval:
    reach = float(ndtri((1 + level) / 2)) * error
    return Interval(segments=((value - reach, value + reach),), level=level, kind="confidence")


def _traded(
    lost: float,
    gained: float,
    covariance: FloatArray,
    quantile: float,
    *,
    shown: bool,
    segments: tuple[tuple[float, float], ...],
    worth: float | None,
) -> TradeVerdict:
    if shown and segments[-1][1] < 0:
        return "free"
    if worth is None:
        return "not shown"
    surplus = worth * gained - lost
    error = math.sqrt(max(covariance[0, 0] - 2 * worth * covariance[0, 1] + worth**2 * covariance[1, 1], 0.0))
    if abs(surplus) <= quantile * error:
        return "not shown"
    return "worth it" if surplus > 0 else "not worth it"


def _trade_sentence(
    gain: str,
    loss: str,
    rate: float | None,
    interval: Interval,
    worth: float | None,
    verdict: TradeVerdict,
    *,
    shown: bool,
    less: bool,
) -> str:
    if not shown or rate is None:
        return f"A gain in {gain} isn't shown, so no price in {loss} can be named for it."
    one = f"one unit {'less' if less else 'more'} of {gain}"
    if verdict == "free":
        return f"{loss} isn't paid for {gain}: it gains too."
    known = f"{100 * interval.level:g}% set {interval_text(plain(interval))}"
    if rate <= 0:
        text = f"No loss of {loss} is estimated for {gain}; the price of {one} may be up to the end of its {known}."
    else:
        text = f"Ship only if {one} is worth at least {number(rate)} units of {loss} ({known})."
    if worth is None:
        return text
    ends = {
        "worth it": "which is more than it costs.",
        "not worth it": "which is less than it costs.",
        "not shown": "and whether that is more than it costs is not shown.",
    }
    return f"{text} The study values it at {number(worth)}, {ends[verdict]}"
