"""Roles of nodes: every witness path is open where it is said to be, and a chosen set is valid."""

from __future__ import annotations

from itertools import combinations

import pytest
from dag_cases import graphs, written_path_is_open
from hypothesis import given, settings

from causalbench import dag
from causalbench.dag.roles import Advice, Role, audit
from causalbench.errors import GraphError


@given(graphs(most=8))
@settings(max_examples=200, deadline=None)
def test_advice_agrees_with_validity(case):
    graph, x, y = case
    (a,), (b,) = graph.require((x,)), graph.require((y,))
    if b not in graph.descendants({a}):
        with pytest.raises(GraphError):
            audit(graph, x, y)
        return
    found = audit(graph, x, y)
    sets = list(dag.minimal_adjustment_sets(graph, x, y))
    assert (found.answer == "impossible") == (not sets)
    assert (found.answer == "nothing needed") == (frozenset() in sets)
    for verdict in found.verdicts:
        if verdict.advice is Advice.MUST:
            assert all(verdict.node in one for one in sets)
        elif verdict.advice is Advice.MUST_NOT and verdict.role is not Role.INSTRUMENT:
            assert verdict.node not in (found.minimal or ())
            if sets:
                assert not dag.is_adjustment_set(graph, x, y, found.minimal | {verdict.node})
        elif found.minimal is not None:
            assert dag.is_adjustment_set(graph, x, y, found.minimal | {verdict.node})
        for step in verdict.path.replace("<->", "|").replace("->", "|").replace("<-", "|").split("|"):
            assert not step.strip() or step.strip() in graph.nodes


@given(graphs(most=6, selected=True))
@settings(max_examples=200, deadline=None)
def test_must_is_said_of_what_every_valid_set_holds_and_of_nothing_else(case):
    graph, x, y = case
    try:
        found = audit(graph, x, y)
    except GraphError:
        return
    free = sorted(graph.names(graph.measurable) - {x, y} - graph.selected)
    valid = [
        frozenset(one)
        for size in range(len(free) + 1)
        for one in combinations(free, size)
        if dag.is_adjustment_set(graph, x, y, one)
    ]
    assert (found.answer == "impossible") == (not valid)
    for verdict in found.verdicts:
        always = bool(valid) and all(verdict.node in one for one in valid)
        assert (verdict.advice is Advice.MUST) == always
        if always:
            assert f" {verdict.node} " in verdict.path
        if valid and verdict.node in free and not any(verdict.node in one for one in valid):
            assert verdict.advice is Advice.MUST_NOT


def test_a_confounder_is_shown_on_a_path_that_it_blocks():
    """The shortest path to a and the shortest one on from it make no path together: a would be a collider on it."""
    graph = dag.Graph.parse("b -> x ; c -> b ; c -> a -> d -> y ; c -> y ; x -> y")
    (verdict,) = (v for v in audit(graph, "x", "y").verdicts if v.node == "a")
    assert verdict.path == "x <- b <- c -> a -> d -> y"


@given(graphs(most=7, selected=True))
@settings(max_examples=300, deadline=None)
def test_every_path_that_a_verdict_shows_is_there_and_is_what_it_is_called(case):
    graph, x, y = case
    try:
        found = audit(graph, x, y)
    except GraphError:
        return
    chosen, given_already = set(found.minimal or ()), set(graph.selected)
    if found.repair is not None and found.repair.sample:
        return
    if found.open_path:
        ancestors = {
            name
            for name in graph.nodes
            if graph.descendants(graph.require((name,))) & set(graph.require((x, y, *graph.selected)))
        }
        everything = ancestors - {x, y} - graph.latents - dag.forbidden_nodes(graph, x, y)
        assert written_path_is_open(graph, found.open_path, everything | given_already)
    for verdict in found.verdicts:
        node, path = verdict.node, verdict.path
        if verdict.advice is Advice.MUST:
            assert written_path_is_open(graph, path, (chosen | given_already) - {node})
            assert not written_path_is_open(graph, path, chosen | given_already)
        elif verdict.role is Role.CONFOUNDER:
            assert written_path_is_open(graph, path, given_already - {node})
            assert not written_path_is_open(graph, path, given_already | {node})
        elif verdict.role in (Role.COLLIDER, Role.M_BIAS):
            assert written_path_is_open(graph, path, chosen | given_already | {node})
            assert not written_path_is_open(graph, path, chosen | given_already)
        elif verdict.role in (Role.MEDIATOR, Role.AFTER_MEDIATOR, Role.AFTER_OUTCOME):
            assert "<" not in path
            assert written_path_is_open(graph, path, set())


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("x -> y -> s ; s [selected]", "x -> y -> s"),
        ("x -> m -> y ; m -> s ; s [selected]", "x -> m -> s"),
        ("x -> y ; y [selected]", "x -> y"),
    ],
)
def test_no_set_undoes_selection_on_what_the_effect_leads_to(text, path):
    """Bareinboim, Tian, Pearl 2014, theorem 1: the effect can't be recovered from such a sample."""
    graph = dag.Graph.parse(text)
    found = audit(graph, "x", "y")
    assert (found.answer, found.minimal, found.open_path) == ("impossible", None, path)
    assert found.repair.sample == (path[-1],)
    assert dag.instruments(dag.Graph.parse(f"{text} ; z -> x"), "x", "y") == ()
    assert list(dag.front_door_sets(graph, "x", "y")) == []


def test_what_a_sample_was_selected_on_is_given_and_in_no_set():
    graph = dag.Graph.parse("x -> y ; x -> s <- w -> y ; s [selected]")
    assert dag.minimal_adjustment_set(graph, "x", "y") == {"w"}
    assert dag.minimal_adjustment_set(graph, "x", "y", include=["s"]) == {"s", "w"}
    assert [str(claim) for claim in dag.implied_independences(dag.Graph.parse("a -> s -> b ; s [selected]"))] == [
        "a is independent of b"
    ]


def test_impossible_names_the_open_path_and_the_cheapest_fix():
    graph = dag.Graph.parse("z -> x -> m -> y ; u [latent] ; u -> x ; u -> y")
    found = audit(graph, "x", "y")
    assert found.answer == "impossible"
    assert found.open_path == "x <- u -> y"
    assert found.repair.measure == ("u",)
    assert found.repair.instruments == ("z",)
    assert found.repair.front_door == ("m",)


def test_what_a_bidirected_edge_stands_for_could_be_measured():
    found = audit(dag.Graph.parse("x -> y ; x <-> y"), "x", "y")
    assert found.open_path == "x <-> y"
    assert found.repair.measure == ("the common cause of x and y",)


@pytest.mark.parametrize(
    ("text", "words"),
    [("y -> x", "comes before"), ("x -> a ; b -> y", "no directed path"), ("x -> y ; x [latent]", "is latent")],
)
def test_questions_without_sense(text, words):
    with pytest.raises(GraphError, match=words):
        audit(dag.Graph.parse(text), "x", "y")
