"""The readout of a study: every stage is one call, and what it found is one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from causalbench.artifacts import plain
from causalbench.data.datasets import study_path
from causalbench.data.panel import Panel
from causalbench.errors import StudyError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator
from causalbench.study import ComparisonStudy, Study, load_finished
from causalbench.values import Audit, Estimate, MethodCard, Readout
from causalbench.workflow.advice import resolve
from causalbench.workflow.comparison_readout import readout_comparison
from causalbench.workflow.decide import decide
from causalbench.workflow.estimate import prepare_study
from causalbench.workflow.locking import compare_lock
from causalbench.workflow.provenance import python_version, versions
from causalbench.workflow.reading import read_panel
from causalbench.workflow.settle import run_checks, settle

__all__ = ["check_study", "load_panel", "readout", "run_checks"]


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
    """Audit the data of every metric without estimating anything; ``auto`` takes the advised method."""
    study, _ = resolve(study)
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
    >>> found.headline["test"], found.grade["grade"], found.headline["verdict"]
    ('shown', 'C', 'suggested')
    """
    if isinstance(study, ComparisonStudy):
        return readout_comparison(study, tell=tell)
    settled = settle(study, tell=tell)
    answers, main = settled.answers, settled.answers[settled.main]
    found = decide(settled, plan=compare_lock(study, answers=answers))
    return Readout(
        study=study.to_dict(),
        audits={name: answer.audit for name, answer in answers.items()},
        estimates=tuple(answer.estimate for answer in answers.values()),
        checks=settled.checks,
        methods=_cards([main.estimate, *(answer.estimate for answer in answers.values())]),
        headline=found.headline,
        provenance=_provenance(study, main.estimator),
        advice=found.advice,
        plan=found.plan,
        backtest=found.backtest,
        triangulation=found.triangulation,
        decision=found.decision,
        grade=found.grade,
    )


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
