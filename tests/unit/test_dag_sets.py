"""Adjustment sets, separators and instruments against looking at every path and every subset."""

from __future__ import annotations

from itertools import chain, combinations, islice

import pytest
from dag_cases import covariance, graphs, regression_is_unbiased, separated_by_paths
from hypothesis import given, settings
from hypothesis import strategies as st

from causalbench import dag
from causalbench.dag.instruments import instruments
from causalbench.errors import CausalbenchError, GraphError


def subsets(items):
    items = sorted(items)
    return map(frozenset, chain.from_iterable(combinations(items, k) for k in range(len(items) + 1)))


def minimal_ones(sets):
    sets = set(sets)
    return {one for one in sets if not any(other < one for other in sets)}


@given(graphs(most=8), st.data())
@settings(max_examples=150, deadline=None)
def test_separation_is_what_looking_at_every_path_finds(case, data):
    graph, x, y = case
    others = [name for name in graph.nodes if name not in (x, y)]
    held = data.draw(st.sets(st.sampled_from(others))) if others else set()
    (a,), (b,) = graph.require((x,)), graph.require((y,))
    assert dag.d_separated(graph, x, y, held) == separated_by_paths(graph, a, b, set(graph.require(held)))


@given(graphs(most=8))
@settings(max_examples=100, deadline=None)
def test_valid_sets_are_those_whose_regression_is_unbiased(case):
    graph, x, y = case
    (a,), (b,) = graph.require((x,)), graph.require((y,))
    for chosen in subsets(graph.measurable - {a, b}):
        expected = regression_is_unbiased(graph, a, b, sorted(chosen))
        assert dag.is_adjustment_set(graph, x, y, graph.names(chosen)) == expected


@given(graphs(most=8, selected=True))
@settings(max_examples=150, deadline=None)
def test_in_a_selected_sample_valid_sets_are_those_whose_regression_is_unbiased_there(case):
    """In a linear Gaussian model selecting on a node is the same as regressing on it too."""
    graph, x, y = case
    (a,), (b,) = graph.require((x,)), graph.require((y,))
    given_already = graph.require(graph.selected)
    free = graph.measurable - {a, b} - given_already
    valid = set()
    for chosen in subsets(free):
        unbiased = not given_already & {a, b} and regression_is_unbiased(graph, a, b, sorted(chosen | given_already))
        assert dag.is_adjustment_set(graph, x, y, graph.names(chosen)) == unbiased
        if unbiased:
            valid.add(graph.names(chosen))
    assert set(dag.minimal_adjustment_sets(graph, x, y)) == minimal_ones(valid)
    assert (dag.canonical_adjustment_set(graph, x, y) is not None) == bool(valid)
    assert (dag.minimal_adjustment_set(graph, x, y, costs={}) is not None) == bool(valid)


@pytest.mark.parametrize("effect", ["total", "direct"])
@given(case=graphs(most=8))
@settings(max_examples=100, deadline=None)
def test_minimal_sets_are_the_smallest_valid_ones_each_once(effect, case):
    graph, x, y = case
    free = graph.names(graph.measurable) - {x, y}
    valid = {s for s in subsets(free) if dag.is_adjustment_set(graph, x, y, s, effect=effect)}
    found = list(dag.minimal_adjustment_sets(graph, x, y, effect=effect))
    assert len(found) == len(set(found))
    assert set(found) == minimal_ones(valid)
    one = dag.minimal_adjustment_set(graph, x, y, effect=effect)
    assert one in found if found else one is None
    assert (dag.canonical_adjustment_set(graph, x, y) is not None) == bool(valid) or effect == "direct"


@given(graphs(most=7), st.data())
@settings(max_examples=100, deadline=None)
def test_included_and_excluded_nodes_and_costs_are_honoured(case, data):
    graph, x, y = case
    free = sorted(graph.names(graph.measurable) - {x, y})
    exclude = data.draw(st.sets(st.sampled_from(free))) if free else set()
    allowed = sorted(set(free) - exclude - dag.forbidden_nodes(graph, x, y))
    include = data.draw(st.sets(st.sampled_from(allowed), max_size=2)) if allowed else set()
    valid = [s for s in subsets(set(free) - exclude) if include <= s and dag.is_adjustment_set(graph, x, y, s)]
    found = set(dag.minimal_adjustment_sets(graph, x, y, include=include, exclude=exclude))
    assert found == minimal_ones(valid)
    costs = {name: data.draw(st.integers(0, 5)) for name in free}
    cheapest = dag.minimal_adjustment_set(graph, x, y, include=include, exclude=exclude, costs=costs)
    assert (cheapest is None) == (not valid)
    if valid:
        assert cheapest in map(frozenset, valid)
        assert sum(costs[n] for n in cheapest) == min(sum(costs[n] for n in s) for s in valid)


@given(graphs(most=8, hidden=False))
@settings(max_examples=100, deadline=None)
def test_optimal_set_has_the_smallest_variance_of_all_valid_ones(case):
    graph, x, y = case
    best = dag.optimal_adjustment_set(graph, x, y)
    if best is None:
        return
    (a,), (b,) = graph.require((x,)), graph.require((y,))
    spread, _ = covariance(graph, seed=1)

    def variance(names):
        """Residual variance of y over that of x: the asymptotic variance of the coefficient."""
        held = sorted(graph.require(names))
        left = [spread[i, i] - spread[i, u] @ _solve(spread, u) @ spread[u, i] for i, u in ((b, [a, *held]), (a, held))]
        return left[0] / left[1]

    valid = [s for s in subsets(set(graph.nodes) - {x, y}) if dag.is_adjustment_set(graph, x, y, s)]
    assert all(variance(best) <= variance(other) + 1e-9 for other in valid)


def _solve(spread, used):
    import numpy as np

    return np.linalg.inv(spread[np.ix_(used, used)])


@given(graphs(most=6))
@settings(max_examples=100, deadline=None)
def test_an_instrument_recovers_the_effect_and_latent_or_later_nodes_are_none(case):
    graph, x, y = case
    (a,), (b,) = graph.require((x,)), graph.require((y,))
    spread, total = covariance(graph, seed=2)
    for found in instruments(graph, x, y):
        (z,) = graph.require((found.node,))
        assert found.node not in graph.latents
        assert z not in graph.descendants({a})
        held = sorted(graph.require(found.given))

        def partial(i, j, held=held):
            return spread[i, j] - (spread[i, held] @ _solve(spread, held) @ spread[held, j] if held else 0.0)

        assert partial(z, b) / partial(z, a) == pytest.approx(total[a, b], abs=1e-6)


@given(graphs(most=6))
@settings(max_examples=60, deadline=None)
def test_implied_independences_are_the_minimal_separators_of_every_pair(case):
    graph, _, _ = case
    found = {(frozenset((c.x, c.y)), c.given) for c in dag.implied_independences(graph)}
    expected = set()
    for x, y in combinations(sorted(graph.names(graph.measurable)), 2):
        (a,), (b,) = graph.require((x,)), graph.require((y,))
        if a in graph.children[b] or b in graph.children[a]:
            continue
        rest = graph.names(graph.measurable) - {x, y}
        separate = [s for s in subsets(rest) if dag.d_separated(graph, x, y, s)]
        expected |= {(frozenset((x, y)), s) for s in minimal_ones(separate)}
    assert found == expected


@given(graphs(most=6))
@settings(max_examples=100, deadline=None)
def test_front_door_sets_are_those_that_the_criterion_admits(case):
    graph, x, y = case
    (a,), (b,) = graph.require((x,)), graph.require((y,))
    if b not in graph.descendants({a}):
        with pytest.raises(GraphError, match="no directed path"):
            next(dag.front_door_sets(graph, x, y))
        return

    def back_door_open(start, end, held):
        """A path into the start that is open given the held nodes."""
        cut = graph.without_edges([(start, child) for child in graph.children[start] if child < len(graph.nodes)])
        return not separated_by_paths(cut, start, end, held)

    def admits(chosen):
        through = graph.without_edges([(p, m) for m in chosen for p in graph.parents[m] if p < len(graph.nodes)])
        return (
            b not in through.descendants({a})
            and not any(back_door_open(a, m, set()) for m in chosen)
            and not any(_open_outside(graph, m, b, a, chosen) for m in chosen)
        )

    found = list(dag.front_door_sets(graph, x, y))
    assert len(found) == len(set(found))
    assert set(found) == {graph.names(s) for s in subsets(graph.measurable - {a, b}) if admits(s)}


def _open_outside(graph, node, end, exposure, chosen):
    """Tell whether a path into a node of the set is open given the exposure, leaving out what the set itself passes on."""
    pruned = graph.without_edges(
        [(m, child) for m in chosen for child in graph.children[m] if child < len(graph.nodes)]
    )
    return not separated_by_paths(pruned, node, end, {exposure})


def test_no_set_and_nothing_needed_are_two_answers():
    assert dag.minimal_adjustment_set(dag.Graph.parse("x -> y ; x <-> y"), "x", "y") is None
    assert dag.minimal_adjustment_set(dag.Graph.parse("x -> y"), "x", "y") == frozenset()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: dag.is_adjustment_set(g, "x", "y", ["zz"]), "did you mean 'z'"),
        (lambda g: dag.minimal_adjustment_set(g, "x", "x"), "exposure and outcome"),
        (lambda g: dag.minimal_adjustment_set(g, "x", "y", include=["u"]), "can't be adjusted for: u"),
        (lambda g: dag.minimal_adjustment_set(g, "x", "y", costs={"z": -1.0}), "from 0 up"),
        (lambda g: dag.minimal_adjustment_set(g, "x", "y", costs={"z": float("inf")}), "from 0 up"),
        (lambda g: dag.minimal_adjustment_set(g, "x", "y", effect="both"), "effect is 'both'"),
        (lambda g: dag.d_separated(g, "x", "y", ["x"]), "overlap"),
    ],
)
def test_questions_without_sense_are_refused_in_words(call, words):
    graph = dag.Graph.parse("z -> x -> y ; z -> y ; u [latent] ; u -> x")
    with pytest.raises(CausalbenchError, match=words):
        call(graph)


def test_the_first_sets_of_a_large_graph_come_without_all_the_others():
    # Forty chains of two nodes: 2 to the 40 minimal sets.
    edges = [pair for i in range(40) for pair in ((f"a{i}", "x"), (f"a{i}", f"b{i}"), (f"b{i}", "y"))]
    graph = dag.Graph(edges=(*edges, ("x", "y")))
    found = list(islice(dag.minimal_adjustment_sets(graph, "x", "y"), 100))
    assert len(set(found)) == 100
    assert all(len(one) == 40 for one in found)
