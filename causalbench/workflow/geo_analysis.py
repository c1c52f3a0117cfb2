"""The readout of a geo test: delivery, effects, other methods, looks and what they add up to, as one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from causalbench.artifacts import canonical_json, digest, plain
from causalbench.data.audit import audit
from causalbench.data.panel import Panel
from causalbench.decision.claim import claim
from causalbench.decision.geo_grade import geo_grade
from causalbench.decision.geo_headline import Looked, geo_headline, switchback_headline
from causalbench.errors import DataError, RefusalError, listing
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.estimators.synthetic_control import SyntheticControl
from causalbench.geo.analysis import analyse
from causalbench.geo.delivery import Delivery, delivery
from causalbench.geo.monitoring import LEAST_DRAWS, monitor
from causalbench.geo.randomization import Drawn, drawn_effects
from causalbench.geo.result import RANDOMIZATION, GeoResult
from causalbench.geo.showcase import showcase
from causalbench.geo.split import LEFT_OUT
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator
from causalbench.study import GeoStudy, Metric
from causalbench.values import SCHEMA, CheckResult, Finding, FloatArray, IntArray, MethodCard
from causalbench.workflow import geo_plan, geo_trial
from causalbench.workflow.estimate import Answer, answer, create_estimator, generator
from causalbench.workflow.geo_curve import curve_of
from causalbench.workflow.geo_methods import compare
from causalbench.workflow.geo_plan import Plan, plan_of
from causalbench.workflow.geo_switchback import analyse_switchback
from causalbench.workflow.geo_trial import Trial, read_trial, test_of
from causalbench.workflow.provenance import python_version, versions
from causalbench.workflow.reading import read_history
from causalbench.workflow.readout import run_checks

Tell = Callable[[str], None]

N_DRAWS = 1_999
"""Assignments of the design that the test is compared with, besides the actual one."""

_DELIVERY = (
    "verdict",
    "still_random",
    "departures",
    "planned_counts",
    "actual_counts",
    "spend",
    "spending_controls",
    "split_ratio",
    "sentences",
    "grade_cap",
)
_COVERED = ("interval-holds-estimate", "method-agreement")
"""Checks whose question the readout answers itself."""

_TRENDS = ("pre-trend", "pre-trend-equivalence", "trend-sensitivity")
"""Checks of what randomization makes true: that the groups would have moved alike."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GeoReadout:
    """Everything that the readout of a geo test found, as plain JSON values; pages and figures read only that."""

    evidence: Mapping[str, Any]

    @property
    def headline(self) -> Mapping[str, Any]:
        """Verdict, sentence, answer, reason and reservations."""
        found: Mapping[str, Any] = self.evidence["headline"]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence."""
        return dict(self.evidence)

    def to_json(self) -> str:
        """Return the bytes of ``evidence.json``."""
        return canonical_json(self.evidence, indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical evidence."""
        return digest(self.to_dict())


def analyse_study(study: GeoStudy, *, tell: Tell = lambda _: None) -> GeoReadout:
    """Read a geo test out, from the ledger of its design or from somebody else's split.

    The analysis that the study names makes the headline. What differs from a sealed plan is listed, and stamps the whole
    readout exploratory. Where the design drew its markets at random, p-values and sets count its own draws; elsewhere they are
    those of the method's inference.

    Parameters
    ----------
    study
        A study with ``[geo.test]``.
    tell
        Called with one line at the start of every stage.

    Returns
    -------
    GeoReadout
        The evidence; ``to_dict()`` is what ``evidence.json`` holds.

    Raises
    ------
    StudyError, DataError
        Where the study says nothing about the test, or something that the table contradicts.
    RefusalError
        Where the planned analysis can't answer.
    LockError
        Where the ledger was changed after it was sealed.

    Examples
    --------
    >>> from causalbench.data.datasets import study_path
    >>> found = analyse_study(GeoStudy.load(study_path("geolift_test")))
    >>> found.headline["verdict"]
    'not shown'
    """
    if study.geo.switchback is not None:
        return _switchback(study, tell)
    tell(f"{study.study.name}: reading the table and how the test ran (the first use compiles kernels, some seconds)")
    trial = read_trial(study)
    plan = plan_of(study, trial)
    estimator: Estimator[Panel] = create_estimator(plan.estimator, plan.options, seed=study.run.seed)
    draws = _draws(study, trial, N_DRAWS)
    tell("checking delivery")
    delivered = _delivery(trial, draws)
    reader = _Reader(
        study=study, trial=trial, plan=plan, estimator=estimator, draws=draws, delivered=delivered, tell=tell
    )
    results = [reader.read(metric) for metric in study.metric]
    looked = _looks(study, trial, plan, estimator)
    main = next(result for result, metric in zip(results, study.metric, strict=True) if metric.role == "success")
    said = geo_headline(
        main.result,
        drawn=trial.randomized,
        deviations=plan.deviations,
        delivery_verdict=delivered.verdict,
        checks=main.checks,
        notes=trial.window.notes,
        looked=looked,
    )
    graded = geo_grade(
        verdict=said["verdict"],
        level=study.geo.level,
        randomized=trial.randomized,
        delivery=delivered,
        plan="none" if trial.ledger is None else "kept",
        checks=main.checks,
        deviations=plan.deviations,
    )
    evidence = {
        "schema": SCHEMA,
        "kind": "geo-readout",
        "study": study.to_dict(),
        "trial": geo_trial.described(trial),
        "plan": geo_plan.described(plan, trial),
        "delivery": _delivery_said(delivered),
        "results": [result.evidence for result in results],
        "looks": [row.said() for row in looked],
        "switchback": None,
        "showcase": _showcase(study, trial, plan),
        "methods": _cards(main.result),
        "headline": claim(said, graded),
        "grade": graded.to_dict(),
        "provenance": _provenance(study, {result.result.metric: result.fingerprint for result in results}),
    }
    return GeoReadout(evidence=plain(evidence))


def _switchback(study: GeoStudy, tell: Tell) -> GeoReadout:
    """Read a switchback out, whose markets are their own controls; it has no cells and no other methods."""
    found = analyse_switchback(study, tell=tell)
    evidence = {
        "schema": SCHEMA,
        "kind": "geo-readout",
        "study": study.to_dict(),
        "trial": None,
        "plan": {"ledger": None, "deviations": [], "exploratory": False},
        "delivery": None,
        "results": [],
        "looks": [],
        "switchback": found,
        "showcase": None,
        "methods": [RANDOMIZATION_CARD],
        "headline": switchback_headline(found),
        "provenance": _provenance(study, {}),
    }
    return GeoReadout(evidence=plain(evidence))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Result:
    """What was found on one metric."""

    result: GeoResult
    checks: tuple[tuple[str, CheckResult], ...]
    evidence: dict[str, Any]
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reader:
    """Reads the metrics of one test out."""

    study: GeoStudy
    trial: Trial
    plan: Plan
    estimator: Estimator[Panel]
    draws: IntArray | None
    delivered: Delivery
    tell: Tell

    def read(self, metric: Metric) -> _Result:
        """Estimate, compare with other methods and check assumptions on one metric."""
        self.tell(f"{metric.name}: estimating")
        history = self._history(metric)
        result = self._analyse(history)
        self.tell(f"{metric.name}: other methods for the same test, and the assumptions of this one")
        rows, returns = compare(self.study, self.trial, self.plan, result, history=history, estimator=self.estimator)
        checks, findings = self._checks(history, result)
        evidence = {
            "metric": metric.name,
            "role": metric.role,
            **result.to_dict(),
            "delivery": None,
            "curves": self._curves(history, result),
            "methods": rows,
            "returns": returns,
            "checks": [{"cell": cell, **plain(check)} for cell, check in checks],
            "findings": findings,
        }
        return _Result(
            result=result,
            checks=tuple(checks),
            evidence=evidence,
            fingerprint=history.fingerprint,
        )

    def _history(self, metric: Metric) -> Panel:
        if metric.name == self.trial.history.metric:
            return self.trial.history
        whole = read_history(self.study, metric)
        if whole.units != self.trial.history.units:
            raise DataError(
                f"{metric.name} has {len(whole.units)} markets, {self.trial.history.metric} has {len(self.trial.history.units)}",
                remedy="read all metrics from the same rows",
            )
        kept = set(self.trial.history.periods)
        return whole.only(periods=np.array([period in kept for period in whole.periods]))

    def _analyse(self, history: Panel) -> GeoResult:
        test, window = test_of(self.study), self.trial.window
        return analyse(
            self.trial.paired(history) if self.plan.estimator in geo_plan.PAIRED else history,
            self.trial.split,
            estimator=self.estimator,
            start=window.start,
            end=window.end - 1,
            cooldown=window.n_cooldown,
            names=self.trial.cells,
            draws=self.draws,
            inference=self._inference(),
            inference_options=self.plan.inference_options,
            level=self.plan.level,
            cost=_cost(history, self.study.data.on_missing),
            factors=test.factors,
            delivered=self.delivered,
            on_missing=self.study.data.on_missing,
            rng=generator(self.study.run.seed, history.metric, "geo", "analysis"),
        )

    def _inference(self) -> str | None:
        """Return the inference asked for; the method's own rule where there are no draws to test with."""
        asked = self.plan.inference
        if asked is None and self.draws is not None:  # a method of pairs, which are the design's own
            return self.estimator.default_inference(self.trial.paired(self.trial.panel()))
        return None if asked == RANDOMIZATION and self.draws is None else asked

    def _curves(self, history: Panel, result: GeoResult) -> list[Any]:
        drawn: Drawn | None = None
        if result.inference == RANDOMIZATION and self.draws is not None:
            drawn = _drawn(self.study, history, self.trial, self.draws, self.estimator)
        paired = self.trial.paired(history) if self.plan.estimator in geo_plan.PAIRED else history
        scheme = str(self.plan.inference_options.get("scheme", "blocks"))
        numbers = range(1, len(result.cells) + 1)
        panels = [_audited(self.study, self.trial.panel(k, history=paired), self.estimator) for k in numbers]
        return [
            curve_of(result, k, panel=panel, estimator=self.estimator, scheme=scheme, drawn=drawn)
            for k, panel in enumerate(panels)
        ]

    def _checks(self, history: Panel, result: GeoResult) -> tuple[list[tuple[str, CheckResult]], tuple[Finding, ...]]:
        """Check the assumptions of the method on every cell; the p-values of these checks aren't those of the test."""
        found: list[tuple[str, CheckResult]] = []
        findings: dict[Finding, None] = {}
        for k, cell in enumerate(result.cells, start=1):
            panel = self.trial.panel(k, history=history)
            paired = self.plan.estimator in geo_plan.PAIRED
            answered = self._answer(self.trial.paired(panel) if paired else panel, result)
            if answered is None:
                continue
            findings |= dict.fromkeys(answered.audit.findings)
            needless = _TRENDS if result.randomized else ()
            checks = run_checks(answered, seed=self.study.run.seed, leave_out=(*_COVERED, *needless))
            found += [(cell.cell, check) for check in checks]
        return found, tuple(findings)

    def _answer(self, panel: Panel, result: GeoResult) -> Answer | None:
        """Return the method's own answer, on which the checks run; None where its inference refuses."""
        own = None if result.inference == RANDOMIZATION else result.inference
        try:
            return answer(
                panel,
                self.plan.estimator,
                inference=own,
                inference_options=self.plan.inference_options if own else None,
                level=self.plan.level,
                seed=self.study.run.seed,
                on_missing=self.study.data.on_missing,
                options=self.plan.options,
            )
        except RefusalError:
            return None


def _cost(history: Panel, on_missing: str) -> FloatArray | None:
    """Return what was spent in every cell; cells without a row are 0 where the study counts them so.

    Raises
    ------
    DataError
        Where a cell has an outcome and no cost, or would be filled in without one.
    """
    if history.cost is None:
        return None
    unknown = np.isnan(history.cost)
    bad = unknown & ~np.isnan(history.outcome) if on_missing != "impute" else unknown
    if bad.any():
        where = [history.units[i] for i in np.flatnonzero(bad.any(axis=1)).tolist()]
        raise DataError(
            f"the cost is missing in {int(bad.sum())} cells of {len(where)} markets: {listing(where)}",
            code="CB-D004",
            remedy="write 0 where nothing was spent",
        )
    filled: FloatArray = np.nan_to_num(history.cost)
    return filled


def _draws(study: GeoStudy, trial: Trial, n_draws: int) -> IntArray | None:
    """Return assignments of the same design, shape (n_draws, n_units) of the history; None where there are none.

    Of a ledger they are its selector's own. Of a split that is only said to be random, cells are exchanged among all markets
    of the test, within pairs or strata where they are known.
    """
    if not trial.randomized:
        return None
    units = trial.history.units
    if trial.ledger is None:
        return exchanged(trial, n_draws, rng=generator(study.run.seed, "geo", "draws"))
    if set(trial.markets) - set(units):
        return None
    seed = int(trial.ledger.content["seed"])
    drawn = trial.ledger.draws(trial.seen, n_draws, rng=generator(seed, "geo", "draws"))
    place = {market: i for i, market in enumerate(trial.markets)}
    moved = np.full((len(drawn), len(units)), LEFT_OUT, dtype=np.int64)
    known = [i for i, unit in enumerate(units) if unit in place]
    moved[:, known] = drawn[:, [place[units[i]] for i in known]]
    return moved


def exchanged(trial: Trial, n_draws: int, *, rng: np.random.Generator) -> IntArray:
    """Exchange the cells among all markets of the test, within strata where there are any; shape (n_draws, n_units)."""
    split = trial.split
    strata = np.zeros(len(split.cells), dtype=np.int64) if split.strata is None else split.strata
    drawn: IntArray = np.tile(split.cells, (n_draws, 1))
    inside = split.cells != LEFT_OUT
    for stratum in np.unique(strata[inside]).tolist():
        at = np.flatnonzero(inside & (strata == stratum))
        drawn[:, at] = rng.permuted(drawn[:, at], axis=1)
    return drawn


def _drawn(study: GeoStudy, history: Panel, trial: Trial, draws: IntArray, estimator: Estimator[Panel]) -> Drawn:
    """Estimate every cell under every draw, as the analysis did, for the curve of p-values."""
    moved = (trial.split.cells > LEFT_OUT) | (draws > LEFT_OUT).any(axis=0)
    panel = history.only(units=moved).assigned_to(trial.split.treated[moved], start=trial.window.start)
    used = _audited(study, panel, estimator)
    at = history.index(used.units)
    return drawn_effects(estimator, used, draws[:, at], actual=trial.split.cells[at])


def _audited(study: GeoStudy, panel: Panel, estimator: Estimator[Panel]) -> Panel:
    """Return what an estimator may use of a panel, missing cells repaired as the study says."""
    kept, _ = audit(
        estimator.sample(panel), estimator.requires, method=study.method.name, on_missing=study.data.on_missing
    )
    return kept


def _delivery(trial: Trial, draws: IntArray | None) -> Delivery:
    window, units = trial.window, trial.history.units
    kept = np.isin(units, trial.markets)
    if trial.actual is not None:
        kept |= (trial.actual > 0).any(axis=1)
    aligned = None
    if draws is not None:
        place = {unit: i for i, unit in enumerate(units)}
        aligned = draws[:, [place[market] for market in trial.markets]]
    return delivery(
        trial.planned,
        None if trial.actual is None else trial.actual[kept],
        markets=trial.markets,
        panel=trial.history.only(units=kept),
        names=trial.cells,
        start=window.start,
        end=window.end - 1,
        randomized=trial.randomized,
        draws=aligned,
        spend=None if trial.history.cost is None else trial.history.cost[kept],
    )


def _delivery_said(delivered: Delivery) -> dict[str, Any]:
    """Return the delivery check without what each market got in each period."""
    return {name: plain(getattr(delivered, name)) for name in _DELIVERY}


def _looks(study: GeoStudy, trial: Trial, plan: Plan, estimator: Estimator[Panel]) -> tuple[Looked, ...]:
    """Judge the test at the interim looks that the study names; a refusal is its answer."""
    if not trial.looks:
        return ()
    early = trial.looks[0] < trial.window.n_test

    def refused(reason: str) -> tuple[Looked, ...]:
        return tuple(Looked(cell=name, monitoring=None, refusal=reason, early=early) for name in trial.cells)

    draws = _draws(study, trial, LEAST_DRAWS)
    if draws is None:
        return refused(
            "the markets weren't drawn at random, so no draws of the design say how often chance stops a test"
        )
    if len(trial.cells) > 1:
        return refused(
            f"looks are counted for one treated cell; the design's draws move all {len(trial.cells)} cells of this test at "
            "once, so that none leaves the others where they were"
        )
    try:
        found = monitor(
            trial.history,
            replace(trial.split, unit_weights=None),
            draws,
            start=trial.window.start,
            looks=trial.looks,
            level=plan.level,
            estimator=estimator,
            n_admissible=_n_admissible(trial),
        )
    except (DataError, RefusalError) as error:
        return refused(error.message)
    return (Looked(cell=trial.cells[0], monitoring=found, refusal="", early=early),)


def _n_admissible(trial: Trial) -> float | None:
    """Return how many assignments the design of a random split admits; None where its ledger doesn't say."""
    if trial.ledger is not None:
        counted = trial.ledger.content["selector"].get("n_admissible")
        return None if counted is None else float(counted["value"])
    inside = trial.split.cells > LEFT_OUT
    cells = trial.split.cells[inside]
    strata = np.zeros(len(cells), dtype=np.int64) if trial.split.strata is None else trial.split.strata[inside]
    orders = 1
    for stratum in np.unique(strata):
        sizes = np.unique(cells[strata == stratum], return_counts=True)[1].tolist()
        orders *= math.factorial(sum(sizes)) // math.prod(map(math.factorial, sizes))
    return float(min(orders, 10**300))


def _showcase(study: GeoStudy, trial: Trial, plan: Plan) -> Any:
    """Return GeoLift's own test of all treated markets together; None where nobody asked."""
    test = study.geo.test
    if test is None or test.compat is None:
        return None
    panel = _audited(study, trial.panel(), SyntheticControl())
    return showcase(panel, level=plan.level, rng=generator(study.run.seed, "geo", "showcase"))


def _cards(result: GeoResult) -> tuple[MethodCard, ...]:
    estimator = ESTIMATORS.load(result.estimator).card
    if result.inference == RANDOMIZATION:
        return (estimator, RANDOMIZATION_CARD)
    return (estimator, INFERENCES.load(result.inference).card)


RANDOMIZATION_CARD = MethodCard(
    title="Randomization over the design's own draws (randomization)",
    summary="Would chance alone, drawing other markets by the same rules, have shown as much?",
    equation=r"p(\tau) = \frac{1}{|\mathcal{D}|} \# \left\{ D' \in \mathcal{D} : \left| a_{D'} - c_{D'} \tau \right| \geq "
    r"\left| \hat\tau - \tau \right| \right\}",
    std_error="none; the interval holds every constant effect that the test doesn't reject",
    assumptions=(
        "The markets were drawn at random by the design's rules, and one market's treatment doesn't reach another.",
    ),
    not_when=("The split was chosen.", "The draws aren't those of the design that was used."),
    edge_cases=(
        "Few draws can't reject: the smallest p is one over their number.",
        "Sets may be unbounded, in several segments or empty; each is reported as such.",
    ),
    references=(("Rosenbaum (2002), Observational Studies, section 2.6", "https://doi.org/10.1007/978-1-4757-3692-2"),),
)


def _provenance(study: GeoStudy, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    return {
        "study_digest": study.digest,
        "seed": study.run.seed,
        "fingerprints": fingerprints,
        "versions": versions(),
        "python": python_version(),
    }
