"""From a study to the answers that stand: the advised method, the plan's own demotion, and no control that reacted itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from causalbench.calibration.recalibrate import Demotion, DemotionRule
from causalbench.checks import CATALOGUE as CHECKS
from causalbench.errors import DataError, GraphError, RefusalError, listing
from causalbench.plan.advise import Screened
from causalbench.plan.profile import Advice
from causalbench.protocols import shape_of
from causalbench.study import AUTO, ComparisonStudy, Study
from causalbench.values import CheckResult, Estimate
from causalbench.wording import number
from causalbench.workflow.advice import advise_study, resolve, without_suspects
from causalbench.workflow.check_facts import facts_of
from causalbench.workflow.check_order import refused, worst_first
from causalbench.workflow.estimate import Answer, answer_study
from causalbench.workflow.locking import sealed_choice
from causalbench.workflow.method import generator
from causalbench.workflow.rehearsal import Rehearsal, rehearse

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeftOut:
    """Controls that moved at the launch, and the answer with and without them.

    Attributes
    ----------
    screened
        Who, and with how much weight.
    first
        The estimate with them.
    without
        The estimate without them; None where the method can't leave out controls.
    taken
        Whether the answer without them is the study's.
    """

    screened: Screened
    first: Estimate
    without: Estimate | None
    taken: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "units": list(self.screened.suspects),
            "weight": self.screened.weight,
            "withdrawn": self.screened.withdrawn,
            "value_with": self.first.value,
            "value_without": None if self.without is None else self.without.value,
            "taken": self.taken,
            "sentence": self._sentence(),
        }

    def _sentence(self) -> str:
        names = listing(self.screened.suspects, limit=8)
        they, them = ("it", "it") if len(self.screened.suspects) == 1 else ("they", "them")
        with_, units = number(self.first.value, sign=True), self.first.estimand.units
        if self.without is None:
            return f"{names} moved at the launch date too; the method can't leave {them} out."
        if self.taken:
            return f"Left out, because {they} moved at the launch date too: {names}. With {them}: {with_} {units}."
        less = number(self.without.value, sign=True)
        return f"{names} moved at the launch date too. Without {them}: {less} {units} instead of {with_}."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Settled:
    """Answers that stand, and how they came to.

    Attributes
    ----------
    study
        With the method that answered in place of ``auto``, a demoted one, or one that still used suspects.
    main
        The first success metric.
    answers, checks
        By metric.
    advice
        None where the table of methods couldn't be asked.
    """

    study: Study
    main: str
    answers: Mapping[str, Answer]
    checks: Mapping[str, tuple[CheckResult, ...]]
    advice: Advice | None
    rehearsal: Rehearsal
    demotion: Demotion | None
    left_out: LeftOut | None


def settle(asked: Study, *, tell: Tell) -> Settled:
    """Answer every metric and check it.

    1. ``auto`` takes the advised method.
    2. The methods are rehearsed on the history; where the plan declares ``[method.demotion]`` and the rule applies, the best
       rehearsed method answers instead.
    3. Controls that moved at the launch are left out and the study is answered again. With ``auto`` that answer stands, a method
       that the study names keeps its first one; both are told.
    """
    study, advice = resolve(sealed_choice(asked))
    advice = advice or ask_advice(study, tell)
    main = next(metric.name for metric in study.metric if metric.role == "success")
    answers = _answer(study, tell)
    tell(f"{main}: rehearsing the methods on launches that never were")
    rehearsal = rehearse(study, answers[main], advice)
    demoted = rehearsal.demoted(_rule(study))
    if demoted is not None and demoted.replacement is not None and advice is not None:
        study, rehearsal = _replaced(study, advice, rehearsal, demoted.replacement)
        answers = _answer(study, tell)
    checks = _check(study, answers, tell)
    left_out = None
    found = without_suspects(study, checks[main])
    if found is not None:
        cleaned, screened = found
        first, without = answers[main].estimate, None
        if cleaned is not study:
            metric = next(metric for metric in study.metric if metric.name == main)
            without = _without(cleaned, metric)
        taken = asked.method.name == AUTO and without is not None
        if taken:
            study, answers = cleaned, _answer(cleaned, tell)
            checks = _check(study, answers, tell)
        left_out = LeftOut(screened=screened, first=first, without=without, taken=taken)
    return Settled(
        study=study,
        main=main,
        answers=answers,
        checks=checks,
        advice=advice,
        rehearsal=rehearsal,
        demotion=demoted,
        left_out=left_out,
    )


def run_checks(
    answer: Answer, *, seed: int, leave_out: Sequence[str] = (), facts: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[CheckResult, ...]:
    """Run every check whose question arises, the worst verdicts first.

    ``leave_out`` names checks that aren't asked; ``facts`` are the options of checks that lean on what the study says, see
    :func:`causalbench.workflow.check_facts.facts_of`.
    """
    results: list[CheckResult | None] = []
    for name in CHECKS.names():
        if name in leave_out:
            continue
        check = CHECKS.load(name)(**facts[name]) if facts and name in facts else CHECKS.create(name)
        if shape_of(check) != "panel":
            continue
        rng = generator(seed, answer.estimate.metric, "check", name)
        try:
            results.append(check.run(answer.estimator, answer.panel, answer.estimate, rng=rng))
        except (DataError, RefusalError) as refusal:
            results.append(refused(name, check.question, refusal))
    return worst_first(results)


def ask_advice(study: Study | ComparisonStudy, tell: Tell) -> Advice | None:
    """Ask the table of methods about a study that names its own; an answer doesn't depend on it."""
    try:
        return advise_study(study)
    except (DataError, GraphError, RefusalError) as refusal:
        tell(f"which methods may answer couldn't be asked: {refusal.message}")
        return None


def _answer(study: Study, tell: Tell) -> dict[str, Answer]:
    answers = {}
    for metric in study.metric:
        tell(f"{metric.name}: reading the table and estimating (the first use compiles kernels, some seconds)")
        answers[metric.name] = answer_study(study, metric)
    return answers


def _check(study: Study, answers: Mapping[str, Answer], tell: Tell) -> dict[str, tuple[CheckResult, ...]]:
    checks = {}
    for metric in study.metric:
        tell(f"{metric.name}: checking assumptions")
        answer = answers[metric.name]
        checks[metric.name] = run_checks(answer, seed=study.run.seed, facts=facts_of(study, metric, answer))
    return checks


def _rule(study: Study) -> DemotionRule | None:
    declared = study.method.demotion
    return None if declared is None else DemotionRule(rmse_ratio=declared.rmse_ratio, coverage=declared.coverage)


def _replaced(study: Study, advice: Advice, rehearsal: Rehearsal, label: str) -> tuple[Study, Rehearsal]:
    """Put another rehearsed method in the study's place."""
    chosen = next(item for item in (*advice.eligible, *advice.sensitivity) if item.label == label)
    named = {
        "name": chosen.method,
        "inference": chosen.inference,
        "options": dict(chosen.options),
        "inference_options": {},
    }
    taken = study.model_copy(update={"method": study.method.model_copy(update=named)})
    return taken, replace(rehearsal, main=label, problem=rehearsal.problem_of(label))


def _without(study: Study, metric: Any) -> Estimate | None:
    """Answer without suspects, where enough controls are left."""
    try:
        return answer_study(study, metric).estimate
    except (DataError, RefusalError):
        return None
