"""Graphs of 2,000 to 100,000 nodes: building, one minimal adjustment set, the first hundred, and what must not hang.

``make bench`` runs it and writes ``benchmarks/results/dag.md``. Graphs are drawn: every node has up to three causes among the
fifty before it; exposure and outcome lie far apart, so that many nodes are ancestors of both.
"""

from __future__ import annotations

import itertools
import platform
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from causalbench import dag
from causalbench.dag.roles import audit

REPEATS = 5
Result = TypeVar("Result")
Drawn = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def drawn(n: int, seed: int = 0) -> Drawn:
    """Draw nodes and edges."""
    rng = random.Random(seed)  # noqa: S311 - a graph, not a secret
    names = tuple(f"v{i}" for i in range(n))
    edges = tuple(
        (names[rng.randrange(max(0, j - 50), j)], names[j]) for j in range(1, n) for _ in range(rng.randint(1, 3))
    )
    return names, edges


def exposure_of(graph: Drawn) -> str:
    """Return a node with three causes, a third of the way in."""
    counts = Counter(effect for _, effect in dict.fromkeys(graph[1]))
    return next(name for name in graph[0][len(graph[0]) // 3 :] if counts[name] == 3)


def build(graph: Drawn) -> dag.Graph:
    """Build and check a graph."""
    return dag.Graph(nodes=graph[0], edges=graph[1])


def timed(run: Callable[[], Result], repeats: int = REPEATS) -> tuple[float, Result]:
    """Return the smallest processor time of some runs, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def rows() -> list[str]:
    """Measure every case."""
    found = []
    for n, limit in ((10_000, "0.050"), (100_000, "1.000")):
        text = drawn(n)
        ends = exposure_of(text), f"v{n - 2}"
        seconds, chosen = timed(lambda text=text, ends=ends: dag.minimal_adjustment_set(build(text), *ends))
        alone, _ = timed(lambda text=text: build(text))
        if chosen is None or not dag.is_adjustment_set(build(text), *ends, chosen):
            raise AssertionError("the set isn't valid")
        found.append(
            f"| one minimal set, graph built | {n:,} | {len(text[1]):,} | {seconds:.3f} | {limit} | {len(chosen)} nodes |"
        )
        found.append(f"| of that, building | {n:,} | {len(text[1]):,} | {alone:.3f} | | |")
    text = drawn(2_000)
    graph, ends = build(text), (exposure_of(text), "v1998")
    seconds, sets = timed(lambda: list(itertools.islice(dag.minimal_adjustment_sets(graph, *ends), 100)))
    if len(set(sets)) < 100:
        raise AssertionError("sets repeat")
    found.append(f"| first 100 minimal sets | 2,000 | {len(text[1]):,} | {seconds:.3f} | 1.000 | 100 sets |")
    seconds, claims = timed(lambda: list(itertools.islice(dag.implied_independences(graph), 100)))
    found.append(f"| first 100 independences | 2,000 | {len(text[1]):,} | {seconds:.3f} | | {len(claims)} claims |")
    seconds, answer = timed(lambda: dag.identify(graph, *ends, seconds=2.0), 1)
    said = "functional" if answer.identified else "incomplete, as it says"
    found.append(f"| identify, 2 s allowed | 2,000 | {len(text[1]):,} | {seconds:.3f} | | {said} |")
    seconds, verdicts = timed(lambda: audit(graph, *ends, seconds=2.0), 1)
    said = f"{len(verdicts.verdicts)} nodes judged{'' if verdicts.complete else ', incomplete, as it says'}"
    found.append(f"| audit, 2 s allowed | 2,000 | {len(text[1]):,} | {seconds:.3f} | | {said} |")
    return found


def importing() -> float:
    """Return processor seconds of ``import causalbench.dag`` beyond an empty program."""

    def spent(program: str) -> float:
        measure = f"import time; a = time.process_time()\n{program}\nprint(time.process_time() - a)"
        done = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True)
        return float(done.stdout)

    return min(spent("import causalbench.dag") for _ in range(REPEATS))


def main() -> None:
    """Measure and write the table."""
    lines = [
        "# Graphs of many nodes",
        "",
        f"Python {platform.python_version()}; processor seconds, the smallest of {REPEATS} runs. `python benchmarks/dag.py`",
        "",
        "| task | nodes | edges | seconds | promised | result |",
        "|---|---:|---:|---:|---:|---|",
        *rows(),
        f"| import causalbench.dag | | | {importing():.3f} | 0.300 | |",
        "",
        "Where it is slow: an audit judges every node in linear time, so it is quadratic; identification writes a functional",
        "whose terms name every node before theirs, quadratic too. Both take a budget in seconds of the clock, not of the",
        "processor, and say when it ended them.",
        "",
    ]
    Path(__file__).with_name("results").joinpath("dag.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
