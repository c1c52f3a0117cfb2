"""Which method may answer, which may not, and why: rules on facts that are known before the outcome is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from causalbench.errors import listing
from causalbench.plan.conditions import DEMEANED, NOT_YET, Found, cycle_of, periods_of, series_options
from causalbench.plan.other_rows import row_1, row_3_once, row_12
from causalbench.plan.panel_rows import row_3, row_4, row_5, row_6, row_7, row_8, row_9, row_10, row_11
from causalbench.plan.profile import Advice, Grade, Profile, Refusal, Suggestion, labelled
from causalbench.plan.thresholds import THRESHOLDS, Threshold, limit
from causalbench.wording import percent

__all__ = [
    "CANDIDATES",
    "THRESHOLDS",
    "Advice",
    "Profile",
    "Refusal",
    "Screened",
    "Suggestion",
    "Threshold",
    "advise",
    "labelled",
    "screened",
    "series_options",
]

CANDIDATES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("did", {}),
    ("group-time", {}),
    ("group-time", NOT_YET),
    ("imputation", {}),
    ("synthetic-did", {}),
    ("synthetic-control", {}),
    ("synthetic-control", DEMEANED),
    ("augmented-synthetic-control", {}),
    ("geo-based-regression", {}),
    ("time-based-regression", {}),
)
"""Methods and options that rules on panels choose from, besides ``causal-impact`` with its seasons."""

_SENSITIVITY: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("group-time", {}),
    ("group-time", NOT_YET),
    ("synthetic-control", DEMEANED),
    ("did", {}),
)
"""Where no row matches: tried in this order."""


def advise(profile: Profile, *, level: float) -> Advice:
    """Choose the method that may answer, from facts known before the outcome is looked at.

    The first row of the table of methods that matches gives the primary method, other rows whose own conditions hold the
    methods to hold it against. A method whose conditions don't hold is refused with what was measured and what would lift
    the refusal. Where no row matches there is no primary; what can be fitted is a sensitivity, with grade C at most.

    Parameters
    ----------
    profile
        The facts.
    level
        Confidence level of the answer: it decides how many controls a rank needs.

    Returns
    -------
    Advice
        Grades in it are the best that the data allow: A where a draw decided who got it and the list is the drawn one, B
        otherwise, one lower for every downgrade (not below C), C or D without controls.

    Examples
    --------
    >>> found = advise(Profile(n_treated=1, n_control=38, n_pre=60, n_post=12, inside_hull=True), level=0.9)
    >>> found.primary, found.row, found.grade_cap
    ('synthetic-control', '8', 'B')
    >>> advise(Profile(n_treated=1, n_control=3, n_pre=12, n_post=4), level=0.9).primary is None
    True
    """
    items = list(_ROWS[profile.shape](profile, level))
    offered = _distinct(item for item in items if isinstance(item, Suggestion))
    primary = next((item for item in offered if item.leads), None)
    eligible = (primary, *(item for item in offered if item is not primary)) if primary else ()
    labels = {item.label for item in eligible}
    refused = tuple(item for item in items if isinstance(item, Refusal) and item.label not in labels)
    sensitivity = () if primary else (*offered, *_fittable(profile, {item.label for item in offered}))
    wait = _wait(profile)
    return Advice(
        primary=primary.method if primary else None,
        inference=primary.inference if primary else None,
        options=primary.options if primary else {},
        row=primary.row if primary else "",
        eligible=eligible,
        sensitivity=sensitivity,
        refused=refused,
        grade_cap=_lowered(primary.cap, len(primary.downgrades)) if primary else _unmatched(profile, sensitivity),
        claim_allowed=wait is None and primary is not None,
        wait=wait,
        cap_reasons=(primary.because, *primary.downgrades) if primary else (_NO_ROW,),
        cautions=(*primary.cautions, *_outdone(profile, primary, eligible)) if primary else (),
        at_readout=primary.at_readout if primary else (),
        instead=_instead(profile),
    )


_NO_ROW = (
    "No row of the table of methods matches, so no method may claim an effect; what can be fitted is a sensitivity."
)


def _distinct(items: Iterable[Suggestion]) -> list[Suggestion]:
    """Keep one suggestion of every method with its options: the first that may lead, else the first."""
    found: dict[str, Suggestion] = {}
    for item in items:
        if item.label not in found or (item.leads and not found[item.label].leads):
            found.pop(item.label, None)  # a suggestion that may lead stands where its own row does
            found[item.label] = item
    return list(found.values())


def _unmatched(profile: Profile, sensitivity: Sequence[Suggestion]) -> Grade:
    """Return the best grade where no row matches: D without anything to compare with, as in row 10."""
    alone = profile.shape == "panel" and not profile.n_control and not profile.n_covariates
    return "C" if sensitivity and not alone else "D"


def _outdone(profile: Profile, primary: Suggestion, eligible: Iterable[Suggestion]) -> Iterator[str]:
    """Say where another eligible method errs much less on mock launches."""
    known = {
        item.label: profile.placebo_errors[item.label] for item in eligible if item.label in profile.placebo_errors
    }
    if primary.label not in known:
        return
    best = min(known, key=lambda label: known[label])
    ratio = known[primary.label] / known[best] if known[best] > 0 else 1.0
    if ratio > limit("demoting error"):
        yield (
            f"On mock launches {primary.label} errs {ratio:.2g} times as much as {best}; a plan that declares the rule of "
            f"demotion (more than {limit('demoting error'):g} times) takes that one instead."
        )


def _lowered(grade: Grade, steps: int) -> Grade:
    grades: tuple[Grade, ...] = ("A", "B", "C", "D")
    at = grades.index(grade)
    return grades[max(at, min(at + steps, 2))]


def _wait(profile: Profile) -> str | None:
    """Row 0: say how long to wait until an effect may be claimed; None where nothing is missing."""
    if profile.shape != "panel":
        return None
    needed = cycle_of(profile) + profile.maturity
    missing = needed - profile.n_post
    if missing <= 0:
        return None
    why = [f"a season of {periods_of(cycle_of(profile), profile)}"] if cycle_of(profile) > 1 else []
    why += [f"{periods_of(profile.maturity, profile)} until {profile.metric} is final"] if profile.maturity else []
    reason = f" ({' and '.join(why)})" if why else ""
    have = periods_of(profile.n_post, profile) if profile.n_post else "no period"
    return (
        f"Wait for {periods_of(missing, profile)} more: {have} from the launch on "
        f"{'is' if profile.n_post <= 1 else 'are'} in the table, {needed} {'is' if needed == 1 else 'are'} needed{reason}. "
        "Until then no success is claimed; alarms for harm stay on."
    )


def _instead(profile: Profile) -> str | None:
    if (
        profile.shape != "panel"
        or profile.n_post
        or profile.n_treated + profile.n_control < 2 * limit("units per cell")
    ):
        return None
    n = profile.n_treated + profile.n_control
    return (
        f"If nothing has gone out yet, draw the treated among all {n} units at random instead: a geo experiment "
        "(causalbench geo design) rests on the draw alone."
    )


def _fittable(profile: Profile, taken: set[str]) -> Iterator[Suggestion]:
    """Return what can be fitted where no row matches."""
    if profile.shape == "experiment":
        return
    once: tuple[tuple[str, Mapping[str, Any]], ...] = (("adjustment", {}),)
    order = (*_SENSITIVITY, ("causal-impact", series_options(profile.season))) if profile.shape == "panel" else once
    for method, options in order:
        label = labelled(method, options)
        if label not in taken and label not in profile.unfit and _could(profile, method, options):
            inference = profile.inferences.get(label)
            yield Suggestion(
                method=method, options=options, inference=inference, row="", condition="it can be fitted", cap="C"
            )


def _could(profile: Profile, method: str, options: Mapping[str, Any]) -> bool:
    """Tell whether a method has somebody to compare with, and one launch date where it takes one."""
    if profile.shape == "cross-section":
        return profile.adjustment != "refused"
    if method == "group-time":
        return profile.n_pre > 0 and profile.n_cohorts > 1 and (options == NOT_YET or profile.n_control > 0)
    if profile.n_cohorts > 1 or profile.n_pre == 0:
        return False
    return profile.n_control >= {"synthetic-control": 2, "did": 1}.get(method, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Row x: controls that moved at the launch.

    Attributes
    ----------
    suspects
        Their names, to be left out in a second answer that is shown beside the first.
    weight
        Their share of the weight.
    withdrawn
        Whether that is so much that neither answer stands.
    sentence
        The rule in words.
    """

    suspects: tuple[str, ...]
    weight: float
    withdrawn: bool
    sentence: str


def screened(suspects: Iterable[str], *, weight: float) -> Screened | None:
    """Apply row x to what the screen of controls found; None where it suspects nobody.

    Examples
    --------
    >>> screened(["denver"], weight=0.42).withdrawn, screened([], weight=0.0)
    (True, None)
    """
    names = tuple(suspects)
    if not names:
        return None
    most = limit("suspects")
    withdrawn = weight > most
    told = f"{listing(names)} moved at the launch and {'has' if len(names) == 1 else 'have'} {percent(weight)} of the weight"
    rule = (
        f"more than {percent(most)}, so the answer is withdrawn."
        if withdrawn
        else "the answer without is shown beside the first."
    )
    return Screened(suspects=names, weight=weight, withdrawn=withdrawn, sentence=f"{told}: {rule}")


def _panel_rows(profile: Profile, level: float) -> Found:
    yield from row_3(profile, level)
    yield from row_4(profile)
    yield from row_5(profile)
    yield from row_6(profile)
    yield from row_7(profile, level)
    yield from row_8(profile, level)
    yield from row_9(profile, level)
    yield from row_10(profile)
    yield from row_11(profile)


def _comparison_rows(profile: Profile, level: float) -> Found:
    yield from row_3_once(profile)
    yield from row_4(profile)
    yield from row_11(profile)
    yield from row_12(profile, level)


def _experiment_rows(profile: Profile, _: float) -> Found:
    yield from row_1(profile)


_ROWS: Mapping[str, Callable[[Profile, float], Found]] = {
    "panel": _panel_rows,
    "cross-section": _comparison_rows,
    "experiment": _experiment_rows,
}
