"""Campaigns in markets that were drawn at random: a clean test, leaks, interim looks, two changes at once."""

from __future__ import annotations

import numpy as np

from causalbench.data.scenarios.scenario import Scenario, csv_text, days, market_levels, names, quoted
from causalbench.values import BoolArray, FloatArray

_STUDY = """
[study]
name = "{name}"
question = "{question}"

[data]
source = "table.csv"
unit = "market"
period = "date"
{cost}
[[metric]]
name = "revenue"
column = "revenue"

[geo]
level = {level}
{cells}
[geo.test]
{assigned}
start = "{start}"
assignment = "random"
{more}
[method]
name = "did"
"""


def random_markets(*, seed: int, effect: bool) -> Scenario:
    """A2: half of 40 markets, drawn at random, get a campaign for 15 days: +5%, at a known spend."""
    n_pre, n_post, lift = 90, 15, 0.05 * effect
    units, periods, outcome, rng = _history(40, n_pre + n_post, seed)
    treated = np.isin(np.arange(40), rng.permutation(40)[:20])
    on = _on(treated, n_pre, n_post)
    spend = np.where(on, 2.0 + rng.random((40, 1)), 0.0)
    gained = lift * outcome * on
    study = _STUDY.format(
        name="campaign",
        question="Did the campaign raise revenue?",
        cost='cost = "spend"',
        level=0.9,
        cells="",
        assigned=f"cells = {{ campaign = {_chosen(units, treated)} }}",
        start=periods[n_pre],
        more="",
    )
    return Scenario(
        name="A2",
        files={
            "study.toml": study.lstrip(),
            "table.csv": csv_text(units, periods, unit="market", columns={"revenue": outcome + gained, "spend": spend}),
        },
        truth={"relative": lift, "incremental": float(gained.sum()), "return": float(gained.sum() / spend.sum())},
    )


def leaked_controls(*, seed: int, effect: bool) -> Scenario:
    """A10: 20 of 40 markets were planned; three controls got it on day 9. +6%.

    The market that was merged away is in the tests of sealed designs: without one nobody knows that it was there.
    """
    n_pre, n_post, lift = 90, 21, 0.06 * effect
    units, periods, outcome, rng = _history(40, n_pre + n_post, seed)
    order = rng.permutation(40)
    treated = np.isin(np.arange(40), order[:20])
    leaked = np.isin(np.arange(40), order[20:23])
    on = _on(treated, n_pre, n_post) | (leaked[:, None] & (np.arange(n_pre + n_post) >= n_pre + 8))
    revenue = outcome * (1 + lift * on)
    study = _STUDY.format(
        name="leaked-campaign",
        question="Did the campaign raise revenue?",
        cost="",
        level=0.9,
        cells="",
        assigned=f"cells = {{ campaign = {_chosen(units, treated)} }}",
        start=periods[n_pre],
        more='actual = "got"',
    )
    table = csv_text(
        units,
        periods,
        unit="market",
        columns={"revenue": revenue, "got": np.where(on, "campaign", "control")},
    )
    return Scenario(
        name="A10",
        files={"study.toml": study.lstrip(), "table.csv": table},
        truth={
            "relative": lift,
            "leaked": tuple(units[i] for i in np.flatnonzero(leaked)),
            "since": periods[n_pre + 8],
        },
    )


def four_weekly_looks(*, seed: int, effect: bool) -> Scenario:
    """A11: half of 40 markets for four weeks, with a look after each: +8%."""
    n_pre, n_post, lift = 60, 28, 0.08 * effect
    units, periods, outcome, rng = _history(40, n_pre + n_post, seed)
    treated = np.isin(np.arange(40), rng.permutation(40)[:20])
    study = _STUDY.format(
        name="weekly-looks",
        question="Did the campaign raise revenue, and may it stop early?",
        cost="",
        level=0.95,
        cells="",
        assigned=f"cells = {{ campaign = {_chosen(units, treated)} }}",
        start=periods[n_pre],
        more=f"looks = {quoted([periods[n_pre + 7 * week - 1] for week in range(1, 5)])}",
    )
    revenue = outcome * (1 + lift * _on(treated, n_pre, n_post))
    return Scenario(
        name="A11",
        files={
            "study.toml": study.lstrip(),
            "table.csv": csv_text(units, periods, unit="market", columns={"revenue": revenue}),
        },
        truth={"relative": lift},
    )


def two_changes_at_once(*, seed: int, effect: bool) -> Scenario:
    """A13: 48 markets in 2 x 2 cells of twelve: ads +5, mail +4, both +12."""
    n_pre, n_post = 60, 21
    units, periods, outcome, rng = _history(48, n_pre + n_post, seed)
    cell = rng.permutation(np.repeat([0, 1, 2, 3], 12))
    sizes = effect * np.array([0.0, 5.0, 4.0, 12.0])
    labels = ("ads", "mail", "both")
    cells = ", ".join(f"{label} = {_chosen(units, cell == k)}" for k, label in enumerate(labels, 1))
    study = _STUDY.format(
        name="ads-and-mail",
        question="What did ads and mail do, and together?",
        cost="",
        level=0.9,
        cells=f"cells = {quoted(list(labels))}",
        assigned=f"cells = {{ {cells} }}",
        start=periods[n_pre],
        more='factors = { ads = ["ads", "both"], mail = ["mail", "both"] }',
    )
    revenue = outcome + sizes[cell][:, None] * (np.arange(n_pre + n_post) >= n_pre)
    ads, mail, both = (float(size) for size in sizes[1:])
    return Scenario(
        name="A13",
        files={
            "study.toml": study.lstrip(),
            "table.csv": csv_text(units, periods, unit="market", columns={"revenue": revenue}),
        },
        truth={"ads": (ads + both - mail) / 2, "mail": (mail + both - ads) / 2, "ads x mail": both - ads - mail},
    )


def _history(n_units: int, n_periods: int, seed: int) -> tuple[list[str], list[str], FloatArray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return names(n_units, "market"), days(n_periods), market_levels(n_units, n_periods, rng), rng


def _on(treated: BoolArray, n_pre: int, n_post: int) -> BoolArray:
    return treated[:, None] & (np.arange(n_pre + n_post) >= n_pre)


def _chosen(units: list[str], which: BoolArray) -> str:
    return quoted([units[i] for i in np.flatnonzero(which)])
