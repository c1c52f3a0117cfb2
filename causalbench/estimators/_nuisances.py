"""What adjustment predicts on its way to the effect: who is treated, and outcomes of either arm, given covariates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from causalbench.data.cross_section import CrossSection
from causalbench.errors import RefusalError, listing
from causalbench.numerics.average_effect import Sides, Whom, balancing_weights, chance
from causalbench.numerics.two_period import (
    Fitted,
    OverlapError,
    UndeterminedError,
    dependent_columns,
    propensity,
    regress,
)
from causalbench.values import BoolArray, FloatArray, IntArray, frozen_array

Learner = Literal["linear", "forest", "boosting"]

USUAL_FOLDS = 5
_CLIP = 0.01
_CERTAIN = 1 - 1e-6
_TREES = 100
_LEAF = 10
_ROUNDS = 100


class NuisanceOptions(Protocol):
    """Options that decide about predictions; an :class:`~causalbench.estimators.adjustment.Adjustment` has them."""

    @property
    def estimand(self) -> Whom:
        """Whose effect."""
        ...

    @property
    def learner(self) -> Learner:
        """What predicts."""
        ...

    @property
    def n_folds(self) -> int:
        """In how many parts rows are predicted by the others; 1: all rows by all rows."""
        ...

    @property
    def squares(self) -> tuple[str, ...]:
        """Covariates whose squares are added."""
        ...

    @property
    def seed(self) -> int:
        """Seed of folds and trees."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """Covariates as predictors see them.

    Attributes
    ----------
    matrix
        A constant and standardized columns, shape (n, k).
    names
        Of the columns after the constant.
    dropped
        Columns left out because they are constant or a combination of others, with why.
    """

    matrix: FloatArray
    names: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nuisances:
    """Predictions for every unit; each array has shape (n,).

    Attributes
    ----------
    propensity
        Probability of treatment given the covariates.
    outcome0, outcome1
        Outcome without and with the treatment given the covariates; the latter is None for the effect on the treated.
    weights
        Balancing weights, sampling weights included; they sum to one in each arm.
    n_folds, n_clipped
        Number of folds, 1 without cross-fitting; and of propensities that were moved to .99, for all units
        also to .01.
    """

    propensity: FloatArray
    outcome0: FloatArray
    outcome1: FloatArray | None
    weights: FloatArray
    n_folds: int
    n_clipped: int

    def __post_init__(self) -> None:
        for name in ("propensity", "outcome0", "outcome1", "weights"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen_array(getattr(self, name)))

    @property
    def sides(self) -> Sides:
        """The predictions alone."""
        return Sides(propensity=self.propensity, outcome0=self.outcome0, outcome1=self.outcome1)


def nuisances(data: CrossSection, options: NuisanceOptions) -> Nuisances:
    """Predict treatment and outcomes of all units.

    The linear learner is a logit of the treatment without penalty and least squares within each arm; ``forest`` and
    ``boosting`` are scikit-learn's. With folds every unit is predicted by fits to the other folds; a cluster is never
    divided between folds.

    Raises
    ------
    RefusalError
        When covariates separate the arms, an arm has too few units, or an unknown square is named.
    """
    design = design_of(data, options.squares)
    p, n_clipped = propensities(data, design, options)
    groups = folds_of(data, n_folds=options.n_folds, seed=options.seed)
    arms = (False, True) if options.estimand == "ate" else (False,)
    found = [_outcomes(data, design, options, groups, arm=arm) for arm in arms]
    weights = balancing_weights(data.treatment, sampling_weights(data), p, whom=options.estimand)
    return Nuisances(
        propensity=p,
        outcome0=found[0],
        outcome1=found[1] if len(found) > 1 else None,
        weights=weights,
        n_folds=options.n_folds,
        n_clipped=n_clipped,
    )


def sampling_weights(data: CrossSection) -> FloatArray:
    """Return sampling weights of mean 1, shape (n,)."""
    n = len(data.outcome)
    return np.ones(n) if data.weights is None else data.weights / data.weights.mean()


def design_of(data: CrossSection, squares: tuple[str, ...]) -> Design:
    """Standardize covariates and their squares; columns that say nothing more than others are left out and named."""
    columns = [data.covariates[:, i] for i in range(len(data.names))]
    names = list(data.names)
    for name in squares:
        columns.append(data.column(name) ** 2)
        names.append(f"{name} squared")
    n = len(data.outcome)
    cells = np.column_stack([np.ones(n), *map(_standardized, columns)])
    dependent = dependent_columns(cells)
    kept = [j for j in range(1, cells.shape[1]) if j not in dependent]
    dropped = tuple(
        f"{names[j - 1]!r} is constant"
        if others == (0,)
        else f"{names[j - 1]!r} follows from {listing(repr(names[k - 1]) for k in others if k)}"
        for j, others in dependent.items()
    )
    return Design(matrix=cells[:, [0, *kept]], names=tuple(names[j - 1] for j in kept), dropped=dropped)


def logit(data: CrossSection, design: Design) -> Fitted:
    """Fit the treatment's logit on all units, without penalty.

    Raises
    ------
    RefusalError
        When covariates separate the arms.
    """
    try:
        return propensity(data.treatment, design.matrix, sampling_weights(data))
    except OverlapError as error:
        raise _separated(data, design, str(error)) from error


def propensities(data: CrossSection, design: Design, options: NuisanceOptions) -> tuple[FloatArray, int]:
    """Return every unit's probability of treatment, shape (n,), and how many were moved to .99 or .01."""
    groups = folds_of(data, n_folds=options.n_folds, seed=options.seed)
    if options.learner == "linear" and options.n_folds == 1:
        return chance(design.matrix, logit(data, design)), 0
    found = np.empty(len(data.outcome))
    for learn, rows in _splits(groups, canonical_rows(data)):
        if options.learner == "linear":
            part = data.only(_mask(learn, len(found)))
            order = np.sort(learn)
            fit = logit(part, replace(design, matrix=design.matrix[order]))
            found[rows] = chance(design.matrix[rows], fit)
        else:
            model = _classifier(options)
            _fit(model, design.matrix[learn, 1:], data.treatment[learn], sampling_weights(data)[learn])
            found[rows] = model.predict_proba(design.matrix[rows, 1:])[:, 1]
    if options.learner == "linear":
        if found[~data.treatment].max() > _CERTAIN or (
            options.estimand == "ate" and found[data.treatment].min() < 1 - _CERTAIN
        ):
            raise _separated(
                data, design, "fits to the other folds give some units' treatment no chance of being otherwise"
            )
        return found, 0
    # For the treated a control that nobody resembles weighs nothing, which is as it should be.
    clipped = np.clip(found, 0.0 if options.estimand == "att" else _CLIP, 1 - _CLIP)
    return clipped, int((clipped != found).sum())


def folds_of(data: CrossSection, *, n_folds: int, seed: int) -> IntArray:
    """Return each unit's fold, shape (n,): the same whatever the order of rows; clusters stay whole, arms are spread evenly.

    Raises
    ------
    RefusalError
        When an arm has fewer units, or clusters, than there are folds.
    """
    n = len(data.outcome)
    if n_folds == 1:
        return np.zeros(n, dtype=np.int64)
    fewest = min(data.n_treated_clusters, data.n_control_clusters)
    if fewest < n_folds:
        what = "units" if data.cluster is None else "clusters"
        raise RefusalError(
            f"{n_folds} folds need {n_folds} treated and {n_folds} control {what}, the data have "
            f"{data.n_treated_clusters} and {data.n_control_clusters}",
            code="CB-D044",
            remedy='lower folds, or use learner = "linear", which needs none',
        )
    rng = np.random.default_rng([seed, n_folds])
    codes, n_groups = data.cluster_codes, data.n_clusters
    taken = np.bincount(codes, data.treatment, minlength=n_groups) > 0
    order = np.arange(n_groups) if data.cluster is not None else canonical_rows(data)
    fold, start = np.empty(n_groups, dtype=np.int64), 0
    for arm in (True, False):
        members = order[taken[order] == arm]
        fold[rng.permutation(members)] = (start + np.arange(len(members))) % n_folds
        start += len(members)
    return fold[codes]


def canonical_rows(data: CrossSection) -> IntArray:
    """Return an order of units that their order in the table leaves as it is, shape (n,)."""
    keys = [data.outcome, *data.covariates.T[::-1]]
    keys = [array for array in (data.weights, data.before) if array is not None] + keys
    order: IntArray = np.lexsort([*keys, data.treatment])
    return order


def _outcomes(
    data: CrossSection, design: Design, options: NuisanceOptions, groups: IntArray, *, arm: bool
) -> FloatArray:
    """Return predictions of the outcome in one arm for all units, shape (n,)."""
    found = np.empty(len(data.outcome))
    weights, here = sampling_weights(data), data.treatment == arm
    for learn, rows in _splits(groups, canonical_rows(data)):
        members = learn[here[learn]]
        if options.learner == "linear":
            coefficients = _least_squares(data, design, weights * _mask(members, len(found)), arm=arm)
            found[rows] = design.matrix[rows] @ coefficients
        else:
            model = _regressor(options)
            _fit(model, design.matrix[members, 1:], data.outcome[members], weights[members])
            found[rows] = model.predict(design.matrix[rows, 1:])
    return found


def _least_squares(data: CrossSection, design: Design, weights: FloatArray, *, arm: bool) -> FloatArray:
    try:
        who = "treated units" if arm else "control units"
        return regress(data.outcome, design.matrix, weights, who=who).coefficients
    except UndeterminedError as error:
        raise undetermined(error) from error


def undetermined(error: UndeterminedError) -> RefusalError:
    """Return the refusal of a regression without an answer."""
    return RefusalError(
        str(error), code="CB-D044", remedy="leave covariates out, or group levels that are rare in one arm"
    )


def _separated(data: CrossSection, design: Design, message: str) -> RefusalError:
    """Return the refusal of a logit, naming columns that tell some units' treatment by themselves."""
    treated, alone = data.treatment, []
    for name, column in zip(design.names, design.matrix[:, 1:].T, strict=True):
        own, other = column[treated], column[~treated]
        if own.max() < other.min() or own.min() > other.max():
            alone.append(f"{name!r} differs between all treated and all control units")
        elif len(np.unique(column)) == 2 and (np.ptp(own) == 0 or np.ptp(other) == 0):
            arm = "treated" if np.ptp(own) == 0 else "control"
            alone.append(f"{name!r} has one value among {arm} units")
    return RefusalError(
        message + (f": {listing(alone)}" if alone else ""),
        code="CB-D044",
        remedy="leave out units that have no counterpart in the other arm, or covariates that decide about the treatment",
    )


def _standardized(column: FloatArray) -> FloatArray:
    spread = float(column.std())
    found: FloatArray = (column - column.mean()) / spread if spread > 0 else np.ones(len(column))
    return found


def _splits(groups: IntArray, order: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Return rows to learn from and rows to predict, by fold; learners meet rows in the canonical order."""
    if groups.max() == 0:
        return [(order, order)]
    return [(order[groups[order] != k], order[groups[order] == k]) for k in range(int(groups.max()) + 1)]


def _mask(rows: IntArray, n: int) -> BoolArray:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return mask


def _classifier(options: NuisanceOptions) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if options.learner == "forest":
        return RandomForestClassifier(
            n_estimators=_TREES, min_samples_leaf=_LEAF, n_jobs=1, random_state=options.seed % 2**32
        )
    return HistGradientBoostingClassifier(**_boosting(options))


def _regressor(options: NuisanceOptions) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

    if options.learner == "forest":
        return RandomForestRegressor(
            n_estimators=_TREES,
            min_samples_leaf=_LEAF,
            max_features=1 / 3,
            n_jobs=1,
            random_state=options.seed % 2**32,
        )
    return HistGradientBoostingRegressor(**_boosting(options))


def _boosting(options: NuisanceOptions) -> dict[str, Any]:
    return {
        "max_iter": _ROUNDS,
        "learning_rate": 0.05,
        "max_leaf_nodes": 8,
        "min_samples_leaf": 2 * _LEAF,
        "early_stopping": False,
        "random_state": options.seed % 2**32,
    }


def _fit(model: Any, design: FloatArray, target: Any, weights: FloatArray) -> None:
    """Fit a learner on one thread: sums over several come out differently from run to run."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        model.fit(design, target, sample_weight=weights)
