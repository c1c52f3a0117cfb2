"""What a method must offer to be used by the workbench; each is a frozen dataclass whose fields are its options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from numpy.random import Generator

from causalbench.numerics.time_regression import TimeRegression
from causalbench.numerics.trimmed_pairs import Pairs
from causalbench.values import CheckResult, Estimate, Fit, FloatArray, IntArray, MethodCard, Uncertainty

D = TypeVar("D")
D_contra = TypeVar("D_contra", contravariant=True)


FEW_CLUSTERS = 5
"""With fewer treated or control clusters than this, cluster-robust errors are refused and not chosen by default."""


MANY_CLUSTERS = 20
"""From this many treated and control clusters up, errors without a small-sample correction hold their size."""


class CountsClusters(Protocol):
    """Data that know how many clusters they have."""

    @property
    def n_treated_clusters(self) -> int:
        """Number of treated clusters."""
        ...

    @property
    def n_control_clusters(self) -> int:
        """Number of control clusters."""
        ...


def inference_by_clusters(data: CountsClusters, *, few: str) -> str:
    """Choose between inferences for errors without a small-sample correction.

    ``cluster`` from 20 treated and 20 control clusters up, ``bootstrap`` from 5, ``few`` below. At nominal 5%, ``cluster``
    for ``group-time`` rejects 4.5, 6.5, 6.7, 9.7 and 13% of placebo laws in 25, 15, 10, 7 and 5 of 50 US states (600 draws,
    Monte Carlo error about 1), ``bootstrap`` 2.4, 4.8, 4.8, 6.0 and 4.8% (250 draws, error about 1.4), with laws drawn
    as in ``benchmarks/cps_placebo_laws.py``.
    """
    fewest = min(data.n_treated_clusters, data.n_control_clusters)
    if fewest >= MANY_CLUSTERS:
        return "cluster"
    return "bootstrap" if fewest >= FEW_CLUSTERS else few


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What an estimator needs of a panel; the audit refuses or warns by it.

    Attributes
    ----------
    min_control, min_pre
        Fewer control units or periods before the launch are refused.
    recommended_pre
        Fewer periods before the launch are warned about; two seasons are always recommended.
    max_cohorts
        Panels with more launch dates are refused; None: any number.
    varying_controls
        Whether control units without any variation carry no information and are dropped with a warning.
    covariates
        Which covariates are used: ``none``, one value per ``unit``, one per ``cell`` (unit and period), or one per cell with
        ``gaps``, where a method says itself what it does about missing ones.
    weights, clusters
        Whether units may carry weights, and belong to clusters.
    cost
        Whether the method answers with the incremental return where the panel has a cost.
    missing_cells
        Whether missing cells may stay (``on_missing = "keep"``).
    moments
        Whether ``fit`` also takes the cohort moments of a balanced panel without covariates and weights.
    shape
        Which data it takes: a ``panel`` of units over periods, or a ``cross-section`` of units that are compared once, of
        which only ``min_control``, ``weights`` and ``clusters`` are asked here.
    """

    min_control: int
    min_pre: int
    recommended_pre: int
    max_cohorts: int | None
    varying_controls: bool
    covariates: Literal["none", "unit", "cell", "gaps"] = "none"
    weights: bool = False
    clusters: bool = False
    cost: bool = False
    missing_cells: bool = False
    moments: bool = False
    shape: Literal["panel", "cross-section"] = "panel"


class Estimator(Protocol[D]):
    """Estimates an effect; keeps no fitted state, so a placebo simply fits again."""

    requires: ClassVar[Requirements]
    card: ClassVar[MethodCard]
    inferences: ClassVar[tuple[str, ...]]

    def sample(self, data: D) -> D:
        """Leave out the units that the options exclude, recording it; called once, before the audit."""
        ...

    def fit(self, data: D) -> Fit:
        """Estimate the average effect on the treated."""
        ...

    def default_inference(self, data: D) -> str:
        """Choose an inference by a rule on the data."""
        ...


@runtime_checkable
class FitsMany(Protocol[D_contra]):
    """An estimator with a fast path for many assignments of the same data: the same numbers as ``fit``."""

    def fit_many(self, data: D_contra, launches: IntArray) -> Iterable[Fit]:
        """Fit once per row of ``launches``, shape (n_assignments, n_units).

        Each value is the index of the unit's first treated period under that assignment, n_periods where it is never
        treated; the treatment that ``data`` itself carries isn't looked at.
        """
        ...


@runtime_checkable
class AffineAfterLaunch(Protocol):
    """An estimator that isn't linear in the outcome, but is in the outcomes after the launch given those before it."""

    @property
    def affine_after_launch(self) -> bool:
        """Always true."""
        ...


@runtime_checkable
class ComparesChanges(Protocol[D_contra]):
    """An estimator whose effect is a difference of weighted means of one number per unit."""

    def changes(self, data: D_contra) -> FloatArray:
        """Return that number, shape (n_units,): treated units' mean less control units' mean is the effect."""
        ...


@runtime_checkable
class WeighsPeriods(Protocol[D_contra]):
    """An estimator with unit and time weights, the latter fitted to outcomes after the launch.

    Taking an effect off a unit that serves as a control therefore moves its weights, and no longer its gap alone.
    """

    def effects_without(self, data: D_contra) -> FloatArray:
        """Return the effect with each unit left out and the weights held, shape (n_units,); NaN where nothing is left."""
        ...


@runtime_checkable
class RegressesOnControls(Protocol[D_contra]):
    """An estimator that predicts the treated mean by regression on the controls' mean over the periods before the launch."""

    def regressions(self, data: D_contra) -> tuple[TimeRegression, TimeRegression | None]:
        """Return that of the outcome and, where the data have a cost, that of the cost; per treated unit and period."""
        ...


@runtime_checkable
class ComparesPairs(Protocol[D_contra]):
    """An estimator of differences between the treated and the control unit of every pair."""

    def pairs(self, data: D_contra) -> tuple[Pairs, float]:
        """Return the differences of all pairs, and the effect per unit and period that a ratio of one stands for."""
        ...


@runtime_checkable
class ImposesNull(Protocol[D_contra]):
    """An estimator that can be refitted to all periods under a hypothetical constant effect."""

    def null_residuals(self, data: D_contra, effects: FloatArray) -> FloatArray:
        """Return residuals of the treated mean, shape (n_effects, n_periods), one row per imposed effect."""
        ...


@runtime_checkable
class LiftsTreated(Protocol[D_contra]):
    """An estimator that imposes no effect on many lifted versions of the same data at once."""

    def lifted_residuals(self, data: D_contra, lifts: FloatArray) -> FloatArray:
        """Return residuals of the treated mean under no effect, shape (n_lifts, n_periods), one row per relative lift."""
        ...


class Inference(Protocol[D]):
    """Quantifies the uncertainty of one fit."""

    card: ClassVar[MethodCard]

    def infer(self, estimator: Estimator[D], data: D, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return interval, p-value and what explains them."""
        ...


def shape_of(member: object) -> str:
    """Return which data a check is about: its ``shape``, ``panel`` where it declares none.

    Examples
    --------
    >>> shape_of(object())
    'panel'
    """
    return str(getattr(member, "shape", "panel"))


class Check(Protocol[D]):
    """Answers one question about an assumption; one about a cross-section has a class attribute ``shape`` that says so."""

    question: ClassVar[str]

    def run(self, estimator: Estimator[D], data: D, estimate: Estimate, *, rng: Generator) -> CheckResult | None:
        """Return a verdict with its reason; None where the question doesn't arise for this estimator."""
        ...
