"""The readout of a study: every stage is one call, and what it found is one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from causalbench.artifacts import plain
from causalbench.checks import CATALOGUE as CHECKS
from causalbench.data.datasets import study_path
from causalbench.data.panel import Panel
from causalbench.decision.headline import headline
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator, shape_of
from causalbench.study import ComparisonStudy, Study, load_finished
from causalbench.values import Audit, CheckResult, Estimate, MethodCard, Readout
from causalbench.workflow.check_order import refused, worst_first
from causalbench.workflow.comparison_readout import readout_comparison
from causalbench.workflow.estimate import Answer, answer_study, generator, prepare_study
from causalbench.workflow.provenance import python_version, versions
from causalbench.workflow.reading import read_panel


def load_panel(name: str) -> Panel:
    """Return the panel of a shipped launch: ``castle``, ``geolift``, ``mpdta`` or ``prop99``.

    Examples
    --------
    >>> import causalbench as cb
    >>> panel = cb.load_panel("geolift")
    >>> len(panel.units), len(panel.periods), panel.treated_units
    (40, 105, ('chicago', 'portland'))
    """
    study = load_finished(study_path(name))
    if isinstance(study, ComparisonStudy):
        raise StudyError([f"dataset {name!r} compares units at one time, so it is no panel"], where="load_panel")
    return read_panel(study, study.metric[0])


def check_study(study: Study) -> dict[str, Audit]:
    """Audit the data of every metric without estimating anything."""
    return {metric.name: prepare_study(study, metric)[2] for metric in study.metric}


def readout(study: Study | ComparisonStudy, *, tell: Callable[[str], None] = lambda _: None) -> Readout:
    """Answer a study: audit, estimate, checks and headline for every metric.

    Parameters
    ----------
    study
        A loaded study, of a launch or of a comparison at one time; see :func:`causalbench.load_study`.
    tell
        Called with one line at the start of every stage.

    Returns
    -------
    Readout
        The evidence; ``to_dict()`` is what ``evidence.json`` holds.

    Raises
    ------
    CausalbenchError
        When the data can't be used or the method can't answer.

    Examples
    --------
    >>> import causalbench as cb
    >>> from causalbench.data.datasets import study_path
    >>> found = cb.readout(cb.Study.load(study_path("prop99")))
    >>> found.headline["verdict"]
    'shown'
    """
    if isinstance(study, ComparisonStudy):
        return readout_comparison(study, tell=tell)
    answers: dict[str, Answer] = {}
    checks: dict[str, tuple[CheckResult, ...]] = {}
    for metric in study.metric:
        tell(f"{metric.name}: reading the table and estimating (the first use compiles kernels, some seconds)")
        answers[metric.name] = answer_study(study, metric)
        tell(f"{metric.name}: checking assumptions")
        checks[metric.name] = run_checks(answers[metric.name], seed=study.run.seed)
    first = next(metric.name for metric in study.metric if metric.role == "success")
    main = answers[first].estimate
    return Readout(
        study=study.to_dict(),
        audits={name: answer.audit for name, answer in answers.items()},
        estimates=tuple(answer.estimate for answer in answers.values()),
        checks=checks,
        methods=_cards([main, *(answer.estimate for answer in answers.values())]),
        headline=headline(study, main, checks[first]),
        provenance=_provenance(study, answers[first].estimator),
    )


def run_checks(answer: Answer, *, seed: int, leave_out: Sequence[str] = ()) -> tuple[CheckResult, ...]:
    """Run every check whose question arises, the worst verdicts first; ``leave_out`` names checks that aren't asked."""
    results: list[CheckResult | None] = []
    for name in CHECKS.names():
        if name in leave_out:
            continue
        check = CHECKS.create(name)
        if shape_of(check) != "panel":
            continue
        rng = generator(seed, answer.estimate.metric, "check", name)
        try:
            results.append(check.run(answer.estimator, answer.panel, answer.estimate, rng=rng))
        except (DataError, RefusalError) as refusal:
            results.append(refused(name, check.question, refusal))
    return worst_first(results)


def _cards(estimates: list[Estimate]) -> tuple[MethodCard, ...]:
    """Return the cards of every estimator and inference in use, those of the headline first."""
    names = [pair for e in estimates for pair in ((ESTIMATORS, e.estimator), (INFERENCES, e.inference))]
    return tuple(room.load(name).card for room, name in dict.fromkeys(names))


def _provenance(study: Study, estimator: Estimator[Panel]) -> dict[str, Any]:
    return {
        "study_digest": study.digest,
        "seed": study.run.seed,
        "versions": versions(),
        "python": python_version(),
        "options": plain(estimator),
    }
