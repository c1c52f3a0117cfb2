"""The readout of a geo experiment: one effect, one p-value and one set per cell, from the design that was run."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.random import Generator

from causalbench.artifacts import plain
from causalbench.data.audit import OnMissing, audit
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, StudyError, listing
from causalbench.geo.delivery import Delivery
from causalbench.geo.factorial import factorial
from causalbench.geo.multiplicity import Contrast, bonferroni, each_cell, each_pair, max_t
from causalbench.geo.randomization import Constant, Drawn, drawn_effects, inverted, return_test
from causalbench.geo.result import RANDOMIZATION, Adjustment, CellReadout, GeoResult, Measured, Received, Tested
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Fit, FloatArray, IntArray, Interval, Uncertainty
from causalbench.wording import number


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    """What every part of a readout looks at; ``rows`` and ``columns`` are those of the panel that was given."""

    panel: Panel
    split: Split
    names: tuple[str, ...]
    n_test: int
    draws: IntArray | None
    cost: FloatArray | None
    estimator: Estimator[Panel]
    inference: str
    inference_options: Mapping[str, Any]
    level: float
    constant: Constant
    rng: Generator
    rows: IntArray
    columns: BoolArray

    @property
    def start(self) -> int:
        return self.panel.n_pre

    def of_cell(self, cell: int) -> Panel:
        return self.split.panel(self.panel, start=self.start, cell=cell)


def analyse(
    panel: Panel,
    split: Split,
    *,
    estimator: Estimator[Panel],
    start: int,
    rng: Generator,
    end: int | None = None,
    cooldown: int = 0,
    names: Sequence[str] | None = None,
    draws: IntArray | None = None,
    inference: str | None = None,
    inference_options: Mapping[str, Any] | None = None,
    level: float = 0.9,
    cost: FloatArray | None = None,
    factors: Mapping[str, Sequence[str]] | None = None,
    delivered: Delivery | None = None,
    constant: Constant = "additive",
    on_missing: OnMissing = "error",
) -> GeoResult:
    """Read a geo experiment out.

    With the design's own draws every p-value and set comes from them (:mod:`causalbench.geo.randomization`); for a chosen
    split from the inference named, or the estimator's own rule. Several cells share the controls: each is compared with them
    while the other cells' markets are left out, and its p-value is given alone and adjusted for all cells (single-step
    max-T over the draws; Bonferroni without draws), each with the set that agrees with it.

    Parameters
    ----------
    panel
        Outcome of history, test and what came after; its own treatment isn't looked at.
    split
        The planned cells, aligned with the panel's units.
    estimator
        Any of the workbench.
    start, end, cooldown
        Index of the first and last period of the test (by default all periods but the cooldown), and the number of periods
        after it whose effect still counts. What comes later is left out.
    names
        Of the treated cells.
    draws
        The design's own draws, aligned with the panel's units; None for a chosen split.
    inference, inference_options
        ``randomization`` (the default with draws) or a name of the inference catalogue.
    cost
        Spend by market and period, shape (n_units, n_periods); by default the panel's.
    factors
        Cells in which each of two changes is on, for a 2 x 2 experiment.
    delivered
        How the test ran (:func:`causalbench.geo.delivery.delivery`); where it says that markets departed from the plan,
        the effect where treatment was received is given too.
    constant
        What the tested effects are: ``additive``, or ``proportional`` to each market's mean before the test.
    on_missing
        What to do with missing cells.

    Raises
    ------
    DataError, RefusalError, StudyError
        Where this can't be answered, with the reason and a remedy.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.simulate import factor_panel
    >>> from causalbench.estimators.did import Did
    >>> panel = factor_panel(n_units=12, n_periods=40, n_treated=6, n_post=10, effect=2.0, rho=0.3, seed=3)
    >>> rng = np.random.default_rng(0)
    >>> cells = panel.ever_treated.astype(int)
    >>> draws = np.array([rng.permutation(cells) for _ in range(499)])
    >>> result = analyse(panel, Split(cells=cells), estimator=Did(), start=30, cooldown=2, draws=draws, rng=rng)
    >>> cell = result.cells[0]
    >>> cell.effect.p_value, round(cell.effect.value, 2), result.randomized, result.last, result.last_counted
    (0.004, 2.41, True, 38, 40)
    """
    last = len(panel.periods) - 1 - cooldown if end is None else end
    _require_window(panel, start, last, cooldown)
    inference = inference or (None if draws is None else RANDOMIZATION)
    cost = panel.cost if cost is None else np.asarray(cost, dtype=float)
    # Over the draws the return is tested beside the effect; elsewhere methods that know costs test it themselves.
    panel = replace(panel, cost=cost if inference != RANDOMIZATION and estimator.requires.cost else None)
    _require_cost(cost, panel)
    run, warnings = _prepare(
        panel,
        split,
        estimator=estimator,
        start=start,
        last=last,
        cooldown=cooldown,
        names=tuple(names or [f"cell {k}" if split.n_cells > 1 else "treated" for k in range(1, split.n_cells + 1)]),
        draws=draws,
        inference=inference,
        inference_options=dict(inference_options or {}),
        level=level,
        cost=cost,
        constant=constant,
        on_missing=on_missing,
        rng=rng,
    )
    drawn = _drawn(run, cost=run.cost) if run.inference == RANDOMIZATION else None
    cells, fits = _cells(run, drawn)
    pairs, refused = _comparisons(run, drawn)
    departed = delivered is not None and bool(delivered.departures)
    return GeoResult(
        metric=panel.metric,
        units=panel.effect_units,
        estimator=_name(estimator),
        options=plain(estimator),
        inference=run.inference,
        level=level,
        randomized=drawn is not None and (delivered is None or delivered.still_random),
        first=panel.periods[start],
        last=panel.periods[last],
        last_counted=run.panel.periods[-1],
        n_draws=0 if drawn is None else len(drawn.effects),
        cells=cells,
        comparisons=pairs,
        factors=() if factors is None else _factors(run, drawn, cells, factors),
        received=_received(run, delivered, cells) if departed and delivered is not None else (),
        delivery=delivered,
        warnings=(*warnings, *refused),
        fits=fits,
    )


def _require_window(panel: Panel, start: int, last: int, cooldown: int) -> None:
    if not 0 < start <= last or cooldown < 0:
        raise StudyError(
            [f"the test runs from period {start} to {last} of {len(panel.periods)}; there must be history before it"],
            where="[geo.test]",
        )
    if last + cooldown >= len(panel.periods):
        missing = last + cooldown + 1 - len(panel.periods)
        raise StudyError(
            [f"cooldown = {cooldown}: the data end {missing} periods before it does, on {panel.periods[-1]}"],
            where="[geo.test]",
        )


def _require_cost(cost: FloatArray | None, panel: Panel) -> None:
    if cost is None:
        return
    if cost.shape != panel.outcome.shape:
        raise ValueError(f"cost has shape {cost.shape}, expected {panel.outcome.shape}")
    unknown: BoolArray = np.isnan(cost)
    if panel.cost is None and unknown.any():
        names = [panel.units[i] for i in np.unique(np.nonzero(unknown)[0]).tolist()]
        raise DataError(
            f"the cost is missing in {int(unknown.sum())} cells of {len(names)} markets: {listing(names)}",
            code="CB-D001",
            remedy="write 0 where nothing was spent, or on_missing = zero",
        )


def _prepare(
    panel: Panel,
    split: Split,
    *,
    estimator: Estimator[Panel],
    start: int,
    last: int,
    cooldown: int,
    names: tuple[str, ...],
    draws: IntArray | None,
    inference: str | None,
    inference_options: Mapping[str, Any],
    level: float,
    cost: FloatArray | None,
    constant: Constant,
    on_missing: OnMissing,
    rng: Generator,
) -> tuple[_Run, tuple[str, ...]]:
    """Keep the window's periods, audit the panel, and keep split, draws and costs aligned with what is left."""
    if split.n_cells < 1 or len(names) != split.n_cells:
        raise StudyError([f"{split.n_cells} treated cells, {len(names)} names"], where="[geo.test] cells")
    periods = np.arange(len(panel.periods)) <= last + cooldown
    whole = _weighted(panel, split, estimator).only(periods=periods).assigned_to(split.treated, start=start)
    moved = split.cells > LEFT_OUT
    if draws is not None:
        moved = moved | (np.asarray(draws) > LEFT_OUT).any(axis=0)
    used, record = audit(
        estimator.sample(whole.only(units=moved)), estimator.requires, method=_name(estimator), on_missing=on_missing
    )
    at, columns = panel.index(used.units), np.isin(np.arange(len(panel.periods)), _places(panel, used))
    warnings = [f"{f.code}: {f.message}; {f.action}" for f in record.findings if f.severity == "warning"]
    gone = int(moved.sum()) - len(at)
    if gone and draws is not None:
        warnings.append(f"{gone} markets of the design can't be used; the draws are those of the others")
    kept = replace(split, cells=split.cells[at], strata=None, unit_weights=None)
    cells = [used.only(units=kept.cells != LEFT_OUT)]
    chosen = inference or estimator.default_inference(cells[0])
    if chosen == RANDOMIZATION and draws is None:
        raise RefusalError(
            "randomization inference needs the design's own draws, and this split wasn't drawn",
            remedy=f"use an inference of {_name(estimator)}: {', '.join(estimator.inferences)}",
        )
    if chosen != RANDOMIZATION and chosen not in estimator.inferences:
        allowed = ", ".join((RANDOMIZATION, *estimator.inferences))
        raise StudyError(
            [f"inference {chosen!r} doesn't go with {_name(estimator)}; allowed: {allowed}"], where="method"
        )
    run = _Run(
        panel=used,
        split=kept,
        names=names,
        n_test=int(columns[start : last + 1].sum()),
        draws=None if draws is None else np.asarray(draws)[:, at],
        cost=None if cost is None else cost[at][:, columns],
        estimator=estimator,
        inference=chosen,
        inference_options=inference_options,
        level=level,
        constant=constant,
        rng=rng,
        rows=at,
        columns=columns,
    )
    return run, tuple(warnings)


def _places(panel: Panel, used: Panel) -> list[int]:
    """Return the numbers of the periods that the audit left."""
    kept = set(used.periods)
    return [i for i, period in enumerate(panel.periods) if period in kept]


def _weighted(panel: Panel, split: Split, estimator: Estimator[Panel]) -> Panel:
    """Give markets the weights of a design that chooses them, where the estimator takes weights."""
    if split.unit_weights is None or not estimator.requires.weights:
        return panel
    positive = (split.unit_weights > 0) | (split.cells == LEFT_OUT)
    if not positive.all():
        raise RefusalError(
            f"{int((~positive).sum())} markets of the design have no weight",
            remedy="leave them out of the cells, or use a method with weights of its own",
        )
    return replace(panel, weights=np.where(split.cells == LEFT_OUT, 1.0, split.unit_weights))


def _name(estimator: Estimator[Panel]) -> str:
    """Return the name of an estimator, as studies write it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(estimator).__name__).lower()


def _drawn(run: _Run, *, cost: FloatArray | None) -> Drawn:
    if run.draws is None:
        raise RefusalError("there are no draws of the design")
    return drawn_effects(run.estimator, run.panel, run.draws, actual=run.split.cells, constant=run.constant, cost=cost)


def _cells(run: _Run, drawn: Drawn | None) -> tuple[tuple[CellReadout, ...], tuple[Fit, ...]]:
    """Read every cell out against the shared controls."""
    panels = [run.of_cell(k) for k in range(1, len(run.names) + 1)]
    fits = tuple(run.estimator.fit(panel) for panel in panels)
    if drawn is None:
        answers = [_infer(run, panel, fit, n_tests=len(fits)) for panel, fit in zip(panels, fits, strict=True)]
    else:
        answers = _over_draws(drawn, each_cell(run.names), level=run.level)
    cells = zip(panels, fits, answers, strict=True)
    return tuple(_cell(run, k, panel, fit, answer, drawn) for k, (panel, fit, answer) in enumerate(cells)), fits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answer:
    """One question's test alone, and adjusted for its family; ``joint`` None in a family of one."""

    alone: Uncertainty
    joint: Uncertainty | None
    adjustment: Adjustment

    def tested(self, name: str, value: float) -> Tested:
        return Tested(
            name=name,
            value=value,
            p_value=self.alone.p_value,
            posterior_tail=self.alone.posterior_tail,
            interval=self.alone.interval,
            adjusted_p=None if self.joint is None else self.joint.p_value,
            simultaneous=None if self.joint is None else self.joint.interval,
            adjustment=self.adjustment,
        )


def _over_draws(drawn: Drawn, contrasts: Sequence[Contrast], *, level: float) -> list[_Answer]:
    """Test contrasts among the design's draws, one by one and all at once."""
    alone = [inverted(drawn, c.weights, c.move, level=level) for c in contrasts]
    if len(contrasts) == 1:
        return [_Answer(alone=alone[0], joint=None, adjustment="none")]
    joint = max_t(drawn, contrasts, level=level)
    return [_Answer(alone=one, joint=both, adjustment="max-t") for one, both in zip(alone, joint, strict=True)]


def _infer(run: _Run, panel: Panel, fit: Fit, *, n_tests: int) -> _Answer:
    """Test an effect by an inference of the catalogue; of several, Bonferroni's p goes with the set of the higher level."""
    member = INFERENCES.create(run.inference, run.inference_options)
    alone: Uncertainty = member.infer(run.estimator, panel, fit, level=run.level, rng=deepcopy(run.rng))
    if n_tests == 1:
        return _Answer(alone=alone, joint=None, adjustment="none")
    higher = 1 - (1 - run.level) / n_tests
    joint: Uncertainty = member.infer(run.estimator, panel, fit, level=higher, rng=deepcopy(run.rng))
    adjusted = replace(
        joint,
        p_value=None if joint.p_value is None else bonferroni(joint.p_value, n_tests),
        interval=None if joint.interval is None else _at_level(joint.interval, run.level),
    )
    return _Answer(alone=alone, joint=adjusted, adjustment="bonferroni")


def _at_level(interval: Interval, level: float) -> Interval:
    """Return the same set with the level that it holds with the others of its family at once."""
    return Interval(segments=interval.segments, level=level, kind=interval.kind)


def _cell(run: _Run, k: int, panel: Panel, fit: Fit, answer: _Answer, drawn: Drawn | None) -> CellReadout:
    """Write one cell's readout: effect, total, lift, decay, return."""
    start, stop = panel.n_pre, panel.n_pre + run.n_test
    gap, found = fit.path.effect, answer.alone
    counterfactual = (panel.treated_mean if fit.treated_mean is None else fit.treated_mean) - fit.effect
    weighted = panel.weights is not None
    total = panel.n_treated_cells if fit.n_cells is None else fit.n_cells
    returned = _returned(run, k, fit, found, drawn)
    decays = stop < len(gap)
    return CellReadout(
        cell=run.names[k],
        markets=panel.treated_units,
        controls=panel.donor_pool,
        effect=answer.tested(run.names[k], fit.effect),
        incremental=_scaled(fit.effect, found.interval, float(total)) if panel.additive and not weighted else None,
        lift=_lift(panel, fit.effect, found.interval, counterfactual),
        counterfactual_mean=counterfactual,
        in_test=float(gap[start:stop].mean()) if decays else None,
        in_cooldown=float(gap[stop:].mean()) if decays else None,
        std_error=found.std_error,
        cost=None if returned.cost is None or weighted else returned.cost * total,
        returned=returned.found,
        return_inference=returned.inference,
        misfit=_misfit(fit.effect, found),
        path=fit.path,
        weights=None if fit.weights is None else _by_name(panel, fit.weights),
        detail={**fit.diagnostics, **found.detail},
        warnings=(*fit.warnings, *found.warnings, *returned.warnings),
    )


def _by_name(panel: Panel, weights: FloatArray) -> dict[str, float]:
    donors = set(panel.donor_pool)
    return {unit: float(weight) for unit, weight in zip(panel.units, weights, strict=True) if unit in donors}


def _scaled(value: float, interval: Interval | None, factor: float) -> Measured:
    """Multiply a number and its set, which may turn around."""
    if interval is None:
        return Measured(value=value * factor, interval=None)
    turned = [(lower * factor, upper * factor) for lower, upper in interval.segments]
    segments = tuple(turned) if factor > 0 else tuple((high, low) for low, high in reversed(turned))
    return Measured(
        value=value * factor, interval=Interval(segments=segments, level=interval.level, kind=interval.kind)
    )


def _lift(panel: Panel, value: float, interval: Interval | None, counterfactual: float) -> Measured | None:
    """Return the effect as a share of the outcome without the test, which is taken as known."""
    if panel.scale == "log":
        grown = None
        if interval is not None:
            segments = tuple((math.expm1(lower), math.expm1(upper)) for lower, upper in interval.segments)
            grown = Interval(segments=segments, level=interval.level, kind=interval.kind)
        return Measured(value=math.expm1(value), interval=grown)
    return _scaled(value, interval, 1 / counterfactual) if counterfactual > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Return:
    """Cost per market and period, the return, how it was tested, and why there is none."""

    cost: float | None = None
    found: Measured | None = None
    inference: Literal["randomization", "ratio", "cost-known"] | None = None
    warnings: tuple[str, ...] = ()


def _returned(run: _Run, k: int, fit: Fit, found: Uncertainty, drawn: Drawn | None) -> _Return:
    """Divide the effect by what was spent, and test that."""
    if run.cost is None:
        return _Return()
    if drawn is not None and drawn.costs is not None:
        spent = float(drawn.costs[0, k])
        try:
            value, tested = return_test(drawn, cell=k, level=run.level)
        except RefusalError as refusal:
            return _Return(cost=spent, warnings=(f"no return: {refusal.message}",))
        measured = Measured(value=value, interval=tested.interval)
        return _Return(cost=spent, found=measured, inference=RANDOMIZATION, warnings=tested.warnings)
    beyond = run.cost[:, run.start :].mean(axis=1) - run.cost[:, : run.start].mean(axis=1)
    spent = float(beyond[run.split.cells == k + 1].mean() - beyond[run.split.control].mean())
    own, interval = fit.diagnostics.get("iroas"), found.detail.get("iroas_interval")
    if own is not None and isinstance(interval, Interval):
        cells = int((run.split.cells == k + 1).sum()) * run.cost[0, run.start :].size
        spent = float(fit.diagnostics.get("cost", spent * cells)) / cells
        return _Return(cost=spent, found=Measured(value=float(own), interval=interval), inference="ratio")
    if abs(spent) <= 1e-10 * float(np.abs(run.cost).max()):
        return _Return(cost=spent, warnings=("no return: the treated markets spent no more than their controls",))
    return _Return(cost=spent, found=_scaled(fit.effect, found.interval, 1 / spent), inference="cost-known")


def _misfit(value: float, found: Uncertainty) -> CheckResult:
    """Hold the estimate against its own set, where the set doesn't hold it by construction."""
    conclude = partial(
        CheckResult, name="misfit", question="Does one constant effect fit what happened during the test?"
    )
    best = found.detail.get("p_maximising_effect")
    if found.interval is not None and found.interval.empty:
        reason = "Misfit: the test rejects every constant effect, so there is no set to report."
        return conclude(verdict="fail", reason=reason, remedy="Look at the effect by period.")
    if found.interval is None or best is None:
        reason = "This inference's set holds the estimate whatever the data; it can't tell."
        return conclude(verdict="not_evaluable", reason=reason, remedy="Look at the effect by period.")
    where = f"The estimate is {number(value)}; the effect that fits best is {number(float(best))}"
    if not found.interval.contains(value):
        remedy = "Read both numbers, and the effect by period."
        return conclude(verdict="review", reason=f"{where}; the set misses the estimate.", remedy=remedy)
    return conclude(verdict="pass", reason=f"{where}; the set holds both.")


def _comparisons(run: _Run, drawn: Drawn | None) -> tuple[tuple[Tested, ...], tuple[str, ...]]:
    """Compare every two cells; without draws, one cell's markets are the controls of the other's."""
    if drawn is not None:
        pairs = each_pair(run.names)
        answers = _over_draws(drawn, pairs, level=run.level) if pairs else []
        tested = (a.tested(c.name, float(c.weights @ drawn.estimates)) for c, a in zip(pairs, answers, strict=True))
        return tuple(tested), ()
    found, refused = [], []
    numbers = list(itertools.combinations(range(1, len(run.names) + 1), 2))
    for j, k in numbers:
        name = f"{run.names[j - 1]} - {run.names[k - 1]}"
        against = np.where(run.split.cells == j, 1, np.where(run.split.cells == k, CONTROL, LEFT_OUT))
        panel = Split(cells=against).panel(run.panel, start=run.start)
        try:
            fit = run.estimator.fit(panel)
            found.append(_infer(run, panel, fit, n_tests=len(numbers)).tested(name, fit.effect))
        except RefusalError as refusal:
            refused.append(f"{name} can't be compared: {refusal.message}")
    return tuple(found), tuple(refused)


def _factors(
    run: _Run, drawn: Drawn | None, cells: Sequence[CellReadout], factors: Mapping[str, Sequence[str]]
) -> tuple[Tested, ...]:
    """Return main effects and interaction; without draws there is no test of them."""
    contrasts = factorial(run.names, factors)
    if drawn is not None:
        answers = _over_draws(drawn, contrasts, level=run.level)
        tested = (a.tested(c.name, float(c.weights @ drawn.estimates)) for c, a in zip(contrasts, answers, strict=True))
        return tuple(tested)
    effects = np.array([cell.effect.value for cell in cells])
    nothing = _Answer(alone=Uncertainty(interval=None, p_value=None), joint=None, adjustment="none")
    return tuple(nothing.tested(c.name, float(c.weights @ effects)) for c in contrasts)


def _received(run: _Run, delivered: Delivery, cells: Sequence[CellReadout]) -> tuple[Received, ...]:
    """Return what the treatment did where it was received."""
    got = delivered.got[run.rows][:, run.columns]
    as_treated = Split(cells=delivered.received[run.rows])
    found = []
    for k, cell in enumerate(cells, 1):
        exposure = (got == k).astype(float)
        share = exposure[:, run.start :].mean(axis=1)
        planned = float(share[run.split.cells == k].mean() - share[run.split.control].mean())
        found.append(
            Received(
                cell=cell.cell,
                planned_exposure=planned,
                per_exposure=_per_exposure(run, k, exposure, cell.effect.value, planned),
                as_treated=_as_treated(run, as_treated, k, share),
            )
        )
    return tuple(found)


def _per_exposure(run: _Run, k: int, exposure: FloatArray, effect: float, planned: float) -> Measured | None:
    if run.inference != RANDOMIZATION:
        return Measured(value=effect / planned, interval=None) if planned > 0 else None
    try:
        value, tested = return_test(_drawn(run, cost=exposure), cell=k - 1, level=run.level)
    except RefusalError:
        return None
    return Measured(value=value, interval=tested.interval)


def _as_treated(run: _Run, received: Split, k: int, share: FloatArray) -> float | None:
    """Estimate by what markets got, per market and period under treatment; None where no side is left."""
    mine = received.cells == k
    if not mine.any() or not received.control.any() or share[mine].mean() <= 0:
        return None
    try:
        fit = run.estimator.fit(received.panel(run.panel, start=run.start, cell=k))
    except RefusalError:
        return None
    return fit.effect / float(share[mine].mean())
