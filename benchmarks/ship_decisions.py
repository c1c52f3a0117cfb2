"""Decisions on simulated launches: how often harm ships, and what is lost against knowing the truth.

``python benchmarks/ship_decisions.py`` runs it and writes ``benchmarks/results/ship_decisions.md``. Every launch is a panel of
its own, read out by the package as a user would: two-way differences with cluster-robust errors, a guardrail, and a net value
with a prior.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.decision.launch_decision import decide_launch
from causalbench.study import Study
from causalbench.values import Estimate
from causalbench.workflow.estimate import estimate

N_UNITS, N_TREATED, N_PRE, FIRST, MORE = 40, 10, 60, 14, 28
HORIZON = 180
BASE = 10.0
SALES = BASE * N_UNITS * HORIZON
"""Sales without the launch over the horizon, in money: a unit is worth one."""
MARGIN, TOGETHER = -0.02, -0.3
PAGE = """\
# Decisions to ship

{n:,} simulated launches of each kind; Monte Carlo errors in brackets. Python {python};
`python benchmarks/ship_decisions.py`, {seconds:.0f} CPU seconds.

Each launch: {units} units with three factors, {treated} treated, {pre} days before and {first} after, noise AR(1) .3, read out by
`did` with cluster-robust errors at 95%. True relative effects on sales (success) are normal with standard deviation {gain:g}%, on
activity (the guardrail, margin {margin:g}%) {harm:g}%, correlated {together:g}. The error of an effect on activity is
{errors[0]:.2f}% / {errors[1]:.2f}% / {errors[2]:.2f}% (10th, 50th, 90th percentile of launches). A launch costs what an effect of
{cost:g}% on sales brings in {horizon} days; where launches are cheap 0.5%.

Regret is what is lost against knowing the truth, in percent of sales over the horizon, per launch. Beyond the margin a gain
doesn't count and the harm does, one for one: that is what a margin says. In the last column nothing is forbidden and activity is
worth as much as sales; there a margin costs something, and a price in `[value]` is the better tool. A launch shipped at the
second readout has lost {more} of its {horizon} days. The rules of the decision are those of `decision/recommendation.py`.

Where we lose: where harm beyond the margin is rare, to hold what isn't shown to be safe costs more than it saves. A margin is
for harm that isn't acceptable; where harm has a price, price it.

## {name}

{tables}
"""
FOUND = Path(__file__).parent / "results" / "ship_decisions.md"


@dataclass(frozen=True, kw_only=True)
class Population:
    """Launches whose true relative effects come from one law."""

    name: str
    success_sd: float = 0.02
    guard_sd: float = 0.02
    break_even: float = 0.01
    heavy: bool = False
    fixed: tuple[float, float] | None = None

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draw the true effects on sales and on activity."""
        if self.fixed is not None:
            return self.fixed
        pair = rng.multivariate_normal([0, 0], [[1, TOGETHER], [TOGETHER, 1]])
        if self.heavy:
            pair = pair * math.sqrt(2 / rng.chisquare(4))  # t with 4 degrees of freedom and variance 1
        return float(pair[0] * self.success_sd), float(pair[1] * self.guard_sd)


MAIN = Population(name="Harm as wide as gain")
WORST = Population(name="Activity exactly at its margin, sales up 5%", fixed=(0.05, MARGIN))
OTHERS = (
    Population(
        name="Heavy tails: effects from a t law with 4 degrees of freedom, the prior normal all the same", heavy=True
    ),
    Population(name="Harm is rare and launches are cheap", guard_sd=0.01, break_even=0.005),
)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One simulated launch: true effects, and the readouts after 14 and after 42 days."""

    success: float
    guard: float
    readouts: tuple[dict[str, Estimate], ...]


def launched(seed: int, population: Population) -> Launch:
    """Draw one launch and read it out twice."""
    rng = np.random.default_rng([seed, 7])
    success, guard = population.draw(rng)
    spread = 0.4 * math.exp(0.25 * rng.standard_normal())
    shape = {"n_units": N_UNITS, "n_periods": N_PRE + FIRST + MORE, "n_treated": N_TREATED, "n_post": FIRST + MORE}
    first, second = (factor_panel(**shape, effect=0.0, rho=0.3, seed=10 * seed + i) for i in (1, 2))
    mixed = replace(first, outcome=10 + (first.outcome - 10 + second.outcome - 10) / math.sqrt(2))
    panels = {"sales": with_effect(first, spread, success), "activity": with_effect(mixed, spread, guard)}
    readouts = tuple(
        {name: read(panel, days, name) for name, panel in panels.items()} for days in (FIRST, FIRST + MORE)
    )
    return Launch(success=success, guard=guard, readouts=readouts)


def with_effect(panel: Panel, spread: float, effect: float) -> Panel:
    """Return a panel with its noise scaled, and a relative effect on the treated cells."""
    return replace(panel, outcome=(BASE + spread * (panel.outcome - 10)) * (1 + effect * panel.treated))


def read(panel: Panel, days: int, metric: str) -> Estimate:
    """Estimate on the days so far."""
    so_far = panel.only(periods=np.arange(len(panel.periods)) < N_PRE + days)
    # Bands over all event times take four fifths of the time, and no decision reads them.
    with patch("causalbench.inference._wald.uniform_quantile", return_value=math.nan):
        return estimate(replace(so_far, metric=metric), "did", inference="cluster")


def study_of(population: Population, *, guarded: bool = True, **value: Any) -> Study:
    """Return the study that all launches of a population share."""
    activity = {"name": "activity", "column": "activity"}
    guard = {"role": "guardrail", "margin": MARGIN} if guarded else {"role": "driver"}
    return Study.from_mapping(
        {
            "study": {"name": "simulated", "question": "Is it worth it?"},
            "data": {"source": "none.csv", "unit": "unit", "period": "day"},
            "metric": [
                {"name": "sales", "column": "sales", "worthwhile": population.break_even},
                {**activity, **guard},
            ],
            "launch": {"treatment": "launched"},
            "method": {"name": "did", "inference": "cluster"},
            "value": {
                "per_unit": 1.0,
                "horizon": HORIZON,
                "units": N_UNITS,
                "cost": population.break_even * SALES,
                "wait": [MORE],
                **value,
            },
        }
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """When a rule ships each launch: 1 at the first look, 2 at the second, 0 never; shape (n_launches,)."""

    name: str
    when: np.ndarray

    def regret(self, worth: np.ndarray) -> np.ndarray:
        """Return what is lost: a launch shipped later loses the share of the horizon that has passed."""
        later = np.where(self.when == 2, (HORIZON - MORE) / HORIZON, 1.0)
        return np.maximum(worth, 0) - np.where(self.when > 0, worth * later, 0.0)


def ours(launches: list[Launch], study: Study, name: str, *, looks: int = 2) -> Outcome:
    """Follow the recommendation; ``hold`` at the last look is never."""
    when = []
    for launch in launches:
        action = decide_launch(study, launch.readouts[0], persistence=0.3).recommendation.action
        shipped = 1 if action == "ship" else 0
        if action == "hold" and looks == 2:
            again = decide_launch(study, launch.readouts[1], persistence=0.3).recommendation.action
            shipped = 2 if again == "ship" else 0
        when.append(shipped)
    return Outcome(name=name, when=np.array(when))


def significant(launches: list[Launch], name: str, *, looks: int = 1) -> Outcome:
    """Ship what is positive with p < .05."""

    def wins(readout: dict[str, Estimate]) -> bool:
        found = readout["sales"]
        return found.value > 0 and found.p_value is not None and found.p_value < 0.05

    when = [next((look + 1 for look in range(looks) if wins(one.readouts[look])), 0) for one in launches]
    return Outcome(name=name, when=np.array(when))


def share(flags: np.ndarray) -> str:
    """Write a share of launches with its Monte Carlo error; where there are none, what a 95% bound allows (3 / n)."""
    if not len(flags):
        return "no such launch"
    if not flags.any():
        return f"0 (at most {3 / len(flags):.3f})"
    found = float(flags.mean())
    return f"{found:.3f} ({math.sqrt(found * (1 - found) / len(flags)):.3f})"


def ratio(regret: np.ndarray, other: np.ndarray) -> str:
    """Write a ratio of mean regrets with its paired Monte Carlo error, by the delta method."""
    value = regret.mean() / other.mean()
    return f"{value:.2f} ({(regret - value * other).std() / other.mean() / math.sqrt(len(regret)):.2f})"


def rows(launches: list[Launch], outcomes: list[Outcome], population: Population) -> Iterator[str]:
    """Yield the table of rules, the first of which the others are measured against."""
    yield (
        "| rule | ships | ships, activity below its margin | ships, sales below break-even | regret "
        "| regret over that of p < .05 | the same where harm has a price and no margin |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|"
    success, guard = np.array([(one.success, one.guard) for one in launches]).T
    gain, harmful = (success - population.break_even) * SALES, guard <= MARGIN
    worth = np.where(harmful, np.minimum(gain, (guard - population.break_even) * SALES), gain)
    priced = gain + guard * SALES
    for outcome in outcomes:
        ships = outcome.when > 0
        regret, other = outcome.regret(worth), outcomes[0].regret(worth)
        yield (
            f"| {outcome.name} | {share(ships)} | {share(ships[harmful])} | {share(ships[success < population.break_even])} "
            f"| {100 * regret.mean() / SALES:.3f}% | {ratio(regret, other)} "
            f"| {ratio(outcome.regret(priced), outcomes[0].regret(priced))} |"
        )


def outcomes_of(launches: list[Launch], population: Population, *, whole: bool) -> list[Outcome]:
    """Apply the rules to the launches of one population."""
    sd = population.success_sd
    found = [
        significant(launches, "ship if p < .05 and positive, one look"),
        significant(launches, "the same, and once more after 28 days", looks=2),
        ours(launches, study_of(population, prior_sd=sd), "causalbench; hold means another readout after 28 days"),
        ours(launches, study_of(population, prior_sd=sd), "causalbench; hold means never", looks=1),
    ]
    if not whole:
        return found
    both = {"per_unit": {"sales": 1.0, "activity": 1.0}, "prior_sd": {"sales": sd, "activity": population.guard_sd}}
    return [
        *found,
        ours(launches, study_of(population, prior_sd=sd / 2), "its prior half as wide as the truth"),
        ours(launches, study_of(population, prior_sd=2 * sd), "its prior twice as wide"),
        ours(launches, study_of(population), "no prior stated"),
        ours(launches, study_of(population, prior_sd=sd, ship_if=0.6), "ship_if = 0.6 in place of 0.8"),
        ours(launches, study_of(population, guarded=False, **both), "activity priced in [value], no margin"),
    ]


def report(n_launches: int) -> str:
    """Run everything and return the page."""
    began = time.process_time()
    launches = [launched(seed, MAIN) for seed in range(n_launches)]
    errors = np.array([one.readouts[0]["activity"].std_error for one in launches]) / BASE
    tables = [*rows(launches, outcomes_of(launches, MAIN, whole=True), MAIN)]
    for population in OTHERS:
        others = [launched(seed, population) for seed in range(n_launches)]
        tables += ["", f"## {population.name}", ""]
        tables += rows(others, outcomes_of(others, population, whole=False), population)
    edge = [launched(seed, WORST) for seed in range(n_launches)]
    tables += ["", f"## {WORST.name}", "", "| rule | ships |", "|---|---:|"]
    tables += [f"| {one.name} | {share(one.when > 0)} |" for one in outcomes_of(edge, WORST, whole=False)]
    return PAGE.format(
        n=n_launches,
        python=platform.python_version(),
        seconds=time.process_time() - began,
        units=N_UNITS,
        treated=N_TREATED,
        pre=N_PRE,
        first=FIRST,
        more=MORE,
        horizon=HORIZON,
        gain=100 * MAIN.success_sd,
        harm=100 * MAIN.guard_sd,
        cost=100 * MAIN.break_even,
        margin=100 * MARGIN,
        together=TOGETHER,
        errors=[100 * float(np.quantile(errors, q)) for q in (0.1, 0.5, 0.9)],
        name=MAIN.name,
        tables="\n".join(tables),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=FOUND)
    arguments = parser.parse_args()
    text = report(arguments.launches)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)
