"""The readout of a comparison at one time: graph, estimate, checks, and a headline that may be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from causalbench.artifacts import plain
from causalbench.checks import CATALOGUE as CHECKS
from causalbench.decision.comparison_headline import comparison_headline
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import shape_of
from causalbench.study import ComparisonStudy, Metric
from causalbench.values import Audit, CheckResult, Estimate, MethodCard, Readout
from causalbench.workflow.advice import resolve
from causalbench.workflow.check_order import refused, worst_first
from causalbench.workflow.comparison import ComparisonAnswer, answer_cross_section, prepare_cross_section
from causalbench.workflow.comparison_graph import Choice, choose
from causalbench.workflow.comparison_graph_check import graph_check
from causalbench.workflow.decide import decide_comparison
from causalbench.workflow.locking import compare_lock, sealed_choice
from causalbench.workflow.method import generator
from causalbench.workflow.provenance import python_version, versions
from causalbench.workflow.reading import open_rows, read_cross_section
from causalbench.workflow.settle import ask_advice


def check_comparison(study: ComparisonStudy) -> dict[str, tuple[Audit, Choice]]:
    """Choose covariates and audit the data of every metric without estimating anything."""
    study, _ = resolve(study)
    found = {}
    for metric in study.metric:
        chosen = _choose(study, metric)
        data = read_cross_section(study, metric, covariates=chosen.covariates)
        method = study.method
        prepared = prepare_cross_section(data, method.name, options=method.options, seed=study.run.seed)
        found[metric.name] = prepared[2], chosen
    return found


def answer_comparison(study: ComparisonStudy, metric: Metric) -> tuple[ComparisonAnswer, Choice]:
    """Answer a study for one of its metrics, with the covariates it was answered by; ``auto`` takes the advised method."""
    study, _ = resolve(study)
    chosen, method = _choose(study, metric), study.method
    answer = answer_cross_section(
        read_cross_section(study, metric, covariates=chosen.covariates),
        method.name,
        inference=method.inference,
        inference_options=method.inference_options,
        level=method.level,
        seed=study.run.seed,
        options=method.options,
    )
    return answer, chosen


def estimate_comparison(study: ComparisonStudy, metric: Metric) -> Estimate:
    """Estimate one metric of a study."""
    return answer_comparison(study, metric)[0].estimate


def readout_comparison(study: ComparisonStudy, *, tell: Callable[[str], None] = lambda _: None) -> Readout:
    """Answer a study: covariates, audit, estimate, checks and headline for every metric.

    Parameters
    ----------
    study
        A loaded study.
    tell
        Called with one line at the start of every stage.

    Raises
    ------
    CausalbenchError
        When the graph forbids a covariate, the data can't be used or the method can't answer.
    """
    given, (study, advice) = study, resolve(sealed_choice(study))
    answers: dict[str, ComparisonAnswer] = {}
    graphs: dict[str, Any] = {}
    checks: dict[str, tuple[CheckResult, ...]] = {}
    for metric in study.metric:
        tell(f"{metric.name}: choosing covariates, reading the table and estimating")
        answers[metric.name], chosen = answer_comparison(study, metric)
        graphs[metric.name] = chosen.graph
        tell(f"{metric.name}: checking assumptions")
        asked = run_checks(answers[metric.name], seed=study.run.seed)
        checks[metric.name] = worst_first([graph_check(study, metric), *asked])
    first = next(metric.name for metric in study.metric if metric.role == "success")
    main = answers[first]
    found = decide_comparison(
        study,
        main.estimate,
        checks[first],
        comparison_headline(study, main.estimate, checks[first]),
        advice=advice or ask_advice(study, tell),
        plan=compare_lock(given),
    )
    return Readout(
        study=given.to_dict(),
        audits={name: answer.audit for name, answer in answers.items()},
        estimates=tuple(answer.estimate for answer in answers.values()),
        checks=checks,
        methods=_cards([main, *answers.values()]),
        headline=found.headline,
        provenance={
            "study_digest": given.digest,
            "seed": study.run.seed,
            "versions": versions(),
            "python": python_version(),
            "options": plain(main.estimator),
        },
        graph=None if study.dag is None else graphs,
        advice=found.advice,
        plan=found.plan,
        decision=found.decision,
        grade=found.grade,
    )


def run_checks(answer: ComparisonAnswer, *, seed: int) -> tuple[CheckResult, ...]:
    """Run every check of cross-sections whose question arises, the worst verdicts first."""
    results: list[CheckResult | None] = []
    for name in CHECKS.names():
        if shape_of(CHECKS.load(name)) != "cross-section":
            continue
        check = CHECKS.create(name)
        rng = generator(seed, answer.estimate.metric, "check", name)
        try:
            results.append(check.run(answer.estimator, answer.data, answer.estimate, rng=rng))
        except (DataError, RefusalError) as refusal:
            results.append(refused(name, check.question, refusal))
    return worst_first(results)


def _choose(study: ComparisonStudy, metric: Metric) -> Choice:
    columns = list(open_rows(study).frame.collect_schema()) if study.dag is not None else []
    return choose(study, metric, columns=columns)


def _cards(answers: list[ComparisonAnswer]) -> tuple[MethodCard, ...]:
    estimates = [answer.estimate for answer in answers]
    names = [pair for e in estimates for pair in ((ESTIMATORS, e.estimator), (INFERENCES, e.inference))]
    return tuple(room.load(name).card for room, name in dict.fromkeys(names))
