"""What a geo readout finds: value objects, plain on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from causalbench.artifacts import plain
from causalbench.geo.delivery import Delivery
from causalbench.values import CheckResult, EffectPath, Fit, Interval

RANDOMIZATION: Final = "randomization"
"""Inference over the design's own draws; every other one is a name of the inference catalogue."""

Adjustment = Literal["none", "max-t", "bonferroni"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number with its set; the interval is None where this inference gives none."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A number with one p-value and one set, which come from one family of tests.

    Attributes
    ----------
    name
        What it is the effect of: a cell, a difference of two cells, a factor.
    value
        Per treated market and period.
    p_value, posterior_tail, interval
        For this question alone.
    adjusted_p, simultaneous
        For all questions of its family at once; None where the family has one member.
    adjustment
        How: ``max-t`` over the design's draws, or ``bonferroni``.
    """

    name: str
    value: float
    p_value: float | None
    posterior_tail: float | None
    interval: Interval | None
    adjusted_p: float | None
    simultaneous: Interval | None
    adjustment: Adjustment


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellReadout:
    """What one treated cell did.

    Attributes
    ----------
    effect
        Average effect per treated market and period of the window, its p-value and set, adjusted for the other cells too.
    incremental
        The same over all treated markets and periods; None where outcomes don't add up.
    lift
        The same relative to the outcome without the test, which is taken as known; None where that isn't positive.
    in_test, in_cooldown
        Average effect during the test and in the periods after it; their difference is the decay. None without a cooldown.
    std_error
        Where the inference gives one.
    cost
        What the cell spent beyond its history and its controls, in total; None without costs.
    returned
        Incremental outcome per unit of cost, with its set; None without costs.
    return_inference
        ``randomization``: tested draw by draw; ``ratio``: the estimator's own test of the return (Fieller's set);
        ``cost-known``: the effect's set divided by the cost.
    misfit
        Does one constant effect fit? ``fail`` for an empty set, ``review`` for one that misses the estimate.
    detail
        Numbers of estimator and inference.
    """

    cell: str
    markets: tuple[str, ...]
    controls: tuple[str, ...]
    effect: Tested
    incremental: Measured | None
    lift: Measured | None
    counterfactual_mean: float
    in_test: float | None
    in_cooldown: float | None
    std_error: float | None
    cost: float | None
    returned: Measured | None
    return_inference: Literal["randomization", "ratio", "cost-known"] | None
    misfit: CheckResult
    path: EffectPath
    weights: Mapping[str, float] | None
    detail: Mapping[str, Any]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", dict(self.detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What a cell's treatment did where it was received, for tests that weren't delivered as planned.

    Attributes
    ----------
    cell
        Name of the cell.
    planned_exposure
        Share of the window in which the planned cell's markets were under treatment, less that of its controls.
    per_exposure
        Effect per market and period under treatment: effect of the planned cell over that share, with its set among the
        design's draws (exact if treatment is the only way the plan acts; Imbens, Rosenbaum 2005). None without draws.
    as_treated
        The same by what markets got instead of what was planned for them; no chance decided that, so no test goes with it.
    """

    cell: str
    planned_exposure: float
    per_exposure: Measured | None
    as_treated: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GeoResult:
    """Everything that a geo readout found; :meth:`to_dict` gives plain values.

    Attributes
    ----------
    estimator, options, inference
        How it was computed; ``inference`` is ``randomization`` or a name of the inference catalogue.
    randomized
        Whether the comparison may be called randomized: tested over the design's draws, and nothing departed from the plan.
    first, last, last_counted
        Labels of the first and last period of the test, and of the last period that counts, the cooldown included.
    n_draws
        Assignments behind every p-value, the actual one included; 0 without draws.
    cells
        One by one, each against the shared controls; other cells' markets are left out.
    comparisons
        Differences of every two cells.
    factors
        Main effects and interaction of a 2 x 2 experiment; empty otherwise.
    received
        What the treatment did where it was received; empty where the plan was delivered.
    delivery
        How the test ran; None where nobody checked.
    warnings
        What the reader must know.
    """

    metric: str
    units: str
    estimator: str
    options: Mapping[str, Any]
    inference: str
    level: float
    randomized: bool
    first: Any
    last: Any
    last_counted: Any
    n_draws: int
    cells: tuple[CellReadout, ...]
    comparisons: tuple[Tested, ...]
    factors: tuple[Tested, ...]
    received: tuple[Received, ...]
    delivery: Delivery | None
    warnings: tuple[str, ...]
    fits: tuple[Fit, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values under the names of the fields, the fits left out."""
        values: dict[str, Any] = plain(replace(self, fits=()))
        del values["fits"]
        return values
