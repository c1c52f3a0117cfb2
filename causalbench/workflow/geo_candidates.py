"""From proposals to one design: what each could detect and would cost, and the rule that chooses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from causalbench.artifacts import plain
from causalbench.data.panel import Panel
from causalbench.geo.power import Power
from causalbench.geo.selection import Proposal
from causalbench.geo.split import Split
from causalbench.study.geo_study import Geo

SHORTLIST = 12
"""So many proposals get their power measured."""
_GRID = 60
_AS_GOOD = 0.05
"""Durations whose smallest detectable effects differ by no more than this part of the smallest are taken as equally good."""
_ERRORS = 2
"""A/A gate: a test is believed while its false alarms are within so many Monte Carlo errors of what it promises."""


def shortlist(proposals: Sequence[Proposal], *, most: int = SHORTLIST) -> tuple[Proposal, ...]:
    """Return the best proposals of every number of treated markets, taking turns among the numbers; best score first.

    Scores of larger sets are better by nature, so the best of all alone would be of one size.
    """
    turn: dict[int, int] = {}
    order = []
    for place, proposal in enumerate(proposals):
        size = int(proposal.split.treated.sum())
        turn[size] = turn.get(size, -1) + 1
        order.append((turn[size], place))
    kept = sorted(place for _, place in sorted(order)[:most])
    return tuple(proposals[place] for place in kept)


def power_rows(
    powers: Sequence[Power], opposite: Sequence[Power], geo: Geo, *, additive: bool, compare: bool
) -> list[dict[str, Any]]:
    """Write what a split could detect in every cell and duration as plain values.

    ``opposite`` is the same for effects of the other sign. A split whose windows err to one side finds gains of any size and
    losses of none; the larger of both, ``mde_either``, doesn't take that for power. With ``compare`` it stands in for
    ``mde`` throughout: candidates are compared by it, and by what it costs.

    ``effects`` and ``power`` are the measured steps, one per window; ``claimed`` is the curve of the next experiment, which
    allows for how few windows there are. Effects are sizes without a sign; ``incremental`` and ``investment`` belong to
    the smallest detectable one.
    """
    rows = []
    for power, other in zip(powers, opposite, strict=True):
        cell, worthwhile = geo.cells[power.cell - 1], geo.smallest_worthwhile_effect
        either = None if power.mde is None or other.mde is None else max(power.mde, other.mde)
        mde = either if compare else power.mde
        incremental = None if mde is None or not additive else mde * abs(power.total_outcome)
        price = geo.cost_per_incremental
        investment = None if incremental is None or price is None else incremental * price
        grid = _grid(power, worthwhile)
        rows.append(
            {
                "cell": cell,
                "duration": power.duration,
                "mde": mde,
                "mde_either": either,
                "mde_absolute": None if mde is None else mde * abs(power.mean_outcome),
                "incremental": incremental,
                "investment": investment,
                "within_budget": _within_budget(geo, cell, investment),
                "power_at_worthwhile": None if worthwhile is None else _at(power, other, worthwhile, compare=compare),
                "effects": power.effects,
                "power": power.power,
                "claimed": {"effects": grid, "power": [power.at(effect) for effect in grid]},
                "required": power.required,
                "windows": power.windows if len(power.windows) == power.n_windows else sorted(set(power.windows)),
                "n_windows": power.n_windows,
                "n_effective": power.n_effective,
                "n_refused": power.n_refused,
                "reachable": power.reachable,
                "size": power.size,
                "size_mc_error": power.size_mc_error,
                "size_verdict": size_verdict(power.size, power.size_mc_error, nominal=1 - geo.level),
                "believable": size_verdict(power.size, power.size_mc_error, nominal=1 - geo.level) != "review",
            }
        )
    found: list[dict[str, Any]] = plain(rows)
    return found


def size_verdict(size: float, error: float, *, nominal: float) -> str:
    """Judge the A/A gate: ``review`` where false alarms exceed the nominal size by more than two Monte Carlo errors.

    Below that it is a ``pass`` only where two errors are at most the nominal size, so that a test of twice its size would have
    been noticed about as likely as not; with fewer windows it is ``not_evaluable``, which isn't a pass.

    Examples
    --------
    >>> [size_verdict(size, error, nominal=0.1) for size, error in ((0.1, 0.04), (0.1, 0.13), (0.4, 0.13))]
    ['pass', 'not_evaluable', 'review']
    """
    if size > nominal + _ERRORS * error + 1e-9:
        return "review"
    return "pass" if _ERRORS * error <= nominal + 1e-9 else "not_evaluable"


def _at(power: Power, other: Power, effect: float, *, compare: bool) -> float:
    """Return the power at an effect; for comparisons that of the weaker direction."""
    return min(power.at(effect), other.at(effect)) if compare else power.at(effect)


def _within_budget(geo: Geo, cell: str, investment: float | None) -> bool | None:
    """Tell whether a cell may cost that; None where there is no budget or no cost."""
    limit = geo.budget.get(cell) if isinstance(geo.budget, Mapping) else geo.budget
    return None if limit is None or investment is None else investment <= limit


def _grid(power: Power, worthwhile: float | None) -> list[float]:
    """Return effects at which the claimed curve is drawn: from none to beyond the smallest detectable one."""
    known = [abs(value) for value in (power.mde, worthwhile) if value is not None]
    far = max([*known, *power.effects[-1:].tolist()], default=0.1) or 0.1
    return [round(1.5 * far * step / _GRID, 10) for step in range(_GRID + 1)]


def by_duration(rows: Sequence[Mapping[str, Any]], geo: Geo) -> list[dict[str, Any]]:
    """Sum cells up: of every duration the worst MDE, the lowest power and the whole cost."""
    found = []
    for duration in sorted({row["duration"] for row in rows}):
        mine = [row for row in rows if row["duration"] == duration]
        mdes = [row["mde"] for row in mine]
        costs = [row["investment"] for row in mine]
        at = [row["power_at_worthwhile"] for row in mine]
        either = [row["mde_either"] for row in mine]
        mde = None if None in mdes else max(mdes)
        found.append(
            {
                "duration": duration,
                "mde": mde,
                "mde_either": None if None in either else max(either),
                "power_at_worthwhile": None if None in at else min(at),
                "believable": all(row["believable"] for row in mine),
                "investment": None if None in costs else sum(costs),
                "within_budget": all(row["within_budget"] is not False for row in mine),
                "cost_of_delay": None if geo.cost_of_delay is None else duration * geo.cost_of_delay,
                "reaches": _reaches(mde, at, geo),
            }
        )
    return found


def _reaches(mde: float | None, at_worthwhile: Sequence[float | None], geo: Geo) -> bool:
    """Tell whether every cell reaches the wanted power: at the smallest worthwhile effect, or at any effect."""
    if geo.smallest_worthwhile_effect is None:
        return mde is not None
    return all(power is not None and power >= geo.power for power in at_worthwhile)


def best_duration(durations: Sequence[Mapping[str, Any]], geo: Geo) -> Mapping[str, Any]:
    """Choose a duration: the shortest that reaches the power at the smallest worthwhile effect, else the smallest MDE.

    Of durations whose MDE is at most 5% above the smallest one, the shortest is taken: a longer test costs more, and MDEs are
    known less exactly than that. Durations that :func:`able` accepts come first; where none has an MDE, the longest is taken.
    """
    good = [row for row in durations if able(row)]
    if good and geo.smallest_worthwhile_effect is not None:
        return good[0]
    known = good or [row for row in durations if row["mde"] is not None]
    if not known:
        return durations[-1]
    least = min(_or_infinite(row["mde_either"]) for row in known)
    return next(row for row in known if _or_infinite(row["mde_either"]) <= least * (1 + _AS_GOOD))


def able(row: Mapping[str, Any]) -> bool:
    """Tell whether a duration reaches the power, within budget, by a test whose false alarms can be believed."""
    return bool(row["reaches"] and row["within_budget"] and row["believable"])


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


def best_candidate(candidates: Sequence[Mapping[str, Any]], geo: Geo) -> int:
    """Choose a candidate by the same rule on the periods that the search has seen; returns its place."""

    def order(place: int) -> tuple[bool, float, int]:
        row = best_duration(candidates[place]["durations"], geo)
        return not able(row), _or_infinite(row["mde_either"]), place

    return min(range(len(candidates)), key=order)


def rule_in_words(geo: Geo, *, randomized: bool, own: bool) -> str:
    """Say how the design was chosen."""
    worthwhile = geo.smallest_worthwhile_effect
    length = (
        f"the shortest duration whose smallest effect detected in either direction is within {_AS_GOOD:.0%} of the best one's"
        if worthwhile is None
        else f"the shortest duration whose power at {100 * worthwhile:g}% reaches {geo.power:g}"
    )
    limit = " within budget" if geo.budget is not None else ""
    if own:
        return f"The markets are the study's own; {length}{limit} is taken."
    if randomized:
        return f"The markets are drawn, so nothing is chosen among them; {length}{limit} is taken."
    return (
        "Of the proposals, the one with the smallest effect that is detected in either direction in its worst cell"
        f"{limit}, measured on windows of the periods that the search has seen; then {length}{limit}, measured on windows "
        "that it hasn't."
    )


def candidate_row(
    place: int,
    proposal: Proposal,
    rows: list[dict[str, Any]],
    *,
    history: Panel,
    geo: Geo,
    violations: Callable[[Split], Any],
) -> dict[str, Any]:
    """Write one candidate as plain values."""
    split, totals = proposal.split, history.outcome.sum(axis=1)
    named = {
        name: [history.units[i] for i in np.flatnonzero(split.cells == cell)] for cell, name in enumerate(geo.cells, 1)
    }
    durations, total = by_duration(rows, geo), float(totals.sum())
    shares = {
        name: float(totals[split.cells == cell].sum()) / total if history.additive and total > 0 else None
        for cell, name in enumerate(geo.cells, start=1)
    }
    return {
        "rank": place + 1,
        "cells": named,
        "n_treated": int(split.treated.sum()),
        "n_controls": int(split.control.sum()),
        "score": proposal.score,
        "scaled_l2": proposal.scaled_l2,
        "shares": shares,
        "share": None if None in shares.values() else sum(shares.values()),
        "durations": durations,
        "best": dict(best_duration(durations, geo)),
        "size": [
            {key: row[key] for key in ("cell", "duration", "size", "size_mc_error", "size_verdict")} for row in rows
        ],
        "violations": list(violations(split)),
        "chosen": False,
    }
