"""How far the evidence carries: a grade from A to D by rules, every cap with its reason and what would lift it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from causalbench.artifacts import plain
from causalbench.values import CheckResult
from causalbench.wording import counted, number, percent

Letter = Literal["A", "B", "C", "D"]

MEANING: Mapping[Letter, str] = {
    "A": "strong: units were assigned at random as planned, and no check speaks against it",
    "B": "good: it rests on assumptions, and no check broke one",
    "C": "weak: a hint, because something that matters failed or could not be checked",
    "D": "none: these data can't carry a claim",
}

PLACEBO_ROWS = frozenset({"7", "8", "9", "10"})
"""Rows of the method table with so few treated units that errors can only be learnt from placebos."""

FEWEST_LEARNT = {True: 10, False: 3}
"""Periods that a placebo must have to be fitted on, by the method table: rows 7 to 10, and others."""

SLACK = 0.05
"""A nominal interval may cover this much less than it says before it counts as wrong: 90% at a nominal 95%."""

DECISIVE: Mapping[str, str] = {
    "overlap": "Compare with units like the treated, or narrow the question to treated units that have some.",
    "negative-control-outcome": "Find covariates that make the groups alike before the treatment.",
    "level-shift": "Find out what changed at that date, repair or leave out those units, and run again.",
    "immature-window": "Wait until the metric has matured.",
    "attainable-level": "Get more control units or placebo periods, or state a lower level before the launch.",
}
"""Checks without which no claim stands, and what would mend their failure."""

WEIGHTY: Mapping[str, str] = {
    "trend-sensitivity": "Find controls whose trends were closer to those of the treated.",
    "robustness": "Measure the confounders that are feared, or assign the treatment at random.",
}
"""Checks of how much hidden bias it takes to undo the result: less than what they ask for already makes the evidence weak."""


FINDINGS = frozenset({"segment-effects", "segments", "effect-decay", "composition"})
"""Checks whose review is something to know about the effect, and no doubt about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """One reason why the grade can't be higher.

    Attributes
    ----------
    rule
        Stable name of the rule.
    cap
        The best grade that it leaves.
    reason
        What was found, one sentence.
    lift
        What would lift it, one sentence.
    """

    rule: str
    cap: Letter
    reason: str
    lift: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How wrong the method was on the data before the launch, where nothing had happened.

    Attributes
    ----------
    coverage, mc_error
        Share of placebos whose nominal interval held zero, and its Monte Carlo error; None where it wasn't worked out.
    duration
        Length of a placebo window, in periods.
    calibrated
        Whether errors sufficed for an interval of their own at the study's level.
    learnt, n_pre
        Fewest periods that a placebo was fitted on, and those that the launch was.
    """

    coverage: float | None
    mc_error: float | None
    duration: int
    calibrated: bool
    learnt: int
    n_pre: int

    def misses(self, level: float) -> bool:
        """Whether the method's own interval was right too rarely; so too where nobody knows."""
        return self.coverage is None or self.coverage < level - SLACK

    def alike(self, row: str | None) -> bool:
        """Whether placebos had the history that this row of the method table asks for."""
        return self.learnt >= FEWEST_LEARNT[row in PLACEBO_ROWS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """Everything that the grade depends on.

    Attributes
    ----------
    assignment
        How units were chosen: ``random``, ``rule``, ``opt-in``, ``chosen``; ``broken draw`` where they didn't get what was drawn.
    verdict
        Of the headline: ``shown``, ``not shown``, ``misfit``, ``not computed`` or ``not credible``.
    level
        Confidence level of the study.
    n_post
        Periods after the launch; 0 for a comparison at one time.
    checks
        Of the headline's metric.
    row
        Row of the method table that chose the method; None where none matches.
    method_cap, method_reason
        The best grade that this row leaves, and why.
    wait
        How long to wait until a claim may be made; None where enough time has passed.
    method_advised
        Whether the study's method is the primary or an eligible one; None where nothing was advised.
    plan
        ``kept``, ``changed`` or ``none``: the sealed plan against what was run.
    history
        The backtest of the method; None where there is none, ``no_history`` says why.
    consistent
        Whether methods agree within their joint errors; None where there was nothing to compare.
    withdrawn
        Whether controls that moved at the launch had so much weight that the first answer was withdrawn.
    """

    assignment: str
    verdict: str
    level: float
    n_post: int
    checks: Sequence[CheckResult]
    row: str | None = None
    method_cap: Letter = "A"
    method_reason: str = ""
    wait: str | None = None
    method_advised: bool | None = None
    plan: str = "none"
    history: History | None = None
    no_history: str = ""
    consistent: bool | None = None
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A letter with everything that holds it down, the hardest first."""

    letter: Letter
    caps: tuple[Cap, ...]
    would_change: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: ``grade``, ``meaning``, ``caps``, ``would_change``."""
        return {
            "grade": self.letter,
            "meaning": MEANING[self.letter],
            "caps": plain(self.caps),
            "would_change": list(self.would_change),
        }


def grade(grounds: Grounds, *, breaking_points: Sequence[str] = ()) -> Grade:
    """Grade the evidence: the lowest cap of all rules, A where none holds it down.

    Parameters
    ----------
    grounds
        What was found.
    breaking_points
        Sentences that say which finding would overturn the conclusion; what would lift the grade follows them.

    Examples
    --------
    >>> found = grade(Grounds(assignment="chosen", verdict="shown", level=0.95, n_post=14, checks=(), row="6"))
    >>> found.letter, [cap.rule for cap in found.caps]
    ('B', ['assignment', 'plan', 'backtest'])
    """
    found = [cap for rule in RULES for cap in rule(grounds)]
    caps = tuple(sorted(found, key=lambda cap: -ord(cap.cap)))
    letter: Letter = caps[0].cap if caps else "A"
    holding = [cap for cap in caps if cap.cap == letter]
    lifts = [cap.lift for cap in sorted(holding, key=lambda cap: letter == "B" and cap.rule.startswith("check:"))]
    points = () if letter == "D" else breaking_points  # nothing is concluded that could be overturned
    return Grade(letter=letter, caps=caps, would_change=tuple(dict.fromkeys([*points, *lifts])))


def _too_early(grounds: Grounds) -> Iterator[Cap]:
    if grounds.wait is not None:
        wait = _sentence(grounds.wait)
        yield Cap(rule="too-early", cap="D", reason=f"Too early for a claim. {wait}", lift=wait)


def _verdict(grounds: Grounds) -> Iterator[Cap]:
    if grounds.verdict == "not computed":
        yield Cap(
            rule="not-computed",
            cap="D",
            reason="There is no test and no interval.",
            lift="Choose an inference that these data can carry.",
        )
    if grounds.verdict == "misfit":
        yield Cap(
            rule="misfit",
            cap="C",
            reason="No constant effect fits what happened after the launch.",
            lift="Ask for the effect by period instead of one constant effect.",
        )


def _method(grounds: Grounds) -> Iterator[Cap]:
    if grounds.method_cap != "A":
        if grounds.row is None:
            reason = "No method is made for these data: what was computed is a sensitivity analysis."
            lift = "Hold some units back from the launch, or get a longer history."
        else:
            reason = f"That leaves grade {grounds.method_cap} by row {grounds.row} of the method table."
            lift = "Hold some units back from the launch, at random."
        reason = f"{grounds.method_reason} {reason}".strip()
        yield Cap(rule="method", cap=grounds.method_cap, reason=reason, lift=lift)
    if grounds.method_advised is False:
        yield Cap(
            rule="method-refused",
            cap="C",
            reason="The study asks for a method that the rules refuse for these data.",
            lift='Use the advised method: name = "auto" under [method].',
        )


def _checks(grounds: Grounds) -> Iterator[Cap]:
    """Cap by every check: a decisive failure forbids a claim, any other leaves a hint, an open question keeps from A."""
    for check in grounds.checks:
        name, remedy = check.name, check.remedy or "Look into this check."
        cap: Letter | None = None
        if check.verdict == "fail":
            cap = "D" if name in DECISIVE else "C"
        elif check.verdict == "review" and name not in FINDINGS:
            cap = "C" if name in WEIGHTY and grounds.verdict == "shown" else "B"
        elif check.verdict == "not_evaluable" and name in DECISIVE:
            cap = "B"
        if cap is not None:
            lift = {**DECISIVE, **WEIGHTY}.get(name, remedy)
            yield Cap(rule=f"check:{name}", cap=cap, reason=check.reason, lift=lift)


def _assignment(grounds: Grounds) -> Iterator[Cap]:
    if grounds.assignment != "random":
        how = {
            "opt-in": "The units chose to take part",
            "rule": "A rule chose the units",
            "broken draw": "Units didn't get what was drawn for them",
        }
        text = how.get(grounds.assignment, "People chose the units")
        yield Cap(
            rule="assignment",
            cap="B",
            reason=f"{text}: no chance draw stands behind the comparison.",
            lift="Assign units at random next time.",
        )


def _plan(grounds: Grounds) -> Iterator[Cap]:
    if grounds.plan == "changed":
        yield Cap(
            rule="plan",
            cap="C",
            reason="The analysis differs from the sealed plan, so it is exploratory.",
            lift="Run the plan as it was sealed.",
        )
    if grounds.plan == "none":
        yield Cap(
            rule="plan",
            cap="B",
            reason="No plan was sealed before the outcomes were seen.",
            lift="Seal the next plan before the launch: causalbench lock.",
        )


def _backtest(grounds: Grounds) -> Iterator[Cap]:
    """Cap by what the history before the launch says about the method; a random assignment needs none."""
    if grounds.assignment == "random" or not grounds.n_post:
        return
    placebo: Letter = "C" if grounds.row in PLACEBO_ROWS else "B"
    past = grounds.history
    if past is None:
        why = f" ({grounds.no_history})" if grounds.no_history else ""
        reason = f"How wrong the method is on this history is not known{why}."
        yield Cap(rule="backtest", cap=placebo, reason=reason, lift="Get a longer history before the launch.")
        return
    if past.duration < grounds.n_post:
        length = counted(past.duration, "period")
        reason = f"The history allows rehearsals of {length} only; the claim is about {grounds.n_post}."
        lift = f"Claim only the first {length}, or get a longer history."
        yield Cap(rule="backtest-length", cap=placebo, reason=reason, lift=lift)
    if past.learnt < past.n_pre and not past.alike(grounds.row):
        length = counted(past.learnt, "period")
        reason = (
            f"Rehearsals had as few as {length} to learn from, too few for this method; the launch has {past.n_pre}."
        )
        yield Cap(rule="backtest-history", cap=placebo, reason=reason, lift="Get a longer history before the launch.")
    if past.coverage is None or past.calibrated:
        return
    if past.coverage + 2 * (past.mc_error or 0.0) < grounds.level - SLACK:
        reason = f"Before the launch the {percent(grounds.level)} interval was right in {percent(past.coverage)} of rehearsals,"
        reason += " and there are too few of them to widen it by."
        yield Cap(rule="backtest-coverage", cap="C", reason=reason, lift="Get a longer history, or more control units.")


def _agreement(grounds: Grounds) -> Iterator[Cap]:
    if grounds.consistent is False:
        yield Cap(
            rule="triangulation",
            cap="C",
            reason="Methods that may answer this differ by more than their errors explain.",
            lift="Find out which assumption splits the methods.",
        )


def _suspects(grounds: Grounds) -> Iterator[Cap]:
    if grounds.withdrawn:
        yield Cap(
            rule="suspects",
            cap="C",
            reason="Controls that moved at the launch date themselves had much of the weight.",
            lift="Find out what reached them, and name controls that the launch can't reach.",
        )


RULES: tuple[Callable[[Grounds], Iterator[Cap]], ...] = (
    _too_early,
    _verdict,
    _method,
    _checks,
    _agreement,
    _suspects,
    _assignment,
    _plan,
    _backtest,
)
"""All rules, the order in which equal caps are told."""


def breaking_points(
    *,
    value: float,
    interval: Mapping[str, Any] | None,
    shown: bool,
    checks: Sequence[CheckResult],
    breakdown: float | None = None,
) -> tuple[str, ...]:
    """Say which findings would overturn the conclusion, in numbers.

    Parameters
    ----------
    value, interval
        The estimate, and the set that the conclusion rests on.
    shown
        Whether its test shows an effect: other findings overturn that than overturn its opposite.
    checks
        Those that measure a breaking point are read.
    breakdown
        Size of the effect in units of the largest break that the history before the launch has seen.
    """
    found = []
    if shown and breakdown is not None:
        found.append(
            f"A break at the launch date as large as {number(breakdown, digits=2)} times the largest that this history has seen"
            " would explain the whole estimate."
        )
    found.extend(_by_checks(checks) if shown else ())
    if not shown and interval is not None and interval["lower"] is not None and interval["upper"] is not None:
        near = interval["lower"] if value > 0 else interval["upper"]
        if near * value < 0:
            found.append(f"An interval that leaves out zero: the present one reaches {number(near, sign=True)}.")
    return tuple(found)


def _by_checks(checks: Sequence[CheckResult]) -> Iterator[str]:
    for check in checks:
        if check.statistic is None:
            continue
        if check.name == "trend-sensitivity":
            times = number(check.statistic, digits=2)
            yield f"Trends that part after the launch by more than {times} times their largest step before it."
        if check.name == "robustness":
            yield f"A hidden cause that explains {percent(check.statistic)} of what is left of treatment and outcome."
        if check.name == "leave-one-donor-out" and check.verdict in ("review", "fail"):
            yield "One donor that turns out to have reacted to the launch."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
