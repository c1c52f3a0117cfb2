"""What a launch is worth: the probability of a positive net value, the break-even effect, and what waiting would be worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri

from causalbench.artifacts import plain
from causalbench.numerics.expected_loss import Belief, expected_gain, gain_after_more, heavy_tailed_belief
from causalbench.values import FloatArray, frozen_array
from causalbench.wording import number, percent

ValueVerdict = Literal["worth it", "not worth it", "open"]

LEAST_CHANGE = 0.05
"""Waiting that changes the decision less often than this isn't recommended, however cheap it is; a convention."""

_NO_ERROR = "an effect without a finite error has no probability of being worth it"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prior:
    """What was known about the effects before the data; each metric's by itself.

    Attributes
    ----------
    mean, spread
        Shape (n_metrics,), in units of the effects; the spread is a standard deviation, infinite where nothing was stated: then
        every effect counts as equally likely.
    degrees
        Degrees of freedom of a t prior with that standard deviation, for one metric; None: normal.
    text
        The prior in words.
    """

    mean: FloatArray
    spread: FloatArray
    degrees: float | None = None
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", frozen_array(self.mean))
        object.__setattr__(self, "spread", frozen_array(self.spread, shape=np.shape(self.mean), name="spread"))
        if not (self.spread > 0).all():
            raise ValueError("the prior's spread must be positive")
        if self.degrees is not None and (len(self.mean) != 1 or self.degrees <= 2 or math.isinf(float(self.spread[0]))):
            raise ValueError("a prior with heavy tails needs one metric, a spread and more than 2 degrees of freedom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waiting for more periods before deciding is worth.

    Attributes
    ----------
    periods
        How many more.
    std_error
        Error of the value of the launch after them, over the horizon.
    value
        In money, against the better of shipping and dropping it now; delay and cost of waiting counted. Negative: decide now.
    changes
        Probability that the decision then is another than now.
    """

    periods: int
    std_error: float
    value: float
    changes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetValue:
    """What a launch is worth over its horizon, in money.

    Attributes
    ----------
    estimate, std_error
        Of the net value, from the data alone.
    expected, spread, lower, upper, level
        Mean, standard deviation and central credible interval of what is believed with the prior.
    probability
        Of a positive net value, with the stated prior.
    probability_without_prior
        The same where every effect counts as equally likely beforehand.
    prior
        The stated prior, in words.
    break_even
        Effect on the main metric at which the net value is zero, per unit and period; None where it is worth nothing.
    rel_break_even
        The same as a share of its outcome without the launch.
    loss_if_shipped, loss_if_dropped
        Expected loss of either decision against knowing the truth. The smaller one is what perfect knowledge would be worth.
    by_prior
        Probability of a positive net value at other prior spreads: ``(factor, probability)``.
    exceeded
        Net values and the probability that each is exceeded, with the stated prior; ascending in the value.
    waiting
        By number of more periods.
    verdict
        ``worth it`` where the probability reaches ``ship_if``, ``not worth it`` where it is at most one less that.
    """

    currency: str
    estimate: float
    std_error: float
    expected: float
    spread: float
    lower: float
    upper: float
    level: float
    probability: float
    probability_without_prior: float
    prior: str
    cost: float
    break_even: float | None
    rel_break_even: float | None
    loss_if_shipped: float
    loss_if_dropped: float
    by_prior: tuple[tuple[float, float], ...]
    exceeded: tuple[tuple[float, float], ...]
    waiting: tuple[Waiting, ...]
    ship_if: float
    verdict: ValueVerdict
    sentence: str

    @property
    def best_wait(self) -> Waiting | None:
        """The waiting that is worth most; None where none is worth its cost, or hardly ever changes the decision."""
        worth = [wait for wait in self.waiting if wait.value > 0 and wait.changes >= LEAST_CHANGE]
        return max(worth, key=lambda wait: wait.value, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**plain(self), "best_wait": plain(self.best_wait)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stake:
    """What is at stake: effects, what a unit of each is worth, and what the launch costs.

    Attributes
    ----------
    effects, covariance
        Average effects per unit and period, shape (n_metrics,), the main metric first, and their covariance.
    per_unit
        Money per unit of each metric, shape (n_metrics,), negative where more is worse.
    units, horizon
        Units and periods that the decision is for.
    cost, running_cost
        In money, once and per period.
    baseline
        Outcome of the main metric without the launch, per unit and period; None where it isn't positive.
    currency
        What money is called.
    """

    effects: FloatArray
    covariance: FloatArray
    per_unit: FloatArray
    units: int
    horizon: int
    cost: float = 0.0
    running_cost: float = 0.0
    baseline: float | None = None
    currency: str = "money"

    def __post_init__(self) -> None:
        n = len(self.effects)
        for name, shape in (("effects", (n,)), ("per_unit", (n,)), ("covariance", (n, n))):
            object.__setattr__(self, name, frozen_array(getattr(self, name), shape=shape, name=name))
        if not np.isfinite(self.covariance).all() or not (np.diag(self.covariance) > 0).all():
            raise ValueError(_NO_ERROR)
        if self.units < 1 or self.horizon < 1:
            raise ValueError(f"{self.units} units and {self.horizon} periods hold no value")

    def slopes(self, periods: int) -> FloatArray:
        """Return what one unit of each effect is worth over some periods, shape (n_metrics,)."""
        worth: FloatArray = self.per_unit * self.units * periods
        return worth

    def costs(self, periods: int) -> float:
        """Return what the launch costs over some periods."""
        return self.cost + self.running_cost * periods


def net_value(
    stake: Stake,
    prior: Prior,
    *,
    level: float = 0.95,
    ship_if: float = 0.8,
    waits: Mapping[int, float] | None = None,
    wait_cost: float = 0.0,
) -> NetValue:
    r"""Weigh the value of a launch against its cost.

    With effects :math:`\theta`, worth :math:`w` per unit, n units and H periods, the net value is linear in the effects:

    .. math:: V = n H\, w'\theta - C - c H.

    The estimates are normal around the effects with covariance :math:`\Sigma`, the prior is normal with means :math:`\mu` and
    variances D, so the posterior is normal with (Gelman et al. 2013, Bayesian Data Analysis, section 3.5)

    .. math:: S = (\Sigma^{-1} + D^{-1})^{-1}, \qquad m = S (\Sigma^{-1} x + D^{-1} \mu),

    and :math:`P(V > 0) = \Phi(\bar V / s_V)` with :math:`\bar V = n H w'm - C - cH` and :math:`s_V = n H \sqrt{w'S w}`. A spread
    that isn't stated is infinite. A t prior is integrated numerically. Expected losses are those of
    :func:`causalbench.numerics.expected_loss.expected_gain`.

    **A probability of this kind holds only with its prior**: it is right on average over launches with effects drawn from it.
    The prior should come from past launches; with a flat one, who acts on noisy estimates is too optimistic (winner's curse).

    Waiting N more periods shrinks the error of the estimates from :math:`\Sigma` to :math:`q_N \Sigma` and leaves H - N periods.
    Before they are seen, the posterior mean to come is normal around today's with variance :math:`S - S_N`, so waiting is worth

    .. math:: E[\max(0, \bar V_N)] - \max(0, \bar V) - N \cdot \text{cost of waiting}

    (preposterior analysis; Raiffa and Schlaifer 1961, Applied Statistical Decision Theory, chapter 5). While waiting, the launch
    stays where it is, and its effect there counts for neither side.

    Parameters
    ----------
    stake
        Effects, worth and cost.
    prior
        Of the effects, in the same units.
    level
        Of the credible interval.
    ship_if
        Probability from which on the launch is worth it.
    waits
        By number of more periods: the share :math:`q_N` of the error variance that is left, see :func:`error_left`.
    wait_cost
        What a period of waiting costs beside the delay.

    Examples
    --------
    >>> import numpy as np
    >>> stake = Stake(effects=[2.0], covariance=[[1.0]], per_unit=[1.0], units=1, horizon=1, cost=1.0)
    >>> flat = Prior(mean=[0.0], spread=[np.inf], text="none")
    >>> found = net_value(stake, flat)
    >>> round(found.probability, 4), found.break_even, round(found.loss_if_shipped, 4)  # Phi(1), 1, phi(1) - Phi(-1)
    (0.8413, 1.0, 0.0833)
    """
    slopes, cost = stake.slopes(stake.horizon), stake.costs(stake.horizon)
    believed = _believed(stake, prior)
    sums = _sums(believed, slopes, cost, level)
    flat = replace(prior, spread=np.full(len(prior.mean), np.inf), degrees=None)
    estimate, std_error = float(slopes @ stake.effects) - cost, math.sqrt(slopes @ stake.covariance @ slopes)
    break_even = _break_even(slopes, believed.mean, cost)
    waiting = tuple(
        _waiting(stake, prior, believed, periods, left, wait_cost, now=max(sums.expected, 0.0))
        for periods, left in sorted((waits or {}).items())
    )
    verdict: ValueVerdict = (
        "worth it"
        if sums.probability >= ship_if
        else "not worth it"
        if sums.probability <= 1 - ship_if + 1e-12
        else "open"
    )
    found = NetValue(
        currency=stake.currency,
        estimate=estimate,
        std_error=std_error,
        expected=sums.expected,
        spread=sums.spread,
        lower=sums.lower,
        upper=sums.upper,
        level=level,
        probability=sums.probability,
        probability_without_prior=_sums(_believed(stake, flat), slopes, cost, level).probability,
        prior=prior.text,
        cost=cost,
        break_even=break_even,
        rel_break_even=None if break_even is None or stake.baseline is None else break_even / stake.baseline,
        loss_if_shipped=sums.gain - sums.expected,
        loss_if_dropped=sums.gain,
        by_prior=_by_prior(stake, prior, slopes, cost),
        exceeded=_exceeded(believed, sums, slopes, cost),
        waiting=waiting,
        ship_if=ship_if,
        verdict=verdict,
        sentence="",
    )
    return replace(found, sentence=_sentence(found))


def error_left(*, n_pre: int, n_post: int, more: int, persistence: float) -> float:
    r"""Return which share of the error variance is left after more periods.

    The error of a counterfactual from n_pre periods before for n_post periods after is, to first order, the difference of two
    means of the same stationary noise. With first-order autocorrelation :math:`\rho` the mean of T periods has variance

    .. math:: v(T) \propto \frac{1}{T}\Bigl(\frac{1 + \rho}{1 - \rho} - \frac{2\rho (1 - \rho^T)}{T (1 - \rho)^2}\Bigr),

    so that the share left is :math:`(v(n_{pre}) + v(n_{post} + more)) / (v(n_{pre}) + v(n_{post}))`. What the history doesn't
    know stays, however long one waits. A drift of the treated unit away from its controls would make waiting worth less.

    Parameters
    ----------
    n_pre, n_post, more
        Periods before the launch, since it, and to wait.
    persistence
        First autocorrelation of the gap; from 0 up to below 1, others are moved there.

    Examples
    --------
    >>> round(error_left(n_pre=10**9, n_post=10, more=10, persistence=0.0), 6)
    0.5
    """
    rho = min(max(persistence, 0.0), 0.99)

    def variance(length: int) -> float:
        return ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**length) / (length * (1 - rho) ** 2)) / length

    history = variance(n_pre)
    return (history + variance(n_post + more)) / (history + variance(n_post))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Believed:
    """A posterior: normal, or on a grid."""

    mean: FloatArray
    covariance: FloatArray
    grid: Belief | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """What a belief says about the net value."""

    expected: float
    spread: float
    lower: float
    upper: float
    probability: float
    gain: float


def _believed(stake: Stake, prior: Prior, *, left: float = 1.0) -> _Believed:
    """Combine estimates and prior; ``left`` shrinks the error's variance, for the posterior's covariance."""
    if prior.degrees is not None:
        scale = float(prior.spread[0]) * math.sqrt(1 - 2 / prior.degrees)
        error = math.sqrt(left * float(stake.covariance[0, 0]))
        grid = heavy_tailed_belief(
            float(stake.effects[0]), error, mean=float(prior.mean[0]), scale=scale, degrees=prior.degrees
        )
        return _Believed(mean=np.array([grid.mean]), covariance=np.array([[grid.spread**2]]), grid=grid)
    errors = np.sqrt(
        left * np.diag(stake.covariance)
    )  # in units of the errors, as metrics differ by orders of magnitude
    precision = np.linalg.pinv(left * stake.covariance / np.outer(errors, errors), hermitian=True)
    stated = np.isfinite(prior.spread)
    own = np.where(stated, (errors / np.where(stated, prior.spread, 1.0)) ** 2, 0.0)
    after = np.linalg.pinv(precision + np.diag(own), hermitian=True)
    mean: FloatArray = errors * (after @ (precision @ (stake.effects / errors) + own * prior.mean / errors))
    return _Believed(mean=mean, covariance=after * np.outer(errors, errors))


def _sums(believed: _Believed, slopes: FloatArray, cost: float, level: float) -> _Sums:
    expected = float(slopes @ believed.mean) - cost
    spread = math.sqrt(max(float(slopes @ believed.covariance @ slopes), 0.0))
    if believed.grid is None:
        reach = float(ndtri((1 + level) / 2)) * spread
        probability = float(ndtr(expected / spread)) if spread > 0 else float(expected > 0)
        ends, gain = (expected - reach, expected + reach), expected_gain(expected, spread)
    else:
        slope = float(slopes[0])
        low, high = sorted(slope * believed.grid.quantile(q) - cost for q in ((1 - level) / 2, (1 + level) / 2))
        ends, gain = (low, high), believed.grid.gain(slope, cost)
        share = believed.grid.above(cost / slope) if slope else float(cost < 0)
        probability = share if slope >= 0 else 1 - share
    return _Sums(
        expected=expected, spread=spread, lower=ends[0], upper=ends[1], probability=probability, gain=max(gain, 0.0)
    )


def _break_even(slopes: FloatArray, mean: FloatArray, cost: float) -> float | None:
    """Return the main metric's effect at which nothing is left, the others as believed."""
    if slopes[0] == 0:
        return None
    return float((cost - slopes[1:] @ mean[1:]) / slopes[0])


def _by_prior(stake: Stake, prior: Prior, slopes: FloatArray, cost: float) -> tuple[tuple[float, float], ...]:
    """Return the probability with the main metric's prior half, as, and twice as wide."""
    if not math.isfinite(float(prior.spread[0])):
        return ()
    found = []
    for factor in (0.5, 1.0, 2.0):
        spread = prior.spread * np.where(np.arange(len(prior.spread)) == 0, factor, 1.0)
        found.append((factor, _sums(_believed(stake, replace(prior, spread=spread)), slopes, cost, 0.95).probability))
    return tuple(found)


def _exceeded(believed: _Believed, sums: _Sums, slopes: FloatArray, cost: float) -> tuple[tuple[float, float], ...]:
    """Return net values from their 0.5% to their 99.5% quantile and the probability of more."""
    shares = np.concatenate([[0.005], np.linspace(0.02, 0.98, 49), [0.995]])
    if believed.grid is None:
        values = sums.expected + sums.spread * ndtri(shares)
    else:
        effects = np.array([believed.grid.quantile(share) for share in shares])
        values = np.sort(slopes[0] * effects - cost)
    return tuple((float(value), float(1 - share)) for value, share in zip(values, shares, strict=True))


def _waiting(
    stake: Stake, prior: Prior, now_believed: _Believed, periods: int, left: float, wait_cost: float, *, now: float
) -> Waiting:
    """Value the decision that waits; see :func:`net_value`."""
    if not 0 < left <= 1:
        raise ValueError(
            f"waiting {periods} periods leaves {left} of the error variance, it must be above 0 and at most 1"
        )
    rest = max(stake.horizon - periods, 0)
    slopes, cost = stake.slopes(rest), stake.costs(rest) if rest else 0.0
    whole = stake.slopes(stake.horizon)
    std_error = math.sqrt(left * float(whole @ stake.covariance @ whole))
    expected = float(slopes @ now_believed.mean) - cost
    if left == 1:
        gain, ships = max(expected, 0.0), float(expected > 0)
    elif now_believed.grid is not None:
        new_error = math.sqrt(float(stake.covariance[0, 0]) * left / (1 - left))  # of the new periods by themselves
        gain, ships = gain_after_more(now_believed.grid, slope=float(slopes[0]), cost=cost, new_error=new_error)
    else:
        learnt = now_believed.covariance - _believed(stake, prior, left=left).covariance
        news = math.sqrt(max(float(slopes @ learnt @ slopes), 0.0))
        gain, ships = expected_gain(expected, news), float(ndtr(expected / news)) if news > 0 else float(expected > 0)
    return Waiting(
        periods=periods,
        std_error=std_error,
        value=gain - now - wait_cost * periods,
        changes=1 - ships if now > 0 else ships,
    )


def _sentence(found: NetValue) -> str:
    money = found.currency
    text = (
        f"The probability that the launch is worth more than it costs is {percent(found.probability)} "
        f"({found.prior}); asked for are {percent(found.ship_if)}. Expected net value: "
        f"{number(found.expected, sign=True)} {money} ({100 * found.level:g}% credible {number(found.lower)} to "
        f"{number(found.upper)})."
    )
    if found.rel_break_even is not None:
        text += f" It breaks even at an effect of {percent(found.rel_break_even, sign=True)}."
    best = found.best_wait
    if best is not None:
        text += f" Waiting {best.periods} more periods is worth {number(best.value)} {money}."
    elif found.waiting:
        text += " Waiting longer isn't worth it."
    return text


def prior_text(means: Sequence[float], spreads: Sequence[float], degrees: float | None, source: str | None) -> str:
    """Write a prior on relative effects in words, the main metric's first.

    Examples
    --------
    >>> prior_text([0.0], [0.02], None, "40 past launches")
    'prior: effects around +0.0%, standard deviation 2.0%, normal; from 40 past launches'
    >>> prior_text([0.0], [float("inf")], None, None)
    'no prior stated: every effect counts as equally likely beforehand'
    """
    if not any(math.isfinite(spread) for spread in spreads):
        return "no prior stated: every effect counts as equally likely beforehand"
    law = "normal" if degrees is None else f"heavy tails ({degrees:g} degrees of freedom)"
    each = " and ".join(
        f"effects around {percent(mean, sign=True)}, standard deviation {percent(spread)}"
        if math.isfinite(spread)
        else "nothing stated"
        for mean, spread in zip(means, spreads, strict=True)
    )
    return f"prior: {each}, {law}" + ("" if source is None else f"; from {source}")
