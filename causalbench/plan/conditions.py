"""Conditions that several rows of the advice ask for, each with what was measured and what would mend it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from causalbench.plan.profile import Profile, Refusal, Suggestion
from causalbench.plan.thresholds import limit
from causalbench.protocols import FEW_CLUSTERS
from causalbench.wording import counted, number, percent

DEMEANED: Mapping[str, Any] = {"fixed_effects": "unit"}
NOT_YET: Mapping[str, Any] = {"control": "not_yet_treated"}
CHANGES: Mapping[str, Any] = {"method": "dr-did"}
Found = Iterator[Suggestion | Refusal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One condition: whether it holds, what was measured, and what would mend it.

    Where one that ``decides`` fails, the row isn't about such data, and its other conditions say nothing.
    """

    holds: bool
    found: str
    remedy: str = ""
    decides: bool = False


def judge(needs: Iterable[Need], profile: Profile, offer: Suggestion) -> Suggestion | Refusal:
    """Suggest a method whose conditions hold and that can take the data, or refuse it with those that don't."""
    needs = list(needs)
    failed = [need for need in needs if not need.holds]
    failed = [need for need in failed if need.decides][:1] or failed
    if not failed and (unfit := profile.unfit.get(offer.label)):
        failed = [Need(holds=False, found=unfit.found, remedy=unfit.remedy)]
    if not failed:
        return replace(offer, condition="; ".join(need.found for need in needs if need.found))
    return Refusal(
        method=offer.method,
        inference=offer.inference,
        options=offer.options,
        row=offer.row,
        condition="; ".join(need.found for need in failed),
        remedy="; ".join(dict.fromkeys(need.remedy for need in failed if need.remedy)),
    )


def periods_of(n: int, profile: Profile) -> str:
    """Count periods by their name."""
    word = "period" if profile.frequency in ("number", "irregular") else profile.frequency
    return counted(n, word)


def cycle_of(profile: Profile) -> int:
    """Return how many periods the shortest season takes: a day of hours, a week of days; longer periods hold one whole."""
    return int({"hour": limit("hours after"), "day": limit("days after")}.get(profile.frequency, 1))


def one_date(profile: Profile) -> Need:
    """Ask for one launch date."""
    holds = profile.n_cohorts == 1
    found = "one launch date" if holds else f"{profile.n_cohorts} launch dates, this method takes one"
    return Need(holds=holds, found=found, remedy="nothing is missing: row 5 serves several launch dates", decides=True)


def at_least(n: int, least: str, what: str, remedy: str) -> Need:
    """Ask for as many of something as a threshold says."""
    fewest = int(limit(least))
    found = counted(n, what) if n >= fewest else f"{counted(n, what)}, at least {fewest} needed"
    return Need(holds=n >= fewest, found=found, remedy=remedy)


def history(profile: Profile, least: int) -> Need:
    """Ask for a history before the launch."""
    found, holds = f"{periods_of(profile.n_pre, profile)} before the launch", profile.n_pre >= least
    found = found if holds else f"{found}, at least {least} needed"
    return Need(holds=holds, found=found, remedy="add history before the launch")


def rank(profile: Profile, level: float) -> Need:
    """Ask whether a rank among the controls can reject at this level."""
    needed = math.ceil(1 / (1 - level) - 1e-9) - 1
    holds = profile.n_control >= max(needed, 2)
    found = f"{counted(profile.n_control, 'control unit')}, with which a rank reaches p = {profile.smallest_p:.2g}"
    found += "" if holds else f" where {100 * level:g}% asks for {1 - level:.2g}"
    return Need(
        holds=holds, found=found, remedy=f"add control units: {max(needed, 2)} allow a level of {100 * level:g}%"
    )


def held_out(profile: Profile, label: str) -> Need:
    """Ask whether the method foresees unseen history better than repeating the last season does."""
    ratio = profile.held_out.get(label)
    if ratio is None:
        return Need(holds=True, found="")
    found = f"in history that it hadn't seen it misses {number(ratio, digits=2)} times as much as repeating the last "
    found += "season" if profile.season > 1 else "value"
    return Need(
        holds=ratio <= 1, found=found, remedy="lengthen the history, or find controls that move like the treated"
    )


def chosen_inference(profile: Profile, label: str, otherwise: str) -> str:
    """Return the inference that the method's own rule names for these data, where it was asked."""
    return profile.inferences.get(label, otherwise)


def series_options(season: int) -> Mapping[str, Any]:
    """Return the options of a structural time series: its seasons, where they are few enough for its history to tell."""
    return {"seasons": season} if 1 < season <= limit("most seasons") else {}


def time_or_rank(profile: Profile) -> str:
    """Name the test that synthetic controls choose by the number of periods."""
    n_post = max(profile.n_post, cycle_of(profile))
    long = profile.n_pre + n_post >= limit("long panel") and 3 * n_post <= profile.n_pre + n_post
    return "conformal" if long else "placebo-rank"


NOT_COMPARED = "Nobody compared the treated units with the list that was drawn; the study's word is taken."


def drawn(profile: Profile) -> Need:
    """Ask whether a draw decided who got it, and whether the list is the drawn one."""
    if profile.assignment != "random":
        found = f'assignment = "{profile.assignment}": no draw decided who got it'
        return Need(
            holds=False, found=found, remedy="draw the treated units at random (causalbench geo design)", decides=True
        )
    if profile.as_planned is False:
        found = "the units treated aren't those that were drawn, so the claim to a draw is withdrawn"
        return Need(
            holds=False,
            found=found,
            remedy="analyse the units as drawn (intention to treat), or mend the list",
            decides=True,
        )
    return Need(holds=True, found="a draw decided who got it")


def overlap(profile: Profile) -> Iterator[Need]:
    """Ask whether there is somebody to compare with, given the covariates."""
    remedy = "compare with units that could have taken it: restrict the sample before looking at outcomes"
    if profile.effective_controls is not None:
        few = profile.effective_controls < limit("effective")
        found = f"weighted like the treated, the controls count as {number(profile.effective_controls, digits=3)} units"
        found += f", at least {limit('effective'):g} needed" if few else ""
        yield Need(holds=not few, found=found, remedy=remedy)
    if profile.share_extreme is not None:
        many = profile.share_extreme > limit("share extreme")
        found = f"{percent(profile.share_extreme)} of those the effect is about have a probability of treatment above "
        found += f"{limit('extreme'):g}" + (f", at most {percent(limit('share extreme'))} may" if many else "")
        yield Need(holds=not many, found=found, remedy=remedy)
    if profile.largest_difference is not None:
        apart = profile.largest_difference > limit("balance")
        found = (
            f"the largest difference left after weighting is {number(profile.largest_difference, digits=2)} standard "
        )
        found += "deviations" + (f", at most {limit('balance'):g} may be" if apart else "")
        yield Need(
            holds=not apart, found=found, remedy="let that covariate enter more flexibly, or compare other units"
        )


def few_effective(profile: Profile) -> tuple[str, ...]:
    """Say that few controls are like the treated, where they are enough to answer but not for the level that is claimed."""
    n = profile.effective_controls
    if n is None or not limit("effective") <= n < limit("effective enough"):
        return ()
    found = f"Weighted like the treated, the controls count as {number(n, digits=3)} units"
    return (f"{found}: intervals are too narrow below {limit('effective enough'):g}.",)


def enough_clusters(profile: Profile) -> Need:
    """Ask for five clusters, or units, in each arm."""
    n = profile.fewest_clusters
    found = f"{n} {'unit or cluster' if n == 1 else 'units or clusters'} in the smaller arm"
    found = found if n >= FEW_CLUSTERS else f"{found}, at least {FEW_CLUSTERS} needed"
    return Need(holds=n >= FEW_CLUSTERS, found=found, remedy="add units: with so few no honest error can be had")


def placebo_error(profile: Profile, label: str) -> Need:
    """Say how much a method errs on mock launches; never refuses."""
    error = profile.placebo_errors.get(label)
    if error is None:
        return Need(holds=True, found="")
    share = f" ({percent(error / abs(profile.typical))} of the treated units' mean)" if profile.typical else ""
    return Need(holds=True, found=f"on mock launches in the controls it errs by {number(error, digits=3)}{share}")
