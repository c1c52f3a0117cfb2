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
