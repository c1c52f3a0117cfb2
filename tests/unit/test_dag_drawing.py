"""The drawing of a graph: causes left of effects, few crossings, parts in shape and colour, the same bytes every time."""

import random

import pytest

from causalbench.dag import Graph
from causalbench.dag.roles import audit
from causalbench.report.dag_drawing import draw
from causalbench.report.dag_layout import layered
from causalbench.workflow.graph_rules import graph_section


def section(text, exposure="x", outcome="y"):
    graph = Graph.parse(text)
    return graph_section(graph, audit(graph, exposure, outcome))


def random_edges(n, seed):
    rng = random.Random(seed)
    names = [f"n{i}" for i in range(n)]
    edges = [(names[rng.randrange(j)], names[j]) for j in range(1, n) for _ in range(rng.randrange(3))]
    return names, list(dict.fromkeys(edges))


@pytest.mark.parametrize("seed", range(10))
def test_causes_stand_to_the_left_and_nodes_apart(seed):
    names, edges = random_edges(5 + 4 * seed, seed)
    found = layered(names, edges)
    assert all(found.at[cause][0] < found.at[effect][0] for cause, effect in edges)
    points = sorted(found.at.values())
    assert all(abs(a[0] - b[0]) > 0.99 or abs(a[1] - b[1]) > 0.99 for i, a in enumerate(points) for b in points[:i])
    assert all(0 <= y <= found.height + 1e-9 for route in found.routes.values() for _, y in route)


@pytest.mark.parametrize("seed", range(10))
def test_a_long_edge_runs_around_the_nodes_between(seed):
    names, edges = random_edges(25, seed)
    found = layered(names, edges)
    for edge, route in found.routes.items():
        inner = route[1:-1]
        assert all(abs(x - at[0]) + abs(y - at[1]) > 0.99 for x, y in inner for at in found.at.values()), edge


def test_layers_keep_a_planar_graph_without_crossings():
    """Two ladders drawn in the worst order: the barycentres undo it."""
    edges = [
        ("a1", "b3"),
        ("a2", "b2"),
        ("a3", "b1"),
        ("b1", "c1"),
        ("b2", "c2"),
        ("b3", "c3"),
        ("a1", "b2"),
        ("a2", "b1"),
    ]
    found = layered(["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"], edges)
    crossed = [
        (e, f)
        for i, e in enumerate(edges)
        for f in edges[:i]
        if found.at[e[0]][0] == found.at[f[0]][0]
        and (found.at[e[0]][1] - found.at[f[0]][1]) * (found.at[e[1]][1] - found.at[f[1]][1]) < -1e-9
    ]
    assert crossed == []


def test_every_part_has_its_entry_in_the_legend_and_every_node_its_name():
    text = "z -> x ; z -> y ; x -> m -> y ; w -> y ; iv -> x ; x -> c <- y ; u [latent] ; u -> w ; w <-> p ; p -> y"
    drawing = draw(section(text))
    for name in ("z", "m", "iv", "w", "c", "u"):
        assert f">{name}<" in drawing.svg
    for words in ("adjust: confounder", "never: mediator", "may: moves the exposure alone", "unmeasured common cause"):
        assert words in drawing.svg
    assert "stroke-dasharray" in drawing.svg
    assert "Adjust for z" in drawing.alt
    assert "var(--ink)" in drawing.inline()


def test_the_same_graph_gives_the_same_bytes():
    text = "z -> x ; z -> y ; x -> y ; a -> x ; a <-> y"
    assert draw(section(text)).svg == draw(section(text)).svg


def test_names_are_escaped():
    graph = Graph(edges=(("a<b>&", "y"), ("a<b>&", "x"), ("x", "y")))
    svg = draw(graph_section(graph, audit(graph, "x", "y"))).svg
    assert "a<b>" not in svg
    assert "a&lt;b&gt;&amp;" in svg


@pytest.mark.parametrize("n", [2, 5, 40])
def test_sizes(n):
    names, edges = random_edges(n, n)
    edges = list(dict.fromkeys([*edges, (names[0], names[-1])]))
    graph = Graph(edges=tuple(edges), nodes=tuple(names))
    assert draw(graph_section(graph, audit(graph, names[0], names[-1]))).svg.startswith("<?xml")
