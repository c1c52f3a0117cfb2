"""Functionals that identification writes down, evaluated on binary models and held against the intervention itself."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from dag_cases import graphs
from hypothesis import given, settings

from causalbench.dag import Graph, identify
from causalbench.dag.identification import Marginal, Probability, Product, Ratio
from causalbench.errors import GraphError


def joint(graph, tables, do=None):
    """Return the distribution of all named nodes, under an intervention."""
    do = do or {}
    n, found = len(graph.nodes), defaultdict(float)
    for values in itertools.product((0, 1), repeat=len(graph.parents)):
        mass = 1.0
        for node, value in enumerate(values):
            if node in do:
                mass *= value == do[node]
            else:
                one = tables[node][tuple(values[p] for p in graph.parents[node])]
                mass *= one if value else 1 - one
        found[values[:n]] += mass
    return found


def evaluate(term, mass, names, at):
    """Work out a functional at some values of the nodes, from the observed distribution."""
    if isinstance(term, Probability):

        def total(named):
            places = [(names.index(name), at[name]) for name in named]
            return sum(p for values, p in mass.items() if all(values[i] == v for i, v in places))

        return total((*term.of, *term.given)) / (total(term.given) if term.given else 1.0)
    if isinstance(term, Product):
        return np.prod([evaluate(factor, mass, names, at) for factor in term.factors])
    if isinstance(term, Marginal):
        values = itertools.product((0, 1), repeat=len(term.over))
        return sum(evaluate(term.body, mass, names, at | dict(zip(term.over, v, strict=True))) for v in values)
    assert isinstance(term, Ratio)
    return evaluate(term.above, mass, names, at) / evaluate(term.below, mass, names, at)


@given(graphs(most=5))
@settings(max_examples=120, deadline=None)
def test_functional_equals_the_intervention(case):
    graph, x, y = case
    found = identify(graph, x, y)
    if not found.identified:
        assert {x} <= found.hedge.larger
        assert x not in found.hedge.smaller
        return
    rng = np.random.default_rng(3)
    shapes = [itertools.product((0, 1), repeat=len(causes)) for causes in graph.parents]
    tables = [{values: rng.uniform(0.1, 0.9) for values in shape} for shape in shapes]
    observed, (a,), (b,) = joint(graph, tables), graph.require((x,)), graph.require((y,))
    for value in (0, 1):
        truth = sum(p for values, p in joint(graph, tables, {a: value}).items() if values[b] == 1)
        at = dict.fromkeys(graph.nodes, 0) | {x: value, y: 1}
        assert evaluate(found.functional, observed, graph.nodes, at) == pytest.approx(truth, abs=1e-12)


# Shpitser, Pearl (2008), "Complete identification methods for the causal hierarchy", figures 5 and 6 (not identified) and 4.
@pytest.mark.parametrize(
    ("text", "identified"),
    [
        ("x -> y ; x <-> y", False),
        ("x -> z -> y ; x <-> z", False),
        ("x -> z -> y ; x <-> y", True),
        ("w1 -> x -> y1 ; w2 -> y2 ; w1 <-> w2 ; w1 <-> x ; w1 <-> y1 ; x <-> w2 ; w2 <-> y2", None),
        ("z -> x -> y ; x <-> y", False),
        ("x -> z ; z -> y ; x <-> y ; z <-> y", False),
    ],
)
def test_textbook_graphs(text, identified):
    if identified is None:
        found = identify(Graph.parse(text), "x", ["y1", "y2"])
        assert not found.identified  # figure 1a with W1 <-> X: a hedge for y1
        return
    assert identify(Graph.parse(text), "x", "y").identified is identified


def test_napkin_is_a_ratio():
    # Pearl, Mackenzie (2018), "The Book of Why", chapter 7: the napkin problem.
    found = identify(Graph.parse("w -> z -> x -> y ; w <-> x ; w <-> y"), "x", "y")
    assert isinstance(found.functional, (Ratio, Marginal))
    assert "/" in str(found.functional)


@pytest.mark.parametrize(("exposure", "outcome"), [("u", "y"), ("x", "x"), ("x", "why")])
def test_questions_without_sense(exposure, outcome):
    with pytest.raises(GraphError):
        identify(Graph.parse("x -> y ; u [latent] ; u -> x ; u -> y"), exposure, outcome)
