"""Rules on units over periods: one function per row of the table of methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import Any

from causalbench.plan.conditions import (
    CHANGES,
    DEMEANED,
    NOT_COMPARED,
    NOT_YET,
    Found,
    Need,
    at_least,
    chosen_inference,
    drawn,
    enough_clusters,
    few_effective,
    held_out,
    history,
    judge,
    one_date,
    overlap,
    periods_of,
    placebo_error,
    rank,
    series_options,
    time_or_rank,
)
from causalbench.plan.profile import Profile, Refusal, Suggestion, labelled
from causalbench.plan.thresholds import limit
from causalbench.protocols import FEW_CLUSTERS, inference_by_clusters
from causalbench.values import rejects
from causalbench.wording import counted, number

_BREAKDOWN = (
    "A breakdown value below 1 (trends after the launch may differ by less than they did before it) lowers the grade by one; "
    "the test of trends before the launch is reported with its power and never decides (Roth 2022)."
)
_SCREEN = (
    "A control that reacts to the launch is left out by name, the answer is computed again and both are shown; more than "
    f"{100 * limit('suspects'):g}% of the weight on such controls withdraws the answer."
)
_STRATA = "If the draw was in strata or pairs, its own draws decide: causalbench geo analyze with the ledger."


def row_3(profile: Profile, level: float) -> Found:
    """A draw decided who got it, and the list is the drawn one."""
    n, k = profile.n_treated_clusters + profile.n_control_clusters, profile.n_treated_clusters
    p = (2 if 2 * k == n else 1) / math.comb(n, k)
    found = f"{k} of {n} were drawn: the smallest p of a permutation is {number(p, digits=2)}"
    enough = Need(holds=rejects(p, level), found=found, remedy="draw among more units")
    offer = Suggestion(
        method="did",
        inference="permutation",
        row="3",
        condition="",
        cap="A",
        because="A draw decided who got it.",
        cautions=() if profile.as_planned else (NOT_COMPARED,),
        at_readout=(_STRATA,),
    )
    needs = [drawn(profile), enough]
    if profile.n_cohorts > 1:
        yield judge(needs, profile, replace(offer, method="group-time", options=_controls(profile)))
        return
    yield judge([*needs, one_date(profile)], profile, offer)
    if not drawn(profile).holds:
        return
    for method in ("geo-based-regression", "time-based-regression"):
        yield judge(needs, profile, replace(offer, method=method))
    if profile.n_covariates:
        yield judge(needs, profile, replace(offer, method="group-time"))


def _controls(profile: Profile) -> Mapping[str, Any]:
    """Compare with units not treated yet too, where few are never treated."""
    return {} if profile.n_control >= limit("cohort") else NOT_YET


def row_4(profile: Profile) -> Found:
    """A rule on a score, or a rule that moves who takes part (row 13); no method of these is built yet."""
    if profile.assignment != "rule":
        return
    for method, row, where in (
        ("regression-discontinuity", "4", "a score with a cutoff decided"),
        ("instrumental-variables", "13", "an encouragement or a rule moved who took part"),
    ):
        condition = f"it answers where {where}, but isn't built yet"
        yield Refusal(
            method=method, inference=None, row=row, condition=condition, remedy="use the methods of other rows"
        )


def row_5(profile: Profile) -> Found:
    """Several launch dates: each cohort against units that aren't treated yet."""
    several = profile.n_cohorts > 1
    dates = counted(profile.n_cohorts, "launch date")
    options = _controls(profile)
    also = ", compared with units not treated yet as well" if options else ""
    needs = [
        Need(
            holds=several,
            found=dates if several else f"{dates}, this row is for several",
            remedy="nothing is missing: rows 6 to 8 serve one date",
            decides=True,
        ),
        history(profile, 1),
        Need(holds=True, found=f"{counted(profile.n_control, 'unit')} never treated{also}"),
    ]
    few = (
        f"The smallest cohort has {counted(profile.fewest_cohort, 'unit')}: below {limit('cohort'):g} its own effects are noisy "
        "and their errors may be too small."
    )
    offer = Suggestion(
        method="group-time",
        inference=chosen_inference(
            profile, labelled("group-time", options), inference_by_clusters(profile, few="permutation")
        ),
        options=options,
        row="5",
        condition="",
        cautions=(few,) if profile.fewest_cohort < limit("cohort") else (),
        at_readout=(_BREAKDOWN,),
    )
    yield judge(needs, profile, offer)
    if not several:
        return
    inference = chosen_inference(profile, "imputation", inference_by_clusters(profile, few="cluster"))
    other = replace(offer, method="imputation", options={}, inference=inference, leads=False)
    yield judge([*needs, enough_clusters(profile)], profile, other)
    yield Refusal(
        method="did",
        inference=None,
        row="5",
        condition=f"{dates}: two-way fixed effects take units treated already as controls, with weights that may be negative",
        remedy="nothing lifts this: group-time compares with units not treated yet",
    )


def row_6(profile: Profile) -> Found:
    """One date and many treated units: changes of the treated against changes of the controls."""
    needs = [
        one_date(profile),
        at_least(profile.n_treated, "did treated", "treated unit", "launch in more units, drawn at random"),
        _some_control(profile),
        at_least(profile.n_control, "did controls", "control unit", "add units that never got the launch"),
        history(profile, int(limit("did history"))),
    ]
    few = "cluster" if profile.fewest_clusters >= FEW_CLUSTERS else "permutation"
    offer = Suggestion(
        method="did",
        inference=chosen_inference(profile, "did", few),
        row="6",
        condition="",
        cautions=_self_chosen(profile),
        at_readout=(_BREAKDOWN,),
    )
    yield judge(needs, profile, offer)
    if profile.n_covariates:
        inference = chosen_inference(profile, "group-time", inference_by_clusters(profile, few="permutation"))
        yield judge(needs, profile, replace(offer, method="group-time", inference=inference))


def _some_control(profile: Profile) -> Need:
    """Ask for anybody at all to compare with."""
    missing = Need(holds=False, found="no control unit", remedy="hold some units back from the launch", decides=True)
    return missing if profile.n_control == 0 else Need(holds=True, found="")


def _self_chosen(profile: Profile) -> tuple[str, ...]:
    if profile.assignment != "opt-in" or profile.n_covariates:
        return ()
    return ("The units chose themselves: name covariates known before the launch, so that like is compared with like.",)


def row_7(profile: Profile, level: float) -> Found:
    """One date and a few treated units: of the methods that weigh controls, the one that errs least on mock launches."""
    most = int(limit("few treated"))
    treated = counted(profile.n_treated, "treated unit")
    needs = [
        one_date(profile),
        Need(
            holds=profile.n_treated <= most,
            found=treated if profile.n_treated <= most else f"{treated}, at most {most} for weights fitted to them",
            remedy="nothing is missing: row 6 serves more treated units",
            decides=True,
        ),
        _some_control(profile),
        rank(profile, level),
        history(profile, int(limit("donor history"))),
    ]
    shortlist: list[tuple[str, Mapping[str, Any], str]] = [
        ("synthetic-did", {}, "placebo"),
        ("augmented-synthetic-control", {}, time_or_rank(profile)),
        ("synthetic-control", DEMEANED, time_or_rank(profile)),
    ]
    errors = profile.placebo_errors
    for method, options, usual in sorted(shortlist, key=lambda one: errors.get(labelled(one[0], one[1]), math.inf)):
        label = labelled(method, options)
        offer = Suggestion(
            method=method,
            options=options,
            inference=chosen_inference(profile, label, usual),
            row="7",
            condition="",
            leads=profile.n_treated > 1,
            downgrades=_doubts(profile, label, level),
            at_readout=(_SCREEN,),
        )
        yield judge([*needs, held_out(profile, label), placebo_error(profile, label)], profile, offer)


def _doubts(profile: Profile, label: str, level: float) -> tuple[str, ...]:
    """Say why weights fitted to this history may not carry far enough after the launch."""
    doubts = []
    times = limit("history")
    if profile.n_post and profile.n_pre < times * profile.n_post:
        doubts.append(
            f"{periods_of(profile.n_pre, profile)} before the launch for {profile.n_post} after it: less than {times:g} to 1."
        )
    if profile.perfect_fit:
        doubts.append(
            f"A mixture of {counted(profile.n_control, 'control unit')} hits {periods_of(profile.n_pre, profile)} exactly, as it "
            "would hit any noise: that fit is no evidence."
        )
    error = profile.placebo_errors.get(label)
    if error is not None and profile.effect_sought is not None:
        normal = NormalDist()
        reach = (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(limit("power"))) * error
        if reach > profile.effect_sought:
            doubts.append(
                f"By its error on mock launches, effects below {number(reach, digits=3)} would be missed more than one time in "
                f"five; the smallest worth acting on is {number(profile.effect_sought, digits=3)}."
            )
    return tuple(doubts)


def row_8(profile: Profile, level: float) -> Found:
    """One treated unit: a mixture of controls where it lies within their reach, a corrected one where not."""
    if profile.n_control == 0:
        return
    needs = [one_date(profile), _one_unit(profile), rank(profile, level), history(profile, int(limit("donor history")))]
    reach = f"the treated unit lies {'outside' if profile.inside_hull is False else 'within'} what mixtures of controls reach"
    inside = Need(
        holds=profile.inside_hull is not False,
        found="" if profile.inside_hull is None else f"{reach} before the launch",
        remedy="add controls on both sides of the treated unit, or compare changes (fixed_effects = unit)",
    )
    extra: dict[str, list[Need]] = {"synthetic-control": [inside], "augmented-synthetic-control": []}
    for method, further in extra.items():
        offer = Suggestion(
            method=method,
            inference=chosen_inference(profile, method, time_or_rank(profile)),
            row="8",
            condition="",
            downgrades=_doubts(profile, method, level),
            at_readout=(_SCREEN,),
        )
        measured = [*needs, *further, held_out(profile, method), placebo_error(profile, method)]
        yield judge(measured, profile, offer)


def _one_unit(profile: Profile) -> Need:
    found = counted(profile.n_treated, "treated unit")
    holds = profile.n_treated == 1
    found = found if holds else f"{found}, this row is for one"
    return Need(
        holds=holds, found=found, remedy="nothing is missing: rows 6 and 7 serve several treated units", decides=True
    )


def row_9(profile: Profile, level: float) -> Found:
    """One treated unit and too few controls for ranks: its series continued by its own past and the controls."""
    if profile.n_control == 0:
        return
    options = series_options(profile.season)
    offer = Suggestion(
        method="causal-impact",
        options=options,
        inference=chosen_inference(profile, labelled("causal-impact", options), "placebo-in-time"),
        row="9",
        condition="",
        leads=not rank(profile, level).holds,
        downgrades=_uncalibrated(profile),
        at_readout=(
            "A control that reacts to the launch takes part of the effect with it: the screen of controls decides.",
        ),
    )
    controls = Need(holds=True, found=counted(profile.n_control, "control unit"))
    yield judge([one_date(profile), _one_unit(profile), controls, *_long_series(profile)], profile, offer)


def _long_series(profile: Profile) -> list[Need]:
    needs = [history(profile, int(limit("series history")))]
    if profile.season > 1:
        least = limit("series seasons")
        holds = profile.n_seasons_pre >= least
        found = f"{number(profile.n_seasons_pre, digits=2)} seasons of {periods_of(profile.season, profile)}"
        found = found if holds else f"{found}, at least {least:g} needed"
        needs.append(Need(holds=holds, found=found, remedy="add history before the launch"))
    return needs


def _uncalibrated(profile: Profile) -> tuple[str, ...]:
    label = labelled("causal-impact", series_options(profile.season))
    if chosen_inference(profile, label, "placebo-in-time") == "placebo-in-time":
        return ()
    why = "Its gap before the launch is too persistent, or the history too short, for mock launches"
    return (f"{why}: the interval rests on the model alone.",)


def row_10(profile: Profile) -> Found:
    """Nobody to compare with: the series continued by its own past and by covariates that the launch can't touch."""
    if profile.n_control:
        return
    told = counted(profile.n_covariates, "covariate") if profile.n_covariates else "no covariate"
    better = "hold some units back at the next launch, at random"
    options = series_options(profile.season)
    offer = Suggestion(
        method="causal-impact",
        options=options,
        inference=chosen_inference(profile, labelled("causal-impact", options), "placebo-in-time"),
        row="10",
        condition="",
        cap="C" if profile.n_covariates else "D",
        remedy=better if profile.n_covariates else f"name covariates that the launch can't touch; {better}",
        downgrades=_uncalibrated(profile),
    )
    offer = replace(offer, because=f"Nobody is left to compare with, {told}.")
    alone = Need(holds=True, found=f"no control unit, {told}")
    yield judge([one_date(profile), alone, *_long_series(profile)], profile, offer)


def row_11(profile: Profile) -> Found:
    """Units that chose themselves, with an outcome from before: doubly robust comparison of changes."""
    if profile.assignment != "opt-in":
        return
    panel = profile.shape == "panel"
    past = profile.n_pre > 0 if panel else profile.has_before
    needs = [
        Need(holds=True, found="the units chose themselves"),
        Need(
            holds=past,
            found="an outcome from before it" if past else "no outcome from before the treatment",
            remedy='name its column: before = "column" under [data]',
        ),
        Need(
            holds=profile.n_covariates > 0,
            found=counted(profile.n_covariates, "covariate") if profile.n_covariates else "no covariate is named",
            remedy="name covariates known before the launch, or give a graph",
        ),
        enough_clusters(profile),
        *overlap(profile),
    ]
    offer = Suggestion(
        method="adjustment",
        options=CHANGES,
        inference="cluster-bootstrap",
        row="11",
        condition="",
        downgrades=few_effective(profile),
    )
    if panel:
        options = {} if profile.n_cohorts == 1 else _controls(profile)
        offer = replace(offer, method="group-time", options=options, inference="bootstrap", at_readout=(_BREAKDOWN,))
    yield judge(needs, profile, offer)
