"""Launches on one date: one country, decaying effects, a dashboard that moved by itself, segments, a global launch."""

from __future__ import annotations

from typing import Literal

import numpy as np

from causalbench.data.scenarios.scenario import Scenario, autoregression, csv_text, days, market_levels, names, quoted
from causalbench.data.simulate import single_launch_panel


def one_country(*, seed: int, effect: bool, shape: Literal["constant", "ramp"] = "constant") -> Scenario:
    """A1: a recommender in one country for two weeks; 30 donors, of which two react, and a holiday after the launch.

    The effect is 4% of the country's level; ``ramp`` grows to twice that within the two weeks, with the same mean. The data are
    those of :func:`causalbench.data.simulate.single_launch_panel`.
    """
    size = 0.04 if effect else 0.0
    panel = single_launch_panel(effect=0.0, seed=seed)
    path = (
        np.full(panel.n_post, 1.0) if shape == "constant" else 2 * np.arange(1, panel.n_post + 1) / (panel.n_post + 1)
    )
    outcome = panel.outcome.copy()
    level = float(outcome[0, : panel.n_pre].mean())
    outcome[0, panel.n_pre :] += size * level * path
    periods = [str(day) for day in panel.periods]
    study = f"""
[study]
name = "recommender"
question = "Did the new recommender in this country change watch time?"
decision = "Give it to every country if watch time rises by at least 1%"

[data]
source = "table.csv"
unit = "country"
period = "date"

[[metric]]
name = "hours watched"
column = "hours"
worthwhile = 0.01

[launch]
units = ["country"]
start = "{periods[panel.n_pre]}"
assignment = "chosen"

[method]
name = "auto"
"""
    return Scenario(
        name="A1",
        files={
            "study.toml": study.lstrip(),
            "table.csv": csv_text(list(map(str, panel.units)), periods, unit="country", columns={"hours": outcome}),
        },
        truth={
            "relative": size,
            "value": float(size * level * path.mean()),
            "contaminated": ("donor01", "donor02"),
            "treated": ("country",),
        },
    )


def novelty(*, seed: int, effect: bool) -> Scenario:
    """A6: +6% in the first days, decaying towards +1% within six weeks; 12 of 40 markets, chosen by hand."""
    n_units, n_pre, n_post = 40, 120, 42
    rng = np.random.default_rng(seed)
    units, periods = names(n_units, "market"), days(n_pre + n_post)
    outcome = market_levels(n_units, n_pre + n_post, rng)
    since = np.arange(n_post)
    steady, extra, half_life = 0.01, 0.05, 7.0
    path = effect * (steady + extra * 0.5 ** (since / half_life))
    treated = np.isin(np.arange(n_units), rng.permutation(n_units)[:12])
    outcome[np.ix_(treated, np.arange(n_pre, n_pre + n_post))] *= 1 + path
    study = f"""
[study]
name = "new-feed"
question = "Did the new feed raise minutes, or is it novelty?"
decision = "Keep it if the effect that remains is worth it"

[data]
source = "table.csv"
unit = "market"
period = "date"

[[metric]]
name = "minutes"
column = "minutes"
worthwhile = 0.01

[launch]
units = {quoted([unit for unit, yes in zip(units, treated, strict=True) if yes])}
start = "{periods[n_pre]}"
assignment = "chosen"

[method]
name = "auto"
"""
    return Scenario(
        name="A6",
        files={
            "study.toml": study.lstrip(),
            "table.csv": csv_text(units, periods, unit="market", columns={"minutes": outcome}),
        },
        truth={
            "relative": float(path.mean()),
            "first_week": float(path[:7].mean()),
            "last_week": float(path[-7:].mean()),
            "half_life": half_life if effect else None,
            "steady_state": steady if effect else 0.0,
        },
    )


def logging_change(*, seed: int, effect: bool) -> Scenario:
    """A7: nothing was launched; three of the six markets under suspicion log 8% more from ten days before the date on.

    ``effect=False``: nothing changed at all.
    """
    n_units, n_pre, n_post = 40, 120, 21
    rng = np.random.default_rng(seed)
    units, periods = names(n_units, "market"), days(n_pre + n_post)
    outcome = market_levels(n_units, n_pre + n_post, rng)
    suspects = rng.permutation(n_units)[:6]
    changed, since = suspects[:3], n_pre - 10
    outcome[np.ix_(changed, np.arange(since, n_pre + n_post))] *= 1.08 if effect else 1.0
    study = f"""
[study]
name = "dashboard-moved"
question = "Did anything happen in these six markets?"

[data]
source = "table.csv"
unit = "market"
period = "date"

[[metric]]
name = "orders"
column = "orders"

[launch]
units = {quoted(sorted(units[i] for i in suspects))}
start = "{periods[n_pre]}"
assignment = "chosen"

[method]
name = "auto"
"""
    return Scenario(
        name="A7",
        files={
            "study.toml": study.lstrip(),
            "table.csv": csv_text(units, periods, unit="market", columns={"orders": outcome}),
        },
        truth={
            "relative": 0.0,
            "changed": tuple(sorted(units[i] for i in changed)) if effect else (),
            "since": periods[since],
        },
    )


def opposite_segments(*, seed: int, effect: bool) -> Scenario:
    """A8: new users +6%, power users -6%, a third segment untouched; 12 of 40 markets; the mean effect is near zero."""
    n_markets, n_pre, n_post = 40, 90, 28
    rng = np.random.default_rng(seed)
    markets, periods = names(n_markets, "market"), days(n_pre + n_post)
    chosen = rng.permutation(n_markets)[:12]
    on = np.isin(np.arange(n_markets), chosen)[:, None] & (np.arange(n_pre + n_post) >= n_pre)
    effects = {"new": 0.06, "power": -0.06, "other": 0.0}
    rows: list[str] = []
    for segment, size in effects.items():
        drawn = market_levels(n_markets, n_pre + n_post, rng) * (1 + size * effect * on)
        text = csv_text(
            [f"{market}-{segment}" for market in markets],
            periods,
            unit="unit",
            columns={"market": np.array(markets)[:, None], "segment": np.array([[segment]]), "sessions": drawn},
        )
        rows.append(text if not rows else text.partition("\n")[2])
    treated = [f"{markets[i]}-{segment}" for segment in effects for i in sorted(chosen)]
    study = f"""
[study]
name = "new-home"
question = "Did the new home screen change sessions, and for whom?"

[data]
source = "table.csv"
unit = "unit"
period = "date"
cluster = "market"

[[metric]]
name = "sessions"
column = "sessions"

[launch]
units = {quoted(treated)}
start = "{periods[n_pre]}"
assignment = "chosen"

[method]
name = "auto"

[segments]
column = "segment"
"""
    return Scenario(
        name="A8",
        files={"study.toml": study.lstrip(), "table.csv": "".join(rows)},
        truth={"segments": {name: size * effect for name, size in effects.items()}},
    )


def worth_it(*, seed: int, effect: bool) -> Scenario:
    """A12: +2% of revenue in 12 of 40 markets, at a known cost; without the effect it only costs."""
    n_units, n_pre, n_post = 40, 120, 28
    rng = np.random.default_rng(seed)
    units, periods = names(n_units, "market"), days(n_pre + n_post)
    outcome = market_levels(n_units, n_pre + n_post, rng)
    chosen = np.isin(np.arange(n_units), rng.permutation(n_units)[:12])
    size = 0.02 if effect else 0.0
    outcome[np.ix_(chosen, np.arange(n_pre, n_pre + n_post))] *= 1 + size
    study = f"""
[study]
name = "faster-delivery"
question = "Did faster delivery raise revenue, and is it worth its cost?"
decision = "Roll out if P(net value > 0) >= 0.8"

[data]
source = "table.csv"
unit = "market"
period = "date"

[[metric]]
name = "revenue"
column = "revenue"
worthwhile = 0.005

[launch]
units = {quoted([unit for unit, yes in zip(units, chosen, strict=True) if yes])}
start = "{periods[n_pre]}"
assignment = "chosen"

[method]
name = "auto"

[value]
per_unit = 1.0                    # a unit of revenue is worth itself
units = 40                        # a rollout reaches every market
horizon = 364                     # days that it lasts
running_cost = 40                 # per day, of all markets together
prior_sd = 0.02                   # how large such effects usually are
prior_source = "earlier launches of this kind"
wait = [14]                       # what would two more weeks be worth?
"""
    return Scenario(
        name="A12",
        files={
            "study.toml": study.lstrip(),
            "table.csv": csv_text(units, periods, unit="market", columns={"revenue": outcome}),
        },
        truth={"relative": size, "value": 100 * size, "worth_it": effect},
    )


def global_launch(*, seed: int, effect: bool) -> Scenario:
    """A15: everybody got it on one day; one series, and two covariates that the launch can't touch."""
    n_pre, n_post = 365, 28
    rng = np.random.default_rng(seed)
    periods = days(n_pre + n_post)
    drivers = autoregression((2, n_pre + n_post), rng, rho=0.8)
    season = 0.05 * np.cos(2 * np.pi * np.arange(n_pre + n_post) / 7)
    size = 0.05 if effect else 0.0
    after = np.arange(n_pre + n_post) >= n_pre
    noise = 0.01 * autoregression((1, n_pre + n_post), rng)[0]
    visits = 1000 * (1 + 0.03 * drivers[0] - 0.02 * drivers[1] + season + noise + size * after)
    study = f"""
[study]
name = "global-launch"
question = "Did the launch in every country raise visits?"

[data]
source = "table.csv"
unit = "series"
period = "date"
covariates = ["temperature", "price_index"]

[[metric]]
name = "visits"
column = "visits"

[launch]
units = ["everyone"]
start = "{periods[n_pre]}"
assignment = "chosen"

[method]
name = "auto"
"""
    series = {"visits": visits, "temperature": 20 + 5 * drivers[0], "price_index": 100 + 3 * drivers[1]}
    columns = {name: values[None] for name, values in series.items()}
    table = csv_text(["everyone"], periods, unit="series", columns=columns)
    return Scenario(
        name="A15",
        files={"study.toml": study.lstrip(), "table.csv": table},
        truth={"relative": size, "value": 1000 * size},
    )
