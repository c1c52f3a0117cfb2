"""The decision on a launch: verdicts on its metrics by their roles, what it is worth, what was paid for what, and one action."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from causalbench.artifacts import plain
from causalbench.decision.dynamics import Dynamics
from causalbench.decision.effects import effect_of, std_error_of
from causalbench.decision.guardrails import Guardrail, guardrail
from causalbench.decision.joint import Joint
from causalbench.decision.recommendation import Recommendation, recommend
from causalbench.decision.trade import ExchangeRate, exchange_rate
from causalbench.decision.value import NetValue, Prior, Stake, error_left, net_value, prior_text
from causalbench.decision.verdict import MetricVerdict, judge
from causalbench.errors import RefusalError
from causalbench.study import Metric, Study
from causalbench.study.decision_tables import Value
from causalbench.values import Estimate, FloatArray, Interval

_SPENT = -1.0
"""What a unit of a cost metric is worth, where ``per_unit`` doesn't say: its unit is money, and it is spent."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """What was decided about a launch, and by which rules.

    Attributes
    ----------
    verdicts
        On every success, driver and cost metric, in the study's order.
    guardrails
        On every guardrail.
    value
        Of the launch, where the study has ``[value]``.
    trades
        Exchange rates of ``[[trade]]``.
    recommendation
        One action.
    joint
        How the errors of the metrics move together; None where they count as uncorrelated.
    dynamics
        How the effect on the first success metric goes on; None where nobody asked.
    notes
        What couldn't be computed and why.
    """

    verdicts: tuple[MetricVerdict, ...]
    guardrails: tuple[Guardrail, ...]
    value: NetValue | None
    trades: tuple[ExchangeRate, ...]
    recommendation: Recommendation
    joint: Joint | None
    dynamics: Dynamics | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "guardrails": [one.to_dict() for one in self.guardrails],
            "value": None if self.value is None else self.value.to_dict(),
            "trades": [trade.to_dict() for trade in self.trades],
            "recommendation": self.recommendation.to_dict(),
            "joint": None if self.joint is None else self.joint.to_dict(),
            "dynamics": None if self.dynamics is None else self.dynamics.to_dict(),
            "notes": plain(self.notes),
        }


def decide_launch(
    study: Study,
    estimates: Mapping[str, Estimate],
    *,
    intervals: Mapping[str, Interval] | None = None,
    joint: Joint | None = None,
    dynamics: Dynamics | None = None,
    too_early: str = "",
    persistence: float = 0.0,
) -> Decision:
    """Decide on a launch by the study's roles, margins, value and trades.

    Parameters
    ----------
    study
        Of the launch.
    estimates
        By metric.
    intervals
        Sets to decide by in place of the estimates' own, by metric, such as those recalibrated on the history.
    joint
        How the errors of the metrics move together; None: uncorrelated, and a note says so where it matters.
    dynamics
        How the effect on the first success metric goes on. Where it is shown to fade, the horizon is valued at what stays.
    too_early
        Why no success may be claimed yet; empty where it may.
    persistence
        First autocorrelation of the gap before the launch, for the value of waiting.
    """
    given = intervals or {}
    verdicts, guardrails = [], []
    for metric in study.metric:
        effect = effect_of(estimates[metric.name], metric, interval=given.get(metric.name))
        if metric.margin is not None:
            guardrails.append(guardrail(effect, margin=metric.margin))
        else:
            verdicts.append(judge(effect, worthwhile=metric.worthwhile, too_early=too_early))
    notes: list[str] = []
    value = None
    if study.value is not None:
        try:
            value = value_of(study, estimates, intervals=given, joint=joint, dynamics=dynamics, persistence=persistence)
        except RefusalError as refusal:
            notes.append(f"The value of the launch isn't computed: {refusal.message}.")
    if value is not None and study.value is not None:
        notes += _supposed(study.value, estimates[_first(study)])
    trades, refused = _trades(study, estimates, given, joint)
    several = study.trade or (value is not None and len(_worth(study)) > 1)
    if several and joint is None:
        notes.append("Errors of the metrics count as uncorrelated: no joint placebo launches are at hand.")
    success = next(verdict for verdict in verdicts if verdict.metric == _first(study))
    return Decision(
        verdicts=tuple(verdicts),
        guardrails=tuple(guardrails),
        value=value,
        trades=trades,
        recommendation=recommend(success, guardrails, value=value, dynamics=dynamics),
        joint=joint,
        dynamics=dynamics,
        notes=(*notes, *refused),
    )


def value_of(
    study: Study,
    estimates: Mapping[str, Estimate],
    *,
    intervals: Mapping[str, Interval] | None = None,
    joint: Joint | None = None,
    dynamics: Dynamics | None = None,
    persistence: float = 0.0,
) -> NetValue:
    """Return what a launch is worth by the study's ``[value]``; see :func:`causalbench.decision.value.net_value`.

    Where ``dynamics`` shows that the effect on the first success metric fades, what stays and its error take the place of the
    average so far, which overstates what the horizon brings. A cost metric that ``per_unit`` doesn't name counts as money
    spent. A prior on relative effects is one on effects with the outcome without the launch, as estimated, as its unit.

    Raises
    ------
    RefusalError
        When an effect has no finite error, an average is weighted by population so that units times average is no total, or a
        prior is stated for a metric that isn't positive.
    """
    value = _stated(study)
    worth = _worth(study)
    errors = {name: _finite_error(estimates[name], (intervals or {}).get(name)) for name in worth}
    effects = {name: estimates[name].value for name in worth}
    main = estimates[next(iter(worth))]
    if main.estimand.weighting == "population":
        raise RefusalError("the average is weighted by population, so it doesn't add up over units")
    baselines = [float(estimates[name].detail["counterfactual_mean"]) for name in worth]
    if dynamics is not None and dynamics.steady_state is not None and next(iter(worth)) == _first(study):
        stays, unit = dynamics.steady_state, baselines[0] if dynamics.scale == "relative" else 1.0
        effects[_first(study)] = stays.value * unit
        errors[_first(study)] = (stays.upper - stays.lower) * unit / (2 * float(ndtri((1 + dynamics.level) / 2)))
    stake = Stake(
        effects=np.array(list(effects.values())),
        covariance=_covariance(errors, joint),
        per_unit=np.array(list(worth.values())),
        units=value.units or main.n_treated,
        horizon=value.horizon,
        cost=value.cost,
        running_cost=value.running_cost,
        baseline=baselines[0] if baselines[0] > 0 else None,
        currency=value.currency,
    )
    waits = {
        more: error_left(n_pre=main.n_pre, n_post=main.n_post, more=more, persistence=persistence)
        for more in value.wait or ()
    }
    level = 0.95 if main.interval is None else main.interval.level
    return net_value(
        stake,
        _prior(value, list(worth), baselines),
        level=level,
        ship_if=value.ship_if,
        waits=waits,
        wait_cost=value.wait_cost,
    )


def _supposed(value: Value, estimate: Estimate) -> list[str]:
    """Say what the value supposes about units that the data say nothing about."""
    if value.units is None or value.units <= estimate.n_treated:
        return []
    return [
        f"The value supposes that {value.units:,} units would react as the {estimate.n_treated:,} with the launch did."
    ]


def _stated(study: Study) -> Value:
    if study.value is None:
        raise RefusalError("the study names no value", remedy="add [value] with per_unit and horizon")
    return study.value


def _first(study: Study) -> str:
    """Return the name of the metric that makes the headline."""
    return next(metric.name for metric in study.metric if metric.role == "success")


def _worth(study: Study) -> dict[str, float]:
    """Return money per unit by metric, the main metric first."""
    if study.value is None:
        return {}
    first = _first(study)
    given = study.value.per_unit
    worth = dict(given) if isinstance(given, Mapping) else {first: given}
    spent = {metric.name: _SPENT for metric in study.metric if metric.role == "cost" and metric.name not in worth}
    ordered = {first: worth[first]} if first in worth else {}
    return {**ordered, **worth, **spent}


def _finite_error(estimate: Estimate, interval: Interval | None) -> float:
    error = std_error_of(estimate, interval=interval)
    if error is None:
        raise RefusalError(
            f"the effect on {estimate.metric} has no finite error",
            remedy="use an inference with a standard error, or one whose set is bounded",
        )
    return error


def _covariance(errors: Mapping[str, float], joint: Joint | None) -> FloatArray:
    if joint is None:
        return np.diag(np.array(list(errors.values())) ** 2)
    return joint.covariance(errors)


def _prior(value: Value, names: list[str], baselines: list[float]) -> Prior:
    """Turn the study's prior on relative effects into one on effects per unit and period."""

    def of(given: Mapping[str, float] | float | None, name: str, otherwise: float) -> float:
        if isinstance(given, Mapping):
            return given.get(name, otherwise)
        return otherwise if given is None or name != names[0] else given

    spreads = [of(value.prior_sd, name, math.inf) for name in names]
    means = [of(value.prior_mean, name, 0.0) for name in names]
    for name, spread, baseline in zip(names, spreads, baselines, strict=True):
        if math.isfinite(spread) and baseline <= 0:
            raise RefusalError(
                f"{name} isn't positive without the launch, so a prior on relative effects means nothing"
            )
    return Prior(
        mean=np.array(means) * np.array(baselines),
        spread=np.array([s * b if math.isfinite(s) else math.inf for s, b in zip(spreads, baselines, strict=True)]),
        degrees=value.prior_df,
        text=prior_text(means, spreads, value.prior_df, value.prior_source),
    )


def _trades(
    study: Study, estimates: Mapping[str, Estimate], intervals: Mapping[str, Interval], joint: Joint | None
) -> tuple[tuple[ExchangeRate, ...], tuple[str, ...]]:
    """Return exchange rates, and why some aren't there."""
    declared: dict[str, Metric] = {metric.name: metric for metric in study.metric}
    found, notes = [], []
    for trade in study.trade:
        try:
            pair = (trade.gain, trade.loss)
            errors = {name: _finite_error(estimates[name], intervals.get(name)) for name in pair}
        except RefusalError as refusal:
            notes.append(f"No price of {trade.gain} in {trade.loss}: {refusal.message}.")
            continue
        interval = intervals.get(trade.gain) or estimates[trade.gain].interval
        found.append(
            exchange_rate(
                (trade.gain, estimates[trade.gain].value),
                (trade.loss, estimates[trade.loss].value),
                _covariance(errors, joint),
                level=0.95 if interval is None else interval.level,
                gain_side=declared[trade.gain].good_side,
                loss_side=declared[trade.loss].good_side,
                worth=trade.worth,
            )
        )
    return tuple(found), tuple(notes)
