"""From answers to a decision: the one place that knows the order of advice, plan, rehearsal, agreement, verdicts and grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from causalbench.artifacts import plain
from causalbench.calibration.recalibrate import Recalibrated
from causalbench.decision.claim import Calibrated, claim
from causalbench.decision.dynamics import Dynamics, dynamics_of
from causalbench.decision.effects import effect_of
from causalbench.decision.grade import Grade, Grounds, Letter, breaking_points, grade
from causalbench.decision.headline import headline
from causalbench.decision.joint import Joint, joint_placebos
from causalbench.decision.launch_decision import decide_launch
from causalbench.decision.recommendation import recommend
from causalbench.decision.restraint import restrain
from causalbench.decision.verdict import judge
from causalbench.errors import RefusalError
from causalbench.numerics.persistence import persistence
from causalbench.plan.lock import LockReport
from causalbench.plan.profile import Advice, labelled
from causalbench.study import ComparisonStudy, Study
from causalbench.values import CheckResult, Estimate, Interval
from causalbench.wording import number
from causalbench.workflow.estimate import Answer
from causalbench.workflow.method import generator
from causalbench.workflow.rehearsal import Rehearsal, agree, rehearse
from causalbench.workflow.settle import Settled

_N_JOINT = 200
_FEWEST = 8
_HOLDOUT = 0.05
_MATERIAL = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decided:
    """What a readout adds to its estimates and checks, as plain values; the names are those of ``Readout``."""

    headline: Mapping[str, Any]
    decision: Mapping[str, Any]
    grade: Mapping[str, Any]
    advice: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None
    backtest: Mapping[str, Any] | None = None
    triangulation: Mapping[str, Any] | None = None


def decide(settled: Settled, *, plan: LockReport) -> Decided:
    """Turn answers into a graded claim and a recommendation.

    Advice and rehearsal were made on the way to the answers. Here their errors give an interval of their own, the methods are
    held against each other, the grade follows from all of it, the headline is put at its strength, and the study's roles,
    margins and value lead to an action that the grade carries.

    Parameters
    ----------
    settled
        Answers, checks, advice and rehearsal.
    plan
        The run against its sealed plan.
    """
    study, main, rehearsal, advice = settled.study, settled.main, settled.rehearsal, settled.advice
    estimate, checks = settled.answers[main].estimate, settled.checks[main]
    test = headline(study, estimate, checks)
    pasts = {main: rehearsal.calibrated(estimate.value), **_other_pasts(study, settled.answers, main)}
    combined = agree(rehearsal, settled.answers[main])
    wait = _wait(advice, checks)
    grounds = replace(
        _method_grounds(study, estimate, rehearsal.main, advice),
        assignment=_assignment(study, checks),
        verdict=str(test["verdict"]),
        checks=checks,
        wait=wait,
        withdrawn=settled.left_out is not None and settled.left_out.screened.withdrawn,
        plan=plan.status,
        history=rehearsal.history(pasts[main]),
        no_history=rehearsal.problem,
        consistent=None if combined is None else combined[0].consistent,
    )
    waived = _waived(grounds, rehearsal)
    decisive = {} if waived else {name: past.interval for name, past in pasts.items() if past and past.interval}
    calibrated = _calibrated(pasts[main], waived)
    overturned = calibrated is not None and calibrated.overturns(str(test["verdict"]))
    graded = grade(
        grounds,
        breaking_points=_breaking_points(
            estimate,
            decisive[main] if overturned else estimate.interval,
            checks,
            shown=test["verdict"] == "shown" and not overturned,
            past=pasts[main],
        ),
    )
    said = claim(test, graded, calibrated=calibrated)
    decision = _decision(study, settled.answers, decisive, graded, said, wait=wait)
    return Decided(
        headline=said,
        decision={
            **decision,
            "left_out": None if settled.left_out is None else settled.left_out.to_dict(),
            "segments": _segments(checks),
        },
        grade=graded.to_dict(),
        advice=None if advice is None else advice.to_dict(),
        plan=plan.to_dict(),
        backtest=rehearsal.to_dict(main, pasts[main], settled.demotion),
        triangulation=None if combined is None else {**combined[0].to_dict(), "estimates": dict(combined[1])},
    )


def decide_comparison(
    study: ComparisonStudy,
    estimate: Estimate,
    checks: Sequence[CheckResult],
    test: Mapping[str, Any],
    *,
    advice: Advice | None,
    plan: LockReport,
) -> Decided:
    """Turn the answer of a comparison at one time into a graded claim and a recommendation; there is no history to rehearse on.

    Parameters
    ----------
    study, estimate, checks
        The study, and what was found on its first success metric.
    test
        The headline, by its test and its decisive checks alone.
    advice
        Which methods may answer; None where nobody could be asked.
    plan
        The run against its sealed plan.
    """
    label = labelled(study.method.name, study.method.options)
    grounds = replace(
        _method_grounds(study, estimate, label, advice),
        verdict=str(test["verdict"]),
        checks=checks,
        plan=plan.status,
    )
    points = _breaking_points(estimate, estimate.interval, checks, shown=test["verdict"] == "shown")
    graded = grade(grounds, breaking_points=points)
    said = claim(test, graded)
    metric = next(metric for metric in study.metric if metric.name == estimate.metric)
    verdict = judge(effect_of(estimate, metric), worthwhile=metric.worthwhile)
    action = restrain(
        recommend(verdict),
        letter=graded.letter,
        verdict=verdict.verdict,
        wait=None,
        claimed=said["verdict"] in ("shown", "suggested"),
    )
    decision = {
        "verdicts": [verdict.to_dict()],
        "guardrails": [],
        "value": None,
        "trades": [],
        "recommendation": action.to_dict(),
        "verdict": verdict.verdict,
        "notes": [],
    }
    return Decided(
        headline=said,
        decision=decision,
        grade=graded.to_dict(),
        advice=None if advice is None else advice.to_dict(),
        plan=plan.to_dict(),
    )


def _other_pasts(study: Study, answers: Mapping[str, Answer], main: str) -> dict[str, Recalibrated | None]:
    """Rehearse the method on the other metrics, with the same mock launches."""
    found = {}
    for name, answer in answers.items():
        if name != main:
            found[name] = rehearse(study, answer, None, alone=True).calibrated(answer.estimate.value)
    return found


def _wait(advice: Advice | None, checks: Sequence[CheckResult]) -> str | None:
    """Say how long to wait for a claim: by the season, or until the metric is final."""
    immature = next((check for check in checks if check.name == "immature-window" and check.verdict == "fail"), None)
    if advice is not None and advice.wait is not None:
        return advice.wait
    return None if immature is None else immature.remedy


def _segments(checks: Sequence[CheckResult]) -> dict[str, Any] | None:
    """Return what is to be known about segments: that effects in them have opposite signs."""
    found = next((check for check in checks if check.name == "segment-effects" and check.verdict == "review"), None)
    return None if found is None else {"sentence": found.reason}


def _assignment(study: Study | ComparisonStudy, checks: Sequence[CheckResult]) -> str:
    """Return how units were chosen; that they were drawn is withdrawn where they didn't get what was drawn."""
    broken = any(check.name == "plan-against-actual" and check.verdict in ("fail", "review") for check in checks)
    return "broken draw" if broken and study.launch.assignment == "random" else study.launch.assignment


def _method_grounds(study: Study | ComparisonStudy, estimate: Estimate, label: str, advice: Advice | None) -> Grounds:
    """Say what the method table says about the method that answered."""
    grounds = Grounds(
        assignment=study.launch.assignment,
        verdict="",
        level=study.method.level,
        n_post=estimate.n_post,
        checks=(),
    )
    if advice is None:
        return grounds
    offered = next((item for item in advice.eligible if item.label == label), None)
    if offered is not None:
        cap = _lowered(offered.cap, len(offered.downgrades))
        return replace(
            grounds,
            row=offered.row,
            # That nobody was drawn by lot has a rule of its own.
            method_cap=cap if offered.downgrades or cap in ("C", "D") else "A",
            method_reason=" ".join(offered.downgrades),
            method_advised=True,
        )
    refused = next((item for item in advice.refused if item.label == label), None)
    return replace(
        grounds,
        row=advice.row or None,
        method_cap="A" if advice.primary else advice.grade_cap,
        method_advised=None if refused is None else False,
        method_reason="" if refused is None else f"{refused.condition}.",
    )


def _lowered(cap: Letter, steps: int) -> Letter:
    """Lower a grade by steps, but for want of time or controls never below C."""
    letters: tuple[Letter, ...] = ("A", "B", "C", "D")
    at = letters.index(cap)
    return letters[max(at, min(at + steps, 2))]


def _waived(grounds: Grounds, rehearsal: Rehearsal) -> str:
    """Say why the errors of rehearsals don't count beside the tests; empty where they do."""
    found, past = rehearsal.found, grounds.history
    if found is None or past is None:
        return "there are no rehearsals"
    if grounds.assignment == "random":
        return "the units were drawn by lot"
    if found.duration < found.asked_duration:
        return "the rehearsals were shorter than the launch"
    if not past.alike(grounds.row):
        return "the rehearsals had too little history to learn from"
    return "" if past.misses(grounds.level) else "in rehearsals it was right about as often as it says"


def _calibrated(past: Recalibrated | None, waived: str) -> Calibrated | None:
    return None if past is None else Calibrated(interval=past.interval, n_errors=past.n_errors, waived=waived)


def _breaking_points(
    estimate: Estimate,
    interval: Interval | None,
    checks: Sequence[CheckResult],
    *,
    shown: bool,
    past: Recalibrated | None = None,
) -> tuple[str, ...]:
    """Say what would overturn the conclusion, where ``interval`` is the set that it rests on."""
    points = breaking_points(
        value=estimate.value,
        interval=plain(interval),
        shown=shown,
        checks=checks,
        breakdown=None if past is None else past.breakdown,
    )
    return points if estimate.n_control else (_holdout(estimate), *points)


def _holdout(estimate: Estimate) -> str:
    """Say what a control group would have cost, and bought, where everybody got the launch."""
    total = estimate.detail.get("incremental")
    price = "" if total is None else f", by this estimate {number(abs(_HOLDOUT * total))} {estimate.metric}"
    return (
        f"A holdout of {100 * _HOLDOUT:g}%, drawn at random, would have been a comparison that rests on the draw alone, which "
        f"can reach grade A; its price is {100 * _HOLDOUT:g}% of the effect{price}."
    )


def _decision(
    study: Study,
    answers: Mapping[str, Answer],
    intervals: Mapping[str, Interval],
    graded: Grade,
    said: Mapping[str, Any],
    *,
    wait: str | None,
) -> dict[str, Any]:
    """Decide by the study's roles, margins, value and trades, then hold back what the grade doesn't carry."""
    main = str(said["metric"])
    found = decide_launch(
        study,
        {name: answer.estimate for name, answer in answers.items()},
        intervals={name: _both(answers[name].estimate.interval, found) for name, found in intervals.items()},
        joint=_joint(study, answers),
        dynamics=_dynamics(study, answers[main]),
        too_early=wait or "",
        persistence=_persistence(answers[main].estimate),
    )
    verdict = next(one for one in found.verdicts if one.metric == main)
    restrained = restrain(
        found.recommendation,
        letter=graded.letter,
        verdict=verdict.verdict,
        wait=wait,
        claimed=said["verdict"] in ("shown", "suggested"),
    )
    return {**found.to_dict(), "recommendation": restrained.to_dict(), "verdict": verdict.verdict}


def _both(own: Interval | None, calibrated: Interval) -> Interval:
    """Return the set that holds both: a verdict needs the method's own test and its errors on this history."""
    if own is None or own.empty:
        return calibrated
    ends = [end for found in (own, calibrated) for segment in found.segments for end in segment]
    return Interval(segments=((min(ends), max(ends)),), level=calibrated.level, kind=calibrated.kind)


def _joint(study: Study, answers: Mapping[str, Answer]) -> Joint | None:
    """Return how the errors of the metrics move together, where several matter and there are placebo launches."""
    if len(answers) < 2:
        return None
    panels = {name: answer.panel for name, answer in answers.items()}
    estimators = {name: answer.estimator for name, answer in answers.items()}
    try:
        return joint_placebos(panels, estimators, n_placebos=_N_JOINT, rng=generator(study.run.seed, "joint placebos"))
    except RefusalError:
        return None


def _dynamics(study: Study, answer: Answer) -> Dynamics | None:
    """Return how the effect goes on after the launch; None where it changes by too little or too fast to matter."""
    frequency = answer.panel.frequency
    found = dynamics_of(
        answer.estimate,
        season=answer.panel.season,
        rng=generator(study.run.seed, "dynamics"),
        level=study.method.level,
        word="period" if frequency in ("number", "irregular") else frequency,
    )
    if found.verdict not in ("fades", "grows"):
        return found
    later = found.curve[1:]  # what is over after the first period says nothing about lasting
    return found if abs(later[0] - later[-1]) >= _MATERIAL * max(map(abs, later)) else None


def _persistence(estimate: Estimate) -> float:
    """Return the first autocorrelation of the gap before the launch."""
    gap = estimate.path.effect[: estimate.n_pre]
    known = gap[np.isfinite(gap)]
    return persistence(known) if len(known) > _FEWEST else 0.0
