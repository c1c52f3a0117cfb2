"""Graphs as text, and what is refused with its place."""

from __future__ import annotations

import subprocess
import sys

import networkx as nx
import pytest

from causalbench.dag import Graph
from causalbench.errors import GraphError

FORMS = {
    "dagitty": 'dag {\nbb="0,0,1,1"\nx [exposure,pos="0,1"]\ny [outcome]\nu [latent]\nx -> y <- z\nz -> x ; u -> x ; x <-> z }',
    "dagitty, braces": "dag { x [exposure] y [outcome] u [latent] z -> {x y} ; x -> y ; u -> x ; x <-> z }",
    "DOT": 'digraph "g" { // causes\n x [exposure=true]; y [outcome=true]; u [observed="no"];\n'
    " x -> y; z -> x; z -> y; u -> x; x -> z [dir=both] }",
    "GML": 'graph [ directed 1 node [ id 0 label "x" exposure 1 ] node [ id 1 label "y" outcome 1 ] node [ id 2 label "z" ]'
    ' node [ id 3 label "u" latent 1 ] edge [ source 0 target 1 ] edge [ source 2 target 0 ] edge [ source 2 target 1 ]'
    ' edge [ source 3 target 0 ] edge [ source 0 target 2 dir "both" ] ]',
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_four_forms_of_one_graph(text):
    graph = Graph.parse(text)
    assert set(graph.edges) == {("x", "y"), ("z", "y"), ("z", "x"), ("u", "x")}
    assert graph.bidirected == (("x", "z"),)
    assert (graph.exposure, graph.outcome, graph.latents) == ("x", "y", {"u"})


def test_edge_list_with_and_without_header():
    assert Graph.parse("cause,effect\na,b\nb,c\n").edges == (("a", "b"), ("b", "c"))
    assert Graph.parse("a,b\nb,c\nc,a,bidirected").bidirected == (("a", "c"),)


def test_a_long_cycle_is_found_in_linear_time_and_shortened():
    n = 50_000
    with pytest.raises(GraphError, match=r"49981 more") as error:
        Graph(edges=[(f"n{i}", f"n{(i + 1) % n}") for i in range(n)])
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("text", "edges", "bidirected"),
    [
        ("digraph { a -> {b c} [dir=both] }", set(), {("a", "b"), ("a", "c")}),
        ("digraph { a -> b -> c [dir=both] }", set(), {("a", "b"), ("b", "c")}),
        ("dag { x -> y ; a <-> b [dir=both] }", {("x", "y")}, {("a", "b")}),
        ("digraph { a -> b [dir=back] }", {("b", "a")}, set()),
        ("digraph { a ->\n b\n -> c }", {("a", "b"), ("b", "c")}, set()),
        ('digraph { subgraph cluster_0 { label="early" ; a ; b } a -> b }', {("a", "b")}, set()),
        ("DiGraph { a -> b }", {("a", "b")}, set()),
        ("dag,x\nx,y,<->", {("dag", "x")}, {("x", "y")}),
        ("parent,child\na,b,0.7", {("a", "b")}, set()),
        (
            (
                'Creator "it" graph [ edge [ source 0 target 1 ] node [ id 0 graphics [ x 1 ] label "a]" ]'
                ' node [ id 1 label "&#233;" ] ]'
            ),
            {("a]", "\u00e9")},
            set(),
        ),
    ],
)
def test_variants_of_the_forms(text, edges, bidirected):
    graph = Graph.parse(text)
    assert (set(graph.edges), set(graph.bidirected)) == (edges, bidirected)
    assert set(graph.nodes) == {name for pair in (*edges, *bidirected) for name in pair}


def test_what_dagitty_adjusts_for_is_no_selection():
    graph = Graph.parse("dag { z [adjusted] z -> x z -> y x -> y }")
    assert not graph.selected


def test_networkx_graphs_without_direction_or_with_twins_are_refused():
    with pytest.raises(GraphError, match="undirected"):
        Graph.from_networkx(nx.Graph([("a", "b")]))
    with pytest.raises(GraphError, match="written alike"):
        Graph.from_networkx(nx.DiGraph([(1, "1")]))


def test_names_with_spaces_and_dots():
    graph = Graph.parse('dag { "ad spend" -> sales.total ; "ad spend" -> visits-2024 }')
    assert set(graph.nodes) == {"ad spend", "sales.total", "visits-2024"}


def test_networkx_and_dowhy_there_and_back():
    graph = Graph.parse("z -> x -> y ; u [latent] ; u -> x ; u -> y ; z <-> y")
    there = graph.to_dowhy()
    assert there.nodes["u"]["observed"] == "no"
    assert nx.is_directed_acyclic_graph(there)
    back = Graph.from_dowhy(there)
    assert back.latents == {"u", "U(y,z)"}
    assert set(graph.edges) < set(back.edges)
    marked = Graph.from_dowhy(Graph.parse("z [tier=0] ; z -> x -> s ; s [selected]").to_dowhy())
    assert (marked.tiers, marked.selected) == ({"z": 0}, {"s"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dag { a -> b -> c -> a }", r"cycle: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)"),
        ("a -> a", "'a' points to itself"),
        ("dag {\n a -> b\n b -- c\n}", "line 3, column 4: '--' has no direction"),
        ("dag {\n a -> \n}", "line 2, column 7"),
        ("dag {\n a -> b ]\n}", r"line 2, column 9: '\]' isn't expected"),
        ("dag { a [latent }", "isn't closed"),
        ("dag { a -> b", "brackets don't match"),
        ("dag { a [exposure] b [exposure] a -> b }", "several nodes are the exposure: a, b"),
        ("a,b\nc", "line 2: 'c' isn't cause, effect"),
        ("", "the graph is empty"),
        ("dag { }", "the graph is empty"),
        ("dag {\n u [latnet] ; u -> x\n}", "line 2, column 4: the mark 'latnet' means nothing .did you mean 'latent'"),
        ("digraph { a -> b [dir=none] }", "column 13: '-> .dir=none.' has no direction"),
        ('dag { "a -> b }', "column 7: this quote isn't closed"),
        ('"" -> b', "a name is expected"),
        ("mag { a -> b }", "a mag stands for many graphs"),
        ("a,b\nb,c,sideways", "line 2: the third column is 'sideways'"),
        (f"a,{'x' * 200_000}", "the edge list can't be read"),
        ("graph [ directed 0 node [ id 0 ] node [ id 1 ] edge [ source 0 target 1 ] ]", "the graph is undirected"),
        ('graph [ node [ id 0 label "a" ] node [ id 1 label "a" ] ]', "column 33: a second node 'a'"),
        ("graph [ node [ id 0 ] edge [ source 0 target 7 ] ]", "column 23: an edge whose ends aren't nodes"),
        ("graph [ node [ id 0 ] node [ id 1", "column 23: this bracket isn't closed"),
    ],
)
def test_what_cant_be_read_is_named_with_its_place(text, words):
    with pytest.raises(GraphError, match=words):
        Graph.parse(text)


def test_unknown_latent_names_the_nearest():
    with pytest.raises(GraphError, match="did you mean 'sales'"):
        Graph(edges=[("spend", "sales")], latents={"sale"})


def test_import_needs_nothing_but_the_standard_library():
    program = (
        "import sys, causalbench.dag\n"
        "print(*sorted(m for m in ('numpy', 'pandas', 'networkx', 'dowhy', 'scipy') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
