"""Rules on comparisons at one time and on experiments: one function per row of the table of methods."""

from __future__ import annotations

from dataclasses import replace

from causalbench.plan.conditions import (
    NOT_COMPARED,
    Found,
    Need,
    drawn,
    enough_clusters,
    few_effective,
    judge,
    overlap,
    periods_of,
)
from causalbench.plan.profile import Profile, Suggestion
from causalbench.plan.thresholds import limit
from causalbench.values import rejects
from causalbench.wording import counted, percent


def row_3_once(profile: Profile) -> Found:
    """A draw decided who got it: covariates only make the answer sharper."""
    offer = Suggestion(
        method="adjustment",
        inference="influence",
        row="3",
        condition="",
        cap="A",
        because="A draw decided who got it.",
        cautions=() if profile.as_planned else (NOT_COMPARED,),
    )
    yield judge([drawn(profile), enough_clusters(profile)], profile, offer)


def row_12(profile: Profile, level: float) -> Found:
    """Units that weren't drawn, no periods: like is compared with like, by covariates that a graph shows to suffice."""
    if profile.assignment == "random" and profile.as_planned is not False:
        return
    offer = Suggestion(
        method="adjustment",
        inference="influence",
        row="12",
        condition="",
        downgrades=few_effective(profile),
        at_readout=("A small robustness value (a weak confounder left out would do) caps the grade at C.",),
    )
    yield judge(
        [_closed(profile), enough_clusters(profile), *overlap(profile), *_placebo(profile, level)], profile, offer
    )


def _closed(profile: Profile) -> Need:
    """Ask whether a graph shows that the covariates suffice."""
    draw = 'draw a causal graph (dag = "graph.dag")'
    found, remedy = {
        "graph": ("by the graph, the covariates close every path that isn't the effect", ""),
        "named": (
            f"{counted(profile.n_covariates, 'covariate')} by the study's word; no graph shows that they suffice",
            f"{draw}: it shows whether they do",
        ),
        "none": ("no graph, and no covariate is named", f"{draw} and let it choose the covariates"),
        "refused": (
            profile.adjustment_problem or "by the graph, no set of measured covariates closes every path",
            "measure what stands on the open path, or find another design",
        ),
    }[profile.adjustment]
    return Need(holds=profile.adjustment == "graph", found=found, remedy=remedy)


def _placebo(profile: Profile, level: float) -> list[Need]:
    if profile.placebo_p is None:
        return []
    shows = rejects(profile.placebo_p, level)
    told = (
        f"on the outcome before the treatment it finds {'an' if shows else 'no'} effect (p = {profile.placebo_p:.2g})"
    )
    return [Need(holds=not shows, found=told, remedy="find what the covariates don't catch, or other units")]


def row_1(profile: Profile) -> Found:
    """Nothing has gone out yet, and units can be drawn; row 2 where they can be switched and react to their neighbours."""
    if profile.launched:
        chance = drawn(profile)
        remedy = "describe it as a launch ([launch] in place of [geo]): rows 5 to 10 are for units that were chosen"
        yield judge([chance if chance.holds else replace(chance, remedy=remedy)], profile, _ran(profile))
        return
    n, least = profile.n_treated + profile.n_control, int(limit("units per cell")) * (profile.n_cells + 1)
    found = f"{counted(n, 'market')} for {counted(profile.n_cells, 'treated cell')} and the controls"
    enough = n >= least
    times = limit("history")
    needs = [
        Need(
            holds=enough,
            found=found if enough else f"{found}, at least {least} needed",
            remedy="add markets, or plan fewer cells",
        ),
    ]
    if profile.duration is not None:
        holds = profile.n_pre >= times * profile.duration
        found = f"{periods_of(profile.n_pre, profile)} of history for a test of {profile.duration}"
        found = found if holds else f"{found}, at least {times * profile.duration:g} needed"
        needs.append(Need(holds=holds, found=found, remedy="add history, or plan a shorter test"))
    few = f"{n} markets: more than {limit('better units'):g} are better."
    power = f"Power below {percent(limit('power'))} at the smallest worthwhile effect refuses the design (causalbench geo power)."
    offer = Suggestion(
        method="geo-experiment",
        inference="permutation",
        row="1",
        condition="",
        cap="A",
        because="A draw can decide who gets it.",
        leads=not (profile.switches and profile.leaks),
        cautions=(few,) if n <= limit("better units") else (),
        at_readout=(power,),
    )
    yield judge(needs, profile, offer)
    carry = "A carry-over that outlasts the washout refuses the analysis."
    switchback = replace(
        offer, method="switchback", inference="randomization", row="2", leads=True, at_readout=(power, carry)
    )
    yield judge([*needs, _switched(profile)], profile, switchback)


def _ran(profile: Profile) -> Suggestion:
    """Return what answers a test that has begun: row 3, by its own draws."""
    return Suggestion(
        method="geo-experiment",
        inference="permutation",
        row="3",
        condition="",
        cap="A",
        because="A draw decided who got it.",
        cautions=() if profile.as_planned else (NOT_COMPARED,),
        at_readout=(
            "The test has begun: causalbench geo analyze answers it, by the draws of its ledger where there is one.",
        ),
    )


def _switched(profile: Profile) -> Need:
    holds = profile.switches and profile.leaks
    can = (
        "the treatment can be switched"
        if profile.switches
        else "the study says nothing of switching the treatment off and on"
    )
    react = "neighbours react" if profile.leaks else "nothing of neighbours that react"
    remedy = "give [geo.switchback] where it can be switched, and [geo.buffer] where neighbours react"
    return Need(holds=holds, found=f"{can} and {react}", remedy=remedy)
