"""Supergeos for 210 markets: time of the whole call, imbalance, and how much better any partition could be.

``make bench`` runs it and writes ``benchmarks/results/supergeos.md``.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np

from causalbench.data.panel import Panel
from causalbench.geo.constraints import Constraints
from causalbench.geo.selectors.supergeos import Supergeos
from causalbench.geo.split import Split
from causalbench.study.geo_study import Geo

MARKETS, DAYS = 210, 365
SETTINGS = ((2, 1), (3, 1), (4, 1), (5, 1), (2, 4), (3, 4), (4, 4))
"""max_size and segments; the last ones are the defaults."""


def history_of(n_markets: int, seed: int) -> Panel:
    """Simulate daily sales: log-normal sizes as of American television markets, a common season, own trends and noise."""
    rng = np.random.default_rng(seed)
    days = np.arange(DAYS)
    sizes = np.exp(rng.normal(0, 1.1, n_markets))
    season = 1 + 0.2 * np.sin(2 * np.pi * days / 365) + 0.1 * np.sin(2 * np.pi * days / 7)
    trend = 1 + rng.normal(0, 0.2, n_markets)[:, None] * days / DAYS
    noise = np.exp(rng.normal(0, 0.1, (n_markets, DAYS)))
    outcome = 1000 * sizes[:, None] * season * trend * noise
    return Panel(
        outcome=outcome,
        treated=np.zeros(outcome.shape, dtype=bool),
        units=tuple(f"market {i:03d}" for i in range(n_markets)),
        periods=tuple(range(DAYS)),
    )


def measure(history: Panel, max_size: int, segments: int) -> str:
    """Propose a design from scratch, and write its line."""
    selector = Supergeos(max_size=max_size, segments=segments)
    start, start_cpu = time.perf_counter(), time.process_time()
    limits = Constraints.compile(Geo(selector="supergeos"), history)
    found = selector.design(history, limits)
    split = Split(cells=np.where(found.half == 1, 1, 0), strata=found.strata)
    selector.draws(history, limits, split, n_draws=1, rng=np.random.default_rng(0))
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    root = 100 * np.sqrt(found.imbalance)
    return (
        f"| {max_size} | {segments} | {found.n_pairs} | {root:.4f} | {found.gap:.1e} | {found.rel_gap:.3f} | "
        f"{'yes' if found.certified else 'no'} | {wall:.2f} | {cpu:.2f} |"
    )


def main() -> None:
    """Measure every setting and write the page."""
    measure(history_of(14, 1), 3, 2)
    measure(history_of(14, 1), 5, 2)
    history = history_of(MARKETS, 1)
    rows = [measure(history, *setting) for setting in SETTINGS]
    lines = [
        "# Supergeos",
        "",
        f"{MARKETS} markets, {DAYS} days, no market left out; compiling the rules, the search, its bound and one draw, kernels",
        "compiled before. Written by `benchmarks/supergeos.py`.",
        "",
        "- imbalance: root of the sum of the pairs' squared differences, in percent of all markets' outcome;",
        "- gap: what any other partition could gain at most, in units of the squared imbalance that a coin per market gives;",
        "- rel gap: the same as a part of the design's own squared imbalance;",
        "- certified: whether every possible pair was priced. Where not, the bound is zero and rel gap is one.",
        "",
        "| max_size | segments | pairs | imbalance, % | gap | rel gap | certified | wall s | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Where it falls short: with max_size 4 and several segments the bound leaves more than half of the (small) imbalance",
        "open. Part of that is the search, part of it the relaxation, whose fractional partitions are better than whole ones.",
        "With 5 or 6 the pairs of 210 markets are too many to price (3.4 billion and more), so that the bound is zero, and with",
        "several segments the search itself takes longer than 10 s. An imbalance below a millionth of the coin's isn't bounded:",
        "rel gap is one there, and gap says that nothing is left to gain. With max_size 2 the bound is that of fractional",
        "matchings, which odd cycles make too low; `matched-pairs` solves that case exactly. Wall time is that of an otherwise",
        "idle machine.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}.",
    ]
    target = Path(__file__).parent / "results" / "supergeos.md"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
