"""Budgets and tiers of graphs: searches that end say so, and nothing leads back in time."""

import itertools

import pytest

from causalbench.dag import (
    Graph,
    d_separated,
    front_door_sets,
    identify,
    implied_independences,
    minimal_adjustment_sets,
)
from causalbench.dag.budget import Deadline, take
from causalbench.dag.instruments import each_instrument
from causalbench.dag.roles import audit
from causalbench.errors import GraphError

LADDER = " ; ".join(f"a{i} -> a{i + 1} ; b{i} -> b{i + 1} ; a{i} -> b{i + 1} ; b{i} -> a{i + 1}" for i in range(40))


def test_take_ends_by_number_or_by_time():
    assert take(itertools.count(), limit=3).items == (0, 1, 2)
    assert not take(itertools.count(), limit=3).complete
    assert take(range(3), limit=3).complete
    ended = take(itertools.count(), limit=10**9, deadline=Deadline.after(0.01))
    assert not ended.complete
    assert not Deadline.after(None).passed


@pytest.mark.parametrize(
    "search",
    [
        lambda graph, deadline: each_instrument(graph, "x", "y", deadline=deadline),
        lambda graph, deadline: front_door_sets(graph, "x", "y", deadline=deadline),
        lambda graph, deadline: minimal_adjustment_sets(graph, "x", "m0", deadline=deadline),
        lambda graph, deadline: implied_independences(graph, deadline=deadline),
    ],
    ids=["instruments", "front doors", "sets", "independences"],
)
def test_a_search_that_finds_nothing_ends_in_time_too(search):
    """Nothing is found here: every search would go on to its end before it gives back the word."""
    names = [f"z{i}" for i in range(40)]
    text = " ; ".join(f"{z} -> x ; {z} -> m0 ; {z} <-> y" for z in names)
    links = " ; ".join(f"{a} <-> {b}" for a, b in itertools.combinations(names, 2))
    graph = Graph.parse(f"{text} ; {links} ; x -> m0 -> y ; x <-> y ; m0 <-> y")
    passed = Deadline.after(-1)
    found = take(search(graph, passed), limit=10, deadline=passed)
    assert (found.items, found.complete) == ((), False)
    calm = Deadline.after(60)
    assert take(search(graph, calm), limit=10**6, deadline=calm).complete


def test_identify_out_of_time_is_no_answer_in_either_direction():
    graph = Graph.parse(f"{LADDER} ; a0 <-> b40")
    found = identify(graph, "a1", "a40", seconds=0)
    assert (found.functional, found.hedge, found.identified, found.complete) == (None, None, False, False)
    assert identify(graph, "a1", "a40", seconds=60).complete


def test_an_audit_out_of_time_still_answers():
    graph = Graph.parse(f"{LADDER} ; u [latent] ; u -> a1 ; u -> a40 ; z -> a1")
    found = audit(graph, "a1", "a40", seconds=0)
    assert not found.complete
    assert len(found.verdicts) < len(graph.nodes) - 2
    assert found.answer == "impossible"
    assert found.open_path == "a1 <- u -> a40"
    assert found.repair.measure == ("u",)
    whole = audit(graph, "a1", "a40")
    assert whole.complete
    assert "z" in whole.repair.instruments


def test_tiers_come_with_every_form_of_text():
    dot = Graph.parse('digraph { a [tier=0]; b [tier="2"]; a -> b }')
    gml = Graph.parse(
        'graph [ node [ id 1 label "a" tier 0 ] node [ id 2 label "b" tier 2 ] edge [ source 1 target 2 ] ]'
    )
    assert dot.tiers == gml.tiers == {"a": 0, "b": 2}
    launch = Graph.parse("x [exposure] ; z [before_launch] ; z -> x -> y")
    assert launch.tiers == {"z": 0, "x": 1}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a [tier=1] ; b [tier=0] ; a -> b", "a -> b, from tier 1 to tier 0"),
        ("a [tier=3] ; b [tier=2] ; a -> m -> n -> b", "a -> m -> n -> b, from tier 3 to tier 2"),
        ("x [exposure] ; z [before_launch] ; x -> y -> z", "x -> y -> z, from tier 1 to tier 0"),
        (
            "x [exposure] ; z [before_launch] ; late [tier=2] ; late -> z ; x -> late",
            "late -> z, from tier 2 to tier 0",
        ),
    ],
)
def test_a_path_back_in_time_is_printed(text, path):
    with pytest.raises(GraphError) as error:
        Graph.parse(text)
    assert f"goes back in time: {path}" in str(error.value)


def test_tiers_without_sense():
    with pytest.raises(GraphError, match="tier of a is 'soon'"):
        Graph.parse("a [tier=soon] ; a -> b")
    with pytest.raises(GraphError, match="did you mean 'income'"):
        Graph(edges=(("income", "y"),), tiers={"incme": 1})


def test_tiers_change_no_separation():
    plain, tiered = Graph.parse("z -> x -> y"), Graph.parse("z [tier=0] ; x [tier=1] ; z -> x -> y")
    assert d_separated(plain, "z", "y", "x") == d_separated(tiered, "z", "y", "x")
    assert tiered.without_edges([(0, 1)]).tiers == tiered.tiers
