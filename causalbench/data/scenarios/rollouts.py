"""Staggered launches: a safety filter with guardrails, and a phased rollout whose effect grows."""

from __future__ import annotations

import numpy as np

from causalbench.data.scenarios.scenario import Scenario, csv_text, days, market_levels, names


def safety_filter(*, seed: int, effect: bool) -> Scenario:
    """A3: a filter that cuts flagged content by 90% in 12 of 60 locales, three dates; activity -5%, session length -12%."""
    n_units, n_pre, n_post = 60, 60, 42
    rng = np.random.default_rng(seed)
    units, periods = names(n_units, "locale"), days(n_pre + n_post)
    order = rng.permutation(n_units)
    launch = np.full(n_units, n_pre + n_post)
    for k, at in enumerate((n_pre, n_pre + 7, n_pre + 14)):
        launch[order[4 * k : 4 * k + 4]] = at
    on = np.arange(n_pre + n_post) >= launch[:, None]
    effects = {"flagged": -0.9, "active": -0.05, "session": -0.12}
    drawn = {
        name: market_levels(n_units, n_pre + n_post, rng, noise=0.01, common=0.01) * (1 + size * effect * on)
        for name, size in effects.items()
    }
    first = np.array([[periods[at] if at < len(periods) else ""] for at in launch])
    study = """
[study]
name = "safety-filter"
question = "The filter cut flagged content. Did it cost activity?"
decision = "Ship it everywhere if activity falls by at most 2%"

[data]
source = "table.csv"
unit = "locale"
period = "date"

[[metric]]
name = "flagged items"
column = "flagged"
role = "success"
better = "lower"
worthwhile = 0.1

[[metric]]
name = "active users"
column = "active"
role = "guardrail"
margin = -0.02

[[metric]]
name = "session minutes"
column = "session"
role = "driver"

[[trade]]
gain = "flagged items"
loss = "active users"

[launch]
cohort = "launched"
assignment = "rule"

[method]
name = "auto"
"""
    table = csv_text(units, periods, unit="locale", columns={"launched": first, **drawn})
    return Scenario(
        name="A3",
        files={"study.toml": study.lstrip(), "table.csv": table},
        truth={"relative": {name: size * effect for name, size in effects.items()}},
    )


def phased_rollout(*, seed: int, effect: bool) -> Scenario:
    """A5: eight cohorts of five markets and ten never treated; +2% at launch, and .5% more with every period since."""
    n_cohorts, per_cohort, n_never, n_periods = 8, 5, 10, 40
    n_units = n_cohorts * per_cohort + n_never
    rng = np.random.default_rng(seed)
    units, periods = names(n_units, "market"), [str(week) for week in range(1, n_periods + 1)]
    launch = np.full(n_units, n_periods)
    order = rng.permutation(n_units)
    for k in range(n_cohorts):
        launch[order[per_cohort * k : per_cohort * (k + 1)]] = 14 + 3 * k
    since = np.arange(n_periods) - launch[:, None]
    path = np.where(since >= 0, 0.02 + 0.005 * since, 0.0) * effect
    level = market_levels(n_units, n_periods, rng)
    orders = level * (1 + path)
    first = np.array([[periods[at] if at < n_periods else ""] for at in launch])
    study = """
[study]
name = "phased-rollout"
question = "Did the rollout raise orders?"

[data]
source = "table.csv"
unit = "market"
period = "date"

[[metric]]
name = "orders"
column = "orders"

[launch]
cohort = "launched"
assignment = "rule"

[method]
name = "auto"
"""
    treated = since >= 0
    return Scenario(
        name="A5",
        files={
            "study.toml": study.lstrip(),
            "table.csv": csv_text(units, periods, unit="market", columns={"launched": first, "orders": orders}),
        },
        truth={"value": float((orders - level)[treated].mean()), "relative": float(path[treated].mean())},
    )
