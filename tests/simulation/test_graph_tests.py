"""How often tests of a graph reject when they shouldn't, over 2,000 draws: Monte Carlo error .49% at 5%."""

import itertools

import numpy as np
import pandas as pd
import pytest

from causalbench.dag import Graph
from causalbench.data import sources
from causalbench.numerics.independence import residual_product_test
from causalbench.values import rejects
from causalbench.workflow.graph_data import node_data
from causalbench.workflow.graph_test import falsify, hold_against

N_DRAWS = 2000
LIMIT = 0.05 + 2 * np.sqrt(0.05 * 0.95 / N_DRAWS)

pytestmark = pytest.mark.slow


def draw_graph(rng, d, chance=0.35):
    names = [f"v{i}" for i in range(d)]
    order = rng.permutation(names).tolist()
    edges = [pair for pair in itertools.combinations(order, 2) if rng.uniform() < chance]
    return Graph(edges=tuple(edges), nodes=tuple(names)), order


def draw_data(rng, graph, order, n, *, flags=()):
    """Draw linear data; a flag is 1 with logistic probability in its causes."""
    data = {}
    for name in order:
        mean = sum((rng.uniform(0.3, 1) * data[cause] for cause in sorted(graph.parents_of(name))), np.zeros(n))
        if name in flags:
            data[name] = (rng.uniform(size=n) < 1 / (1 + np.exp(-mean))).astype(float)
        else:
            data[name] = mean + rng.normal(size=n)
    return pd.DataFrame(data)


@pytest.mark.parametrize(("n", "flags"), [(100, ()), (400, ("v1", "v4"))])
def test_a_right_graph_is_seldom_contradicted(n, flags):
    """Every claim is true, so the false discovery rate is the share of draws with any rejection."""
    rng = np.random.default_rng(n)
    rejected, tested = 0, 0
    for _ in range(N_DRAWS):
        graph, order = draw_graph(rng, 6)
        table = draw_data(rng, graph, order, n, flags=flags)
        found = hold_against(graph, sources.from_object(table), rng=rng, n_permutations=0)
        tested += bool(found.claims)
        rejected += any(claim.rejected for claim in found.claims)
    assert tested > 0.95 * N_DRAWS
    assert rejected / tested <= LIMIT


def test_a_graph_drawn_blindly_seldom_beats_its_relabelings():
    """The graph is drawn apart from the data, so the null of the permutation test holds exactly."""
    rng = np.random.default_rng(1)
    p_values = []
    while len(p_values) < N_DRAWS:
        truth, order = draw_graph(rng, 8)
        graph, _ = draw_graph(rng, 8)
        table = draw_data(rng, truth, order, 200)
        found = falsify(node_data(graph, sources.from_object(table)), rng=rng, level=0.95, n_permutations=199)
        if found is not None:
            p_values.append(found.p_value)
    for level in (0.95, 0.8):
        size = np.mean([rejects(p, level) for p in p_values])
        assert size <= 1 - level + 2 * np.sqrt(level * (1 - level) / N_DRAWS)


def test_a_right_graph_beats_its_relabelings():
    """Power at 8 nodes and 500 rows: every one of 400 draws, where the limit leaves room for the error of a share."""
    rng = np.random.default_rng(2)
    p_values = []
    while len(p_values) < 400:
        graph, order = draw_graph(rng, 8)
        table = draw_data(rng, graph, order, 500)
        found = falsify(node_data(graph, sources.from_object(table)), rng=rng, level=0.95, n_permutations=199)
        if found is not None:
            p_values.append(found.p_value)
    assert np.mean([rejects(p, 0.95) for p in p_values]) > 0.95


@pytest.mark.parametrize("kind", ["uneven", "flag", "levels"])
def test_residual_products_hold_their_size(kind):
    """Variances of both sides grow with the same z, where a partial correlation rejects too often."""
    rng = np.random.default_rng(["uneven", "flag", "levels"].index(kind))
    n, rejected = 150, 0
    for _ in range(N_DRAWS):
        z = rng.normal(size=(n, 1))
        y = z + rng.normal(size=(n, 1)) * (0.5 + np.abs(z))
        if kind == "uneven":
            x = z + rng.normal(size=(n, 1)) * (0.5 + np.abs(z))
        elif kind == "flag":
            x = (rng.uniform(size=(n, 1)) < 1 / (1 + np.exp(-z))).astype(float)
        else:
            level = rng.integers(0, 3, size=n)
            x = np.column_stack([level == 1, level == 2]).astype(float)
        rejected += residual_product_test(x, y, z).p_value <= 0.05
    assert rejected / N_DRAWS <= LIMIT
