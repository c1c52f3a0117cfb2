"""Readouts of simulated geo experiments: do p-value and set contradict each other, and how often is nothing called something?

``python benchmarks/geo_readouts.py`` runs it and writes ``benchmarks/results/geo_readouts.md``. Markets come from a factor model
with AR(1) factors and noise of variance 1. Where a design is randomised, the actual assignment is drawn by the same rule as the
draws that it is compared with; for chosen splits markets are exchangeable, so that inferences of the catalogue are at their best.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.random import Generator
from scipy import stats

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.geo.analysis import analyse
from causalbench.geo.delivery import FAIL_BELOW, REVIEW_BELOW, shares, split_ratio
from causalbench.geo.factorial import factorial
from causalbench.geo.multiplicity import each_cell, each_pair, max_t
from causalbench.geo.randomization import design_test, drawn_effects, inverted, return_test
from causalbench.geo.result import GeoResult, Measured
from causalbench.geo.split import Split
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.values import Interval, rejects

LEVEL, NOMINAL = 0.9, 0.1
LEVELS = (0.8, 0.9, 0.95)
RHO = (0.0, 0.5, 0.8)
Method = tuple[str, dict[str, Any]]
RANDOMISED: tuple[Method, ...] = (
    ("did", {}),
    ("synthetic-control", {"fixed_effects": "unit"}),
    ("synthetic-control", {}),
    ("augmented-synthetic-control", {"fixed_effects": "unit"}),
    ("time-based-regression", {}),
)
OFTEN = (0.45, 0.12, 0.08, 0.05, 0.3)
"""How often each of them is drawn for the count of contradictions: the fast ones more."""
HOUSE: tuple[Method, ...] = (
    ("did", {}),
    ("synthetic-control", {"fixed_effects": "unit"}),
    ("synthetic-did", {}),
    ("time-based-regression", {}),
)
SLOW = {"prediction", "refined-placebo"}
"""Inferences of synthetic controls measured in ``benchmarks/results/inference_sizes.md``: half a second and more a readout."""


def label(method: Method) -> str:
    return " ".join([method[0], *map(str, method[1].values())])


# Designs -----------------------------------------------------------------------------------------------------------


def complete(_: np.ndarray, cells: np.ndarray, n: int, rng: Generator) -> np.ndarray:
    """Deal the cells' labels among all markets, whatever their history."""
    return rng.permuted(np.tile(cells, (n, 1)), axis=1)


def pairs(history: np.ndarray, _: np.ndarray, n: int, rng: Generator) -> np.ndarray:
    """Treat one of each two neighbours in the mean of the history."""
    order = np.argsort(history.mean(axis=1), kind="stable")
    first = rng.integers(2, size=(n, len(order) // 2))
    drawn = np.zeros((n, len(order)), dtype=int)
    drawn[:, order[0::2]], drawn[:, order[1::2]] = first, 1 - first
    return drawn


def rerandomised(history: np.ndarray, cells: np.ndarray, n: int, rng: Generator) -> np.ndarray:
    """Keep the fifth of complete draws whose means of the history differ least, by a bound fixed beforehand."""
    means = history.mean(axis=1)
    bound = 0.2533 * means.std() * math.sqrt(4 / len(means)) * math.sqrt(len(means) / (len(means) - 1))
    kept: list[np.ndarray] = []
    while len(kept) < n:
        drawn = complete(history, cells, 5 * n, rng)
        gap = np.array([means[row == 1].mean() - means[row == 0].mean() for row in drawn])
        kept += list(drawn[np.abs(gap) <= bound])
    return np.array(kept[:n])


DESIGNS = {"complete": complete, "pairs": pairs, "rerandomised": rerandomised}


def markets(n_units: int, n_pre: int, n_post: int, rho: float, seed: int) -> Panel:
    """Nobody treated has an effect; the first market stands in for who is treated."""
    return factor_panel(
        n_units=n_units, n_periods=n_pre + n_post, n_treated=1, n_post=n_post, effect=0.0, rho=rho, seed=seed
    )


# Contradictions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One readout: data, design and how it is analysed."""

    panel: Panel
    split: Split
    draws: np.ndarray | None
    cost: np.ndarray
    method: Method
    inference: str


SHAPES = {"constant": np.ones(10), "fading": np.linspace(2, 0, 10), "turning": np.repeat([4.0, -4.0], 5)}


def case(i: int) -> Case:
    """Draw a design, an effect, a method and an inference; ``i`` numbers the readout."""
    rng = np.random.default_rng([17, i])
    n_units, n_pre, n_post = 16, 40, 10
    panel = markets(n_units, n_pre, n_post, float(rng.choice(RHO)), int(rng.integers(2**31)))
    n_cells = int(rng.choice([1, 1, 1, 2, 3]))
    labels = np.arange(n_units) % (n_cells + 1)
    design = "complete" if n_cells > 1 else str(rng.choice(list(DESIGNS)))
    n_draws = int(rng.choice([7, 39, 199]))
    drawn = DESIGNS[design](panel.outcome[:, :n_pre], labels, n_draws + 1, rng)
    cells, size = drawn[0], float(rng.choice([0.0, 0.5, 3.0]))
    shape = SHAPES[str(rng.choice(list(SHAPES)))]
    outcome = panel.outcome.copy()
    outcome[:, n_pre:] += size * (cells > 0)[:, None] * shape
    cost = np.zeros(outcome.shape)
    cost[cells > 0, n_pre:] = rng.uniform(0.5, 2, size=(int((cells > 0).sum()), n_post))
    moved = replace(panel, outcome=outcome)
    if rng.random() < 0.75:
        method = RANDOMISED[int(rng.choice(len(RANDOMISED), p=OFTEN))]
        return Case(
            panel=moved,
            split=Split(cells=cells),
            draws=drawn[1:],
            cost=cost,
            method=method,
            inference="randomization",
        )
    method = HOUSE[int(rng.integers(len(HOUSE)))]
    allowed = [name for name in ESTIMATORS.load(method[0]).inferences if name not in SLOW]
    inference = str(rng.choice(allowed))
    return Case(panel=moved, split=Split(cells=cells), draws=None, cost=cost, method=method, inference=inference)


def readout(one: Case, level: float) -> GeoResult:
    return analyse(
        one.panel,
        one.split,
        estimator=ESTIMATORS.create(*one.method),
        start=40,
        draws=one.draws,
        inference=one.inference,
        cost=one.cost,
        level=level,
        rng=np.random.default_rng(0),
    )


def contradicts(p_value: float | None, interval: Interval | None) -> bool:
    if p_value is None or interval is None:
        return False
    return rejects(p_value, interval.level) == interval.contains(0.0)


def nested(narrow: Interval | None, wide: Interval | None) -> bool:
    """Tell whether the set at the lower level lies in that at the higher one, up to the bisection of scanned sets."""
    if narrow is None or wide is None:
        return True
    for lower, upper in narrow.segments:
        slack = 1e-6 * max(abs(end) for end in (lower, upper, 1.0) if math.isfinite(end))
        if not any(low - slack <= lower and upper <= high + slack for low, high in wide.segments):
            return False
    return True


def status(cell: Any) -> Iterator[str]:
    interval = cell.effect.interval
    if interval is None:
        yield "without a set"
        return
    ends = [end for segment in interval.segments for end in segment]
    yield "empty" if not ends else "unbounded" if not np.isfinite(ends).all() else "bounded"
    if len(interval.segments) > 1:
        yield "in several segments"
    if ends and not interval.contains(cell.effect.value):
        yield "missing the estimate"


def judge(i: int) -> Counter[str]:
    """Read one case out at three levels and count what contradicts what."""
    one, found = case(i), Counter[str]()
    try:
        results = [readout(one, level) for level in LEVELS]
    except RefusalError:
        return Counter({"refused": 1, f"refused: {one.inference}": 1})
    except ValueError as error:  # values.Uncertainty refuses to hold a p-value and a set that disagree
        return Counter({"readouts": 1, "contradictions": 1, f"error: {error}": 1})
    found["readouts"] += 1
    found[f"by {one.inference}"] += 1
    for result in results:
        for tested in (*(c.effect for c in result.cells), *result.comparisons, *result.factors):
            found["p-values"] += 1
            found["contradictions"] += contradicts(tested.p_value, tested.interval)
            found["contradictions, adjusted"] += contradicts(tested.adjusted_p, tested.simultaneous)
        for cell in result.cells:
            others = (cell.incremental, cell.lift, cell.returned)
            sets = [other.interval for other in others if isinstance(other, Measured)]
            found["contradictions, totals"] += any(contradicts(cell.effect.p_value, interval) for interval in sets)
            found.update(f"sets {name}" for name in status(cell))
            unfit = cell.misfit.verdict in ("fail", "review")
            empty_or_missed = {"empty", "missing the estimate"} & set(status(cell))
            found["misfit not reported"] += bool(empty_or_missed) and not unfit
    for narrow, wide in itertools.pairwise(results):
        for one_cell, other in zip(narrow.cells, wide.cells, strict=True):
            found["not nested"] += not nested(one_cell.effect.interval, other.effect.interval)
            found["p differs by level"] += one_cell.effect.p_value != other.effect.p_value
    return found


def contradictions(n: int, jobs: int) -> Counter[str]:
    total = Counter[str]()
    for part in joblib.Parallel(n_jobs=jobs)(joblib.delayed(judge)(i) for i in range(n)):
        total.update(part)
    return total


# Sizes -------------------------------------------------------------------------------------------------------------


def design_size(method: Method, design: str, rho: float, n: int, n_draws: int) -> dict[str, float]:
    """Return how often the randomization test at nominal 10% rejects where nothing happened; 24 markets, 180 / 14."""
    estimator, rejected = ESTIMATORS.create(*method), []
    for seed in range(n):
        rng = np.random.default_rng([5, seed])
        panel = markets(24, 180, 14, rho, seed)
        drawn = DESIGNS[design](panel.outcome[:, :180], np.arange(24) % 2, n_draws + 1, rng)
        moved = panel.assigned_to(drawn[0] == 1, start=180)
        found = design_test(estimator, moved, drawn[1:], level=LEVEL)
        rejected.append(not found.interval.contains(0.0))
    return {"answered": 1.0, "size": float(np.mean(rejected))}


def house_sizes(method: Method, rho: float, n: int) -> dict[str, dict[str, float]]:
    """Return, by inference, share answered and share of all that rejects; 6 of 40 markets, 180 / 14."""
    estimator, found = ESTIMATORS.create(*method), {}
    names = [name for name in ESTIMATORS.load(method[0]).inferences if name not in SLOW]
    rows: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(n):
        panel = markets(40, 180, 14, rho, 10_000 + seed).assigned_to(np.arange(40) < 6, start=180)
        fit = estimator.fit(panel)
        for name in names:
            member = INFERENCES.create(name, None)
            try:
                answer = member.infer(estimator, panel, fit, level=LEVEL, rng=np.random.default_rng(seed))
            except RefusalError:
                rows[name].append(math.nan)
                continue
            rows[name].append(math.nan if answer.p_value is None else float(rejects(answer.p_value, LEVEL)))
    for name, values in rows.items():
        array = np.array(values)
        found[name] = {"answered": float((~np.isnan(array)).mean()), "size": float(np.nan_to_num(array).mean())}
    return found


def families(n: int, *, per_cell: int, n_cells: int, n_draws: int = 199, method: str = "did") -> dict[str, float]:
    """Return sizes where the last cell has a large effect and the others none, and the error of the family of true nulls."""
    names = tuple("abcdef"[:n_cells])
    labels = np.repeat(np.arange(n_cells + 1), per_cell)
    counts = Counter[str]()
    for seed in range(n):
        rng = np.random.default_rng([9, seed])
        panel = markets(len(labels), 60, 14, 0.5, 20_000 + seed)
        drawn = complete(panel.outcome, labels, n_draws + 1, rng)
        outcome = panel.outcome.copy()
        outcome[:, 60:] += 3.0 * (drawn[0] == n_cells)[:, None]
        moved = replace(panel, outcome=outcome).assigned_to(drawn[0] > 0, start=60)
        found = drawn_effects(ESTIMATORS.create(method), moved, drawn[1:], actual=drawn[0])
        cells, couples = each_cell(names), each_pair(names)
        joint, among = max_t(found, cells, level=LEVEL), max_t(found, couples, level=LEVEL)
        one, pair = cells[0], couples[0]
        counts["cell alone"] += not inverted(found, one.weights, one.move, level=LEVEL).interval.contains(0.0)
        if pair.weights[-1] == 0:
            counts["pair alone"] += not inverted(found, pair.weights, pair.move, level=LEVEL).interval.contains(0.0)
        counts["family of cells"] += any(not test.interval.contains(0.0) for test in joint[:-1])
        nulls = [t for t, c in zip(among, couples, strict=True) if c.weights[-1] == 0]
        if nulls:
            counts["family of pairs"] += any(not test.interval.contains(0.0) for test in nulls)
        covered = all(t.interval.contains(3.0 if k == n_cells - 1 else 0.0) for k, t in enumerate(joint))
        counts["all sets hold"] += covered
    return {name: count / n for name, count in counts.items()}


def two_by_two(n: int, *, n_draws: int = 199, method: str = "did") -> dict[str, float]:
    """Return sizes for 48 markets where the first change adds 3 and nothing else does anything."""
    names, factors = ("a", "b", "both"), {"a": ("a", "both"), "b": ("b", "both")}
    contrasts, labels, counts = factorial(names, factors), np.repeat(np.arange(4), 12), Counter[str]()
    for seed in range(n):
        rng = np.random.default_rng([13, seed])
        panel = markets(48, 60, 14, 0.5, 30_000 + seed)
        drawn = complete(panel.outcome, labels, n_draws + 1, rng)
        outcome = panel.outcome.copy()
        outcome[:, 60:] += 3.0 * np.isin(drawn[0], (1, 3))[:, None]
        moved = replace(panel, outcome=outcome).assigned_to(drawn[0] > 0, start=60)
        found = drawn_effects(ESTIMATORS.create(method), moved, drawn[1:], actual=drawn[0])
        for contrast, name in zip(contrasts[1:], ("second change", "interaction"), strict=True):
            alone = inverted(found, contrast.weights, contrast.move, level=LEVEL)
            counts[f"{name} alone"] += not alone.interval.contains(0.0)
        joint = max_t(found, contrasts, level=LEVEL)
        counts["family of both"] += any(not test.interval.contains(0.0) for test in joint[1:])
        counts["first change found"] += not joint[0].interval.contains(0.0)
        truth = (3.0, 0.0, 0.0)
        counts["all sets hold"] += all(t.interval.contains(v) for t, v in zip(joint, truth, strict=True))
    return {name: count / n for name, count in counts.items()}


def return_coverage(method: Method, n: int, *, n_draws: int = 199) -> float:
    """Return how often the set of the incremental return holds the true one, 3, where markets spend unequally."""
    held = 0
    for seed in range(n):
        rng = np.random.default_rng([21, seed])
        panel = markets(24, 60, 14, 0.5, 40_000 + seed)
        drawn = complete(panel.outcome, np.arange(24) % 2, n_draws + 1, rng)
        cost = np.zeros(panel.outcome.shape)
        cost[:, 60:] = (drawn[0] == 1)[:, None] * rng.lognormal(-1.5, 1, size=(24, 1))
        moved = replace(panel, outcome=panel.outcome + 3 * cost).assigned_to(drawn[0] == 1, start=60)
        found = drawn_effects(ESTIMATORS.create(*method), moved, drawn[1:], actual=drawn[0], cost=cost)
        held += return_test(found, cell=0, level=LEVEL)[1].interval.contains(3.0)
    return held / n


def split_ratios(n: int, *, n_draws: int = 4_999) -> dict[str, float]:
    """Return how often clean 20 / 20 splits of unequal markets alarm: by the design's draws, and by a chi-square over users."""
    counts = Counter[str]()
    for seed in range(n):
        rng = np.random.default_rng([27, seed])
        users = np.round(rng.lognormal(9, 1, size=40))
        drawn = complete(users, np.arange(40) % 2, n_draws + 1, rng)
        found = split_ratio("treated", shares(drawn, users, 1))
        treated = users[drawn[0] == 1].sum()
        counts[f"draws, tail share below {REVIEW_BELOW}"] += (found.tail_share or 0) < REVIEW_BELOW
        counts[f"draws, tail share below {FAIL_BELOW}"] += (found.tail_share or 0) < FAIL_BELOW
        p_value = float(stats.chisquare([treated, users.sum() - treated]).pvalue)
        counts[f"chi-square over users, p below {REVIEW_BELOW}"] += p_value < REVIEW_BELOW
        counts[f"chi-square over users, p below {FAIL_BELOW}"] += p_value < FAIL_BELOW
    return {name: count / n for name, count in counts.items()}


# The page ----------------------------------------------------------------------------------------------------------


def error(share: float, n: int) -> float:
    return math.sqrt(max(share * (1 - share), 1e-12) / n)


def allowed(n: int) -> float:
    """Nominal size, one point and two Monte Carlo errors."""
    return NOMINAL + 0.01 + 2 * error(NOMINAL, n)


def contradiction_lines(found: Counter[str]) -> Iterator[str]:
    yield "## Contradictions"
    yield ""
    levels = ", ".join(map(str, LEVELS))
    yield f"{found['readouts']} readouts at the levels {levels}: {found['p-values']} p-values with their sets,"
    yield "1 to 3 cells of 16 markets, 40 + 10 periods; effects constant, fading and turning, of 0 to 3 standard deviations."
    yield f"{found['refused']} more were refused by their inference, with a reason."
    yield ""
    yield "| | count |"
    yield "|---|---:|"
    for key in (
        "contradictions",
        "contradictions, adjusted",
        "contradictions, totals",
        "not nested",
        "p differs by level",
        "misfit not reported",
    ):
        yield f"| {key} | {found[key]} |"
    for key in sorted(name for name in found if name.startswith(("sets ", "by ", "refused: ", "error: "))):
        yield f"| {key} | {found[key]} |"
    yield ""


def size_lines(rows: list[tuple[str, str, float, dict[str, float], int]]) -> Iterator[str]:
    yield "## Size at nominal 10%, 180 + 14 periods"
    yield ""
    yield "Design: 12 of 24 markets by complete randomisation, one of each pair, or rerandomised (best fifth); house: 6 of 40"
    yield "markets, exchangeable. Answered: share not refused (by persistence, mostly). Size: share of all draws that answer and"
    yield "reject; at most 11% and two Monte Carlo errors are allowed, `(above)` marks the rest."
    yield ""
    yield "| method | inference | autocorrelation | draws | answered | size | Monte Carlo error | allowed |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for method, inference, rho, row, n in rows:
        mark = " (above)" if row["size"] > allowed(n) else ""
        yield (
            f"| {method} | {inference} | {rho:g} | {n} | {row['answered']:.2f} | {row['size']:.3f}{mark} "
            f"| {error(row['size'], n):.3f} | {allowed(n):.3f} |"
        )
    yield ""


def share_lines(title: str, head: str, rows: dict[str, dict[str, float]], n: int) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield f"| {head} | | share | Monte Carlo error |"
    yield "|---|---|---:|---:|"
    for name, row in rows.items():
        for key, share in row.items():
            yield f"| {name} | {key} | {share:.3f} | {error(share, n):.3f} |"
    yield ""


HOUSE_SHARE = {"did": 0.3, "synthetic-control": 0.6, "synthetic-did": 0.3, "time-based-regression": 1.0}
"""Share of the draws that a method's own inferences get, by how long they take."""


def measure_sizes(n: int, jobs: int) -> list[tuple[str, str, float, dict[str, float], int]]:
    """Measure the design's draws, then the inferences of the catalogue."""
    tasks: list[tuple[Method, str, float, int]] = []
    for method, design, rho in itertools.product(RANDOMISED, DESIGNS, RHO):
        slow = method[0] == "augmented-synthetic-control"
        if not slow or (rho == max(RHO) and design == "complete"):
            tasks.append((method, design, rho, max(n // 4, 50) if slow else n))
    made = joblib.Parallel(n_jobs=jobs)(joblib.delayed(design_size)(m, d, r, k, 99) for m, d, r, k in tasks)
    rows = [(label(m), f"randomization, {d}", r, row, k) for (m, d, r, k), row in zip(tasks, made, strict=True)]
    house = [(m, rho, max(round(n * HOUSE_SHARE[m[0]]), 50)) for m in HOUSE for rho in (min(RHO), max(RHO))]
    for_house = joblib.Parallel(n_jobs=jobs)(joblib.delayed(house_sizes)(*task) for task in house)
    for (method, rho, k), by_name in zip(house, for_house, strict=True):
        rows += [(label(method), name, rho, row, k) for name, row in by_name.items()]
    return rows


def measure_families(n: int) -> dict[str, dict[str, dict[str, float]]]:
    """Measure several cells, two changes, returns and split ratios."""
    return {
        "cells": {
            "3 cells of 12 and 12 controls": families(n, per_cell=12, n_cells=3),
            "2 cells of 5 and 5 controls": families(n, per_cell=5, n_cells=2),
            "5 cells of 5 and 5 controls": families(n, per_cell=5, n_cells=5),
            "2 x 2, 48 markets": two_by_two(n),
        },
        "returns": {label(m): {"set holds the true return": return_coverage(m, n)} for m in RANDOMISED[:2]},
        "ratios": {"20 / 20 splits, lognormal sizes": split_ratios(n)},
    }


def write(
    found: Counter[str],
    sizes: list[tuple[str, str, float, dict[str, float], int]],
    more: dict[str, dict[str, dict[str, float]]],
    n: int,
) -> None:
    """Write the page."""
    several = "Several cells and two changes, did, nominal 10%, one cell (or change) with an effect of 3"
    lines = [
        "# Geo readouts: contradictions and sizes",
        "",
        *contradiction_lines(found),
        *size_lines(sizes),
        *share_lines(several, "design", more["cells"], n),
        *share_lines("Incremental return, nominal 90%", "method", more["returns"], n),
        *share_lines("Alarms of the split ratio on clean splits", "design", more["ratios"], n),
        f"Python {platform.python_version()}; `python benchmarks/geo_readouts.py`.",
    ]
    (Path(__file__).parent / "results" / "geo_readouts.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Simulate everything and write the page."""
    parser = argparse.ArgumentParser(description="Contradictions and sizes of geo readouts.")
    parser.add_argument("--readouts", type=int, default=1_200)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    found = contradictions(arguments.readouts, arguments.jobs)
    write(found, measure_sizes(arguments.draws, arguments.jobs), measure_families(arguments.draws), arguments.draws)


if __name__ == "__main__":
    main()
