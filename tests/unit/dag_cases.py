"""Random causal graphs, and slow obvious answers about them."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from hypothesis import strategies as st

from causalbench.dag import Graph


@st.composite
def graphs(draw, *, most: int = 7, hidden: bool = True, selected: bool = False):
    """Draw a graph of up to ``most`` nodes, in an order that need not be the causal one, with an exposure and an outcome."""
    n = draw(st.integers(2, most))
    order = draw(st.permutations(range(n)))
    names = [f"n{i}" for i in order]
    pairs = list(combinations(range(n), 2))
    edges = [(names[i], names[j]) for i, j in pairs if draw(st.integers(0, 2)) == 0]
    bidirected = [(names[i], names[j]) for i, j in pairs if hidden and draw(st.integers(0, 7)) == 0]
    x, y = draw(st.permutations(names))[:2]
    latents = [name for name in names if hidden and name not in (x, y) and draw(st.integers(0, 4)) == 0]
    chosen = {name for name in names if selected and name not in latents and draw(st.integers(0, 4)) == 0}
    graph = Graph(
        edges=edges, nodes=sorted(names), bidirected=bidirected, latents=frozenset(latents), selected=frozenset(chosen)
    )
    return graph, x, y


def all_paths(graph: Graph, x: int, y: int):
    """Yield every path between two nodes, as lists of nodes."""

    def grow(path):
        if path[-1] == y:
            yield path
            return
        for node in {*graph.parents[path[-1]], *graph.children[path[-1]]} - set(path):
            yield from grow([*path, node])

    yield from grow([x])


def written_path_is_open(graph: Graph, text: str, held: set[str]) -> bool:
    """Tell whether a path written with arrows exists, and is open given some nodes (Pearl 1988, definition of d-separation)."""
    words = text.split(" ")
    nodes, arrows = words[::2], words[1::2]
    for (one, other), arrow in zip(pairwise(nodes), arrows, strict=True):
        pair = (one, other) if arrow == "->" else (other, one)
        assert (tuple(sorted(pair)) in graph.bidirected) if arrow == "<->" else (pair in graph.edges), text
    for node, into, out in zip(nodes[1:], arrows, arrows[1:], strict=False):
        if into in ("->", "<->") and out in ("<-", "<->"):
            if not graph.names(i for i in graph.descendants(graph.require((node,))) if i < len(graph.nodes)) & held:
                return False
        elif node in held:
            return False
    return True


def separated_by_paths(graph: Graph, x: int, y: int, held: set[int]) -> bool:
    """Look at every path, and every node on it."""

    def blocked(path):
        for before, node, after in zip(path, path[1:], path[2:], strict=False):
            collider = before in graph.parents[node] and after in graph.parents[node]
            if collider and not graph.descendants({node}) & held:
                return True
            if not collider and node in held:
                return True
        return False

    return all(blocked(path) for path in all_paths(graph, x, y))


def covariance(graph: Graph, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of a linear model on the graph with drawn coefficients, and its total effects (from, to)."""
    rng = np.random.default_rng(seed)
    n = len(graph.parents)
    direct = np.zeros((n, n))
    for node in range(n):
        for parent in graph.parents[node]:
            direct[parent, node] = rng.uniform(0.4, 1.2) * rng.choice([-1, 1])
    total = np.linalg.inv(np.eye(n) - direct)
    return total.T @ np.diag(rng.uniform(0.5, 1.5, n)) @ total, total


def regression_is_unbiased(graph: Graph, x: int, y: int, held: list[int], seed: int = 0) -> bool:
    """Tell whether the coefficient of x in the regression of y on x and the held nodes is the total effect."""
    spread, total = covariance(graph, seed)
    used = [x, *held]
    slope = np.linalg.solve(spread[np.ix_(used, used)], spread[used, y])[0]
    return bool(abs(slope - total[x, y]) < 1e-7)
