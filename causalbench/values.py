"""Value objects: what flows between the rooms. Frozen, validated on construction, arrays copied and read-only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from causalbench.artifacts import canonical_json, digest, plain

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

SCHEMA = 1

WHEN_ASKED = ("advice", "plan", "backtest", "triangulation", "decision", "grade")
"""Parts of the evidence that are left out where nobody asked for them."""

IntervalKind = Literal["confidence", "credible", "conformal", "placebo"]
Verdict = Literal["pass", "review", "fail", "not_evaluable"]
Severity = Literal["info", "warning"]


def frozen_array(value: Any, *, dtype: type = float, shape: tuple[int, ...] | None = None, name: str = "array") -> Any:
    """Copy an array and make it read-only, refusing a wrong shape."""
    array: NDArray[Any] = np.array(value, dtype=dtype)
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    array.flags.writeable = False
    return array


def rejects(p_value: float, level: float) -> bool:
    """Tell whether a test at this confidence level rejects; the one comparison behind every p-value and interval."""
    return p_value <= 1 - level + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A set of effects that the data don't reject, as one or more closed segments.

    Attributes
    ----------
    segments
        ``((lower, upper), ...)`` ascending and disjoint; ends may be infinite. Empty when every effect is rejected.
    level
        Confidence level, strictly between 0 and 1.
    kind
        What the level promises.
    """

    segments: tuple[tuple[float, float], ...]
    level: float
    kind: IntervalKind
    lower: float | None = field(init=False)
    upper: float | None = field(init=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(IntervalKind):
            raise ValueError(f"kind is {self.kind!r}, it must be one of {', '.join(get_args(IntervalKind))}")
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}, it must lie strictly between 0 and 1")
        ends = [end for segment in self.segments for end in segment]
        if any(math.isnan(end) for end in ends) or ends != sorted(ends):
            raise ValueError(f"segments must ascend and hold no NaN, found {self.segments}")
        object.__setattr__(self, "segments", tuple((float(a), float(b)) for a, b in self.segments))
        object.__setattr__(self, "lower", ends[0] if ends and math.isfinite(ends[0]) else None)
        object.__setattr__(self, "upper", ends[-1] if ends and math.isfinite(ends[-1]) else None)

    @property
    def empty(self) -> bool:
        """Whether every effect is rejected: the model misfits, no effect is compatible with it."""
        return not self.segments

    def contains(self, effect: float) -> bool:
        """Tell whether an effect lies in one of the segments."""
        return any(lower <= effect <= upper for lower, upper in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EffectPath:
    """Observed and counterfactual outcome of the treated mean, period by period; every array has shape (n_periods,).

    Attributes
    ----------
    periods
        Period labels, ascending.
    observed, counterfactual, effect
        In units of the outcome per treated unit; ``effect`` is their difference, before the launch a residual.
    """

    periods: tuple[Any, ...]
    observed: FloatArray
    counterfactual: FloatArray
    effect: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        shape = (len(self.periods),)
        for name in ("observed", "counterfactual"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), shape=shape, name=name))
        object.__setattr__(self, "effect", frozen_array(self.observed - self.counterfactual))


NO_PATH = EffectPath(periods=(), observed=np.empty(0), counterfactual=np.empty(0))
"""The path of a comparison at one time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventStudy:
    """Effects by event time, all measured against one common reference period before the launch.

    Attributes
    ----------
    event_times
        Periods since the launch, ascending, without the reference; shape (K,). 0 is the first treated period.
    values
        Average effect at each event time, in units of the outcome; before the launch a placebo. Shape (K,).
    covariance
        Joint covariance of ``values``, shape (K, K).
    n_treated
        Number of treated units behind each value, shape (K,).
    reference
        The event time that every value is relative to, -1 unless anticipation moves it.
    shares
        Total weight of the treated units behind each value, by which values are averaged; shape (K,). ``n_treated`` where it
        isn't given: every unit counts the same.
    """

    event_times: IntArray
    values: FloatArray
    covariance: FloatArray
    n_treated: IntArray
    reference: int
    shares: FloatArray | None = None

    def __post_init__(self) -> None:
        n = len(self.event_times)
        if self.shares is None:
            object.__setattr__(self, "shares", self.n_treated)
        for name, dtype, shape in (
            ("event_times", np.int64, (n,)),
            ("values", np.float64, (n,)),
            ("covariance", np.float64, (n, n)),
            ("n_treated", np.int64, (n,)),
            ("shares", np.float64, (n,)),
        ):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype=dtype, shape=shape, name=name))
        if (np.diff(self.event_times) <= 0).any() or self.reference in self.event_times:
            raise ValueError(f"event times must ascend and leave out the reference {self.reference}")

    @property
    def std_errors(self) -> FloatArray:
        """Standard error of each value, shape (K,)."""
        errors: FloatArray = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        return errors

    @property
    def n_leads(self) -> int:
        """Number of values before the launch."""
        return int((self.event_times < 0).sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bands:
    """Bands around the values of an event study; each array has shape (K,).

    ``lower`` and ``upper`` hold for each event time alone; ``uniform_lower`` and ``uniform_upper`` for all at once, by the
    quantile ``critical_value`` of the largest absolute t statistic.
    """

    level: float
    lower: FloatArray
    upper: FloatArray
    uniform_lower: FloatArray
    uniform_upper: FloatArray
    critical_value: float

    def __post_init__(self) -> None:
        shape = np.shape(self.lower)
        for name in ("lower", "upper", "uniform_lower", "uniform_upper"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), shape=shape, name=name))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathBands:
    """Bands around the effect by period; each array has shape (n_periods,), NaN where there is no band.

    ``lower`` and ``upper`` hold for the effect in each period alone; ``cumulative_lower`` and ``cumulative_upper`` for its
    running sum since the launch.
    """

    level: float
    kind: IntervalKind
    lower: FloatArray
    upper: FloatArray
    cumulative_lower: FloatArray
    cumulative_upper: FloatArray

    def __post_init__(self) -> None:
        shape = np.shape(self.lower)
        for name in ("lower", "upper", "cumulative_lower", "cumulative_upper"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), shape=shape, name=name))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """What a Bayesian fit believes about the path without the launch.

    Attributes
    ----------
    draws
        Draws of the treated mean's outcome without the launch, noise included; shape (n_draws, n_periods).
    """

    draws: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "draws", frozen_array(self.draws))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimand:
    """What is estimated: for whom, when, in which units and with which weights."""

    kind: Literal["att", "ate"]
    population: str
    weighting: Literal["unit", "population"]
    window: str
    units: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """Result of an estimator, before any statement of uncertainty.

    Attributes
    ----------
    effect
        Average effect per treated unit and period after the launch.
    path
        Observed and counterfactual path of the treated mean.
    weights
        Donor weights aligned with the units of the estimator's sample, shape (n_units,), zero for the treated; None for
        estimators without weights.
    covariance
        Covariance of ``effect``, shape (1, 1), where the estimator has an analytic one.
    influence
        What each unit contributes to the error of ``effect``, shape (n_units,): the contributions add up to it, so that
        the variance is the sum over clusters of their squared sums. None where the estimator has none.
    event_study
        Effects by event time with their joint covariance, where the estimator gives them.
    group_time_covariance
        Joint covariance of the rows of ``diagnostics["group_time"]``, in their order, where the estimator gives them.
    posterior
        Of the path without the launch, for Bayesian estimators.
    diagnostics
        Numbers that belong into ``detail``.
    n_cells, treated_mean
        Number of treated cells that ``effect`` averages over and their (weighted) mean outcome, where they aren't all.
    n_treated
        Number of treated units, where they aren't all that the panel calls treated.
    warnings
        What the reader must know about the estimand or the sample here.
    """

    effect: float
    path: EffectPath
    weights: FloatArray | None = None
    covariance: FloatArray | None = None
    influence: FloatArray | None = None
    event_study: EventStudy | None = None
    group_time_covariance: FloatArray | None = None
    posterior: Posterior | None = None
    n_cells: int | None = None
    treated_mean: float | None = None
    n_treated: int | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not math.isfinite(self.effect):
            raise ValueError(f"effect is {self.effect}")
        object.__setattr__(self, "diagnostics", dict(self.diagnostics))
        for name in ("weights", "covariance", "influence", "group_time_covariance"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen_array(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Uncertainty:
    """What a way of inference says about one fit; p-value and interval come from one family of tests.

    Attributes
    ----------
    interval
        Every effect with ``p > 1 - level``; None when this inference gives none.
    p_value
        Of no effect. None when it can't be computed, or where there is a posterior.
    posterior_tail
        Posterior probability of an effect on the other side of zero, for Bayesian inference, which has no p-value.
    detail
        Numbers that explain it, merged into the estimate's ``detail``.
    warnings
        What the reader must know about this inference here.
    bands
        Around the fit's event study, where there is one and this inference gives them.
    path_bands
        Around the effect by period, where this inference gives them.
    """

    interval: Interval | None
    p_value: float | None
    posterior_tail: float | None = None
    std_error: float | None = None
    bands: Bands | None = None
    path_bands: PathBands | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", dict(self.detail))
        if self.p_value is not None and self.posterior_tail is not None:
            raise ValueError("a posterior has a tail probability, a test has a p-value; found both")
        if self.p_value is not None and not 0 <= self.p_value <= 1:
            raise ValueError(f"p_value is {self.p_value}")
        if self.interval is None or self.p_value is None:
            return
        if rejects(self.p_value, self.interval.level) == self.interval.contains(0.0):
            raise ValueError(f"p = {self.p_value} and the interval {self.interval.segments} disagree about 0")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """The answer for one metric: an effect, how sure, and how it was obtained.

    ``value`` is the average effect per treated unit and period; ``detail["incremental"]`` the total over all of them.
    """

    metric: str
    estimand: Estimand
    estimator: str
    inference: str
    inference_options: Mapping[str, Any]
    value: float
    std_error: float | None
    interval: Interval | None
    p_value: float | None
    posterior_tail: float | None
    path: EffectPath
    event_study: EventStudy | None
    bands: Bands | None
    path_bands: PathBands | None
    weights: Mapping[str, float] | None
    detail: Mapping[str, Any]
    warnings: tuple[str, ...]
    n_treated: int
    n_control: int
    n_pre: int
    n_post: int

    @property
    def rejected(self) -> bool | None:
        """Whether no effect is rejected at the interval's level; None without a p-value."""
        if self.p_value is None or self.interval is None:
            return None
        return rejects(self.p_value, self.interval.level)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values under the names of the fields."""
        result: dict[str, Any] = plain(self)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Verdict on one assumption. ``not_evaluable`` never counts as a pass."""

    name: str
    question: str
    verdict: Verdict
    reason: str
    remedy: str = ""
    statistic: float | None = None
    threshold: float | None = None
    table: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that data handling met: what, how many, where, and what was done about it."""

    code: str
    severity: Severity
    message: str
    action: str
    count: int = 0
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the estimator was given, and everything that changed on the way.

    Attributes
    ----------
    launches
        ``(first treated period, number of units)`` of every cohort used, ascending.
    """

    findings: tuple[Finding, ...]
    treated: tuple[str, ...]
    launches: tuple[tuple[Any, int], ...]
    coverage: Mapping[str, int]
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCard:
    """What a reader must know about a method; the report and METHODS.md are written from it.

    Attributes
    ----------
    equation
        LaTeX, one display equation.
    std_error
        Where the uncertainty comes from, or how an interval is formed.
    assumptions, not_when, edge_cases
        One sentence each.
    references
        ``(citation, link)`` pairs.
    """

    title: str
    summary: str
    equation: str
    std_error: str
    assumptions: tuple[str, ...]
    not_when: tuple[str, ...]
    edge_cases: tuple[str, ...]
    references: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Readout:
    """Everything that a run found. ``evidence.json`` is :meth:`to_dict`, and pages and figures read only that.

    ``graph`` is the verdict on every node of the study's causal graph, by metric; None for a study without one.

    What leads to a decision is there where it was asked for, and missing from the evidence where it wasn't:

    advice
        Which method may answer, which not, and why.
    plan
        The sealed plan against what was run.
    backtest
        How wrong each method was where nothing had been launched, and the interval that follows.
    triangulation
        Several methods' answers, combined by how they err together.
    decision
        Recommendation, guardrails, trades, value, and the effect over time.
    grade
        How far the evidence carries, from A to D, with reasons.
    """

    study: Mapping[str, Any]
    audits: Mapping[str, Audit]
    estimates: tuple[Estimate, ...]
    checks: Mapping[str, tuple[CheckResult, ...]]
    methods: tuple[MethodCard, ...]
    headline: Mapping[str, Any]
    provenance: Mapping[str, Any]
    graph: Mapping[str, Any] | None = None
    advice: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None
    backtest: Mapping[str, Any] | None = None
    triangulation: Mapping[str, Any] | None = None
    decision: Mapping[str, Any] | None = None
    grade: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence as plain JSON values."""
        found = {"schema": SCHEMA, **plain(self)}
        return {name: value for name, value in found.items() if value is not None or name not in WHEN_ASKED}

    def to_json(self) -> str:
        """Return the bytes of ``evidence.json``."""
        return canonical_json(self.to_dict(), indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical evidence."""
        return digest(self.to_dict())
