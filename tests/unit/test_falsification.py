"""A graph against data and against its relabelings: counts checked one by one, verdicts on graphs whose answer is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from causalbench.dag import Graph, d_separated
from causalbench.dag.implications import implied_independences, local_independences, missing_edges
from causalbench.data import sources
from causalbench.errors import DataError
from causalbench.numerics.independence import fisher_z_p_values
from causalbench.workflow.graph_data import node_data
from causalbench.workflow.graph_test import falsify, hold_against


def drawn(d, n, seed, chance=0.4):
    """Draw a graph and linear Gaussian data from it."""
    rng = np.random.default_rng(seed)
    names = [f"v{i}" for i in range(d)]
    edges = [(a, b) for a, b in itertools.combinations(names, 2) if rng.uniform() < chance]
    data = {}
    for name in names:
        data[name] = rng.normal(size=n) + sum(rng.uniform(0.4, 1) * data[a] for a, b in edges if b == name)
    return Graph(edges=tuple(edges), nodes=tuple(names)), pd.DataFrame(data)


def relabeled(graph, names):
    """Return a graph with other names on its nodes."""
    new = dict(zip(graph.nodes, names, strict=True))
    return Graph(edges=tuple((new[a], new[b]) for a, b in graph.edges), nodes=graph.nodes)


def violations(graph, table):
    """Count rejected local independences one regression at a time."""
    count = 0
    for claim in local_independences(graph):
        design = np.column_stack([np.ones(len(table)), *(table[name] for name in sorted(claim.given))])
        left, right = (
            table[v] - design @ np.linalg.lstsq(design, table[v].to_numpy(), rcond=None)[0] for v in (claim.x, claim.y)
        )
        partial = np.array([np.corrcoef(left, right)[0, 1]])
        count += bool(fisher_z_p_values(partial, np.array([len(claim.given)]), len(table))[0] <= 0.05)
    return count


@pytest.mark.parametrize("seed", range(5))
def test_all_relabelings_are_counted_like_one_by_one(seed):
    """Five nodes have 120 relabelings: each is drawn as a graph of its own and tested by least squares."""
    graph, _ = drawn(5, 10, seed + 100)
    _, table = drawn(5, 150, seed)
    found = falsify(
        node_data(graph, sources.from_object(table)), rng=np.random.default_rng(0), level=0.95, n_permutations=500
    )
    own = violations(graph, table)
    others = [violations(relabeled(graph, row), table) for row in itertools.permutations(graph.nodes)][1:]
    assert found.exhaustive
    assert (found.n_violated, found.n_permutations) == (own, 119)
    assert found.p_value == pytest.approx((1 + sum(count <= own for count in others)) / 120)


@pytest.mark.parametrize("seed", range(5))
def test_equivalent_relabelings_are_those_with_the_same_separations(seed):
    graph, table = drawn(4, 100, seed)
    found = falsify(
        node_data(graph, sources.from_object(table)), rng=np.random.default_rng(0), level=0.95, n_permutations=500
    )
    if found is None:
        pytest.skip("a graph with every edge claims nothing")

    def separations(g):
        return {
            (x, y, given)
            for x, y in itertools.combinations(g.nodes, 2)
            for k in range(3)
            for given in itertools.combinations([n for n in g.nodes if n not in (x, y)], k)
            if d_separated(g, x, y, given)
        }

    same = [separations(relabeled(graph, row)) == separations(graph) for row in itertools.permutations(graph.nodes)]
    assert found.equivalent == pytest.approx((sum(same) - 1) / 23)


@pytest.mark.parametrize("seed", range(8))
def test_claims_hold_in_the_graph_and_every_missing_edge_has_one(seed):
    graph, _ = drawn(7, 10, seed)
    for claim in (*missing_edges(graph), *local_independences(graph)):
        assert d_separated(graph, claim.x, claim.y, claim.given)
    pairs = {(claim.x, claim.y) for claim in missing_edges(graph)}
    assert pairs == {(claim.x, claim.y) for claim in implied_independences(graph)}


def test_a_right_graph_passes_and_a_wrong_one_names_what_is_wrong():
    graph, table = drawn(8, 3000, 1)
    source = sources.from_object(table)
    right = hold_against(graph, source, rng=np.random.default_rng(0))
    assert right.verdict == "pass"
    assert right.suspects == ()
    without = Graph(edges=tuple(edge for edge in graph.edges if edge != graph.edges[3]), nodes=graph.nodes)
    wrong = hold_against(without, source, rng=np.random.default_rng(0))
    assert wrong.verdict in ("review", "fail")
    assert set(graph.edges[3]) in [set(suspect.ends) for suspect in wrong.suspects if suspect.kind == "missing"]
    spare = next((a, b) for a, b in itertools.combinations(graph.nodes, 2) if (a, b) not in graph.edges)
    more = hold_against(Graph(edges=(*graph.edges, spare), nodes=graph.nodes), source, rng=np.random.default_rng(0))
    assert [suspect.ends for suspect in more.suspects if suspect.kind == "unsupported"] == [spare]


def test_a_graph_drawn_blindly_fails():
    _, table = drawn(9, 3000, 2)
    verdicts = []
    for seed in range(6):
        graph, _ = drawn(9, 10, 50 + seed)
        shuffled = relabeled(graph, np.random.default_rng(seed).permutation(graph.nodes))
        verdicts.append(hold_against(shuffled, sources.from_object(table), rng=np.random.default_rng(0)).verdict)
    assert verdicts.count("fail") >= 3
    assert "pass" not in verdicts


def test_a_graph_that_claims_nothing_isnt_evaluable():
    graph, table = drawn(4, 100, 3, chance=1.0)
    found = hold_against(graph, sources.from_object(table), rng=np.random.default_rng(0))
    assert (found.verdict, found.falsification) == ("not_evaluable", None)


def test_a_graph_like_its_relabelings_is_said_to_be_uninformative():
    rng = np.random.default_rng(4)
    table = pd.DataFrame(rng.normal(size=(500, 4)), columns=list("abcd"))
    found = hold_against(Graph(edges=(), nodes=tuple("abcd")), sources.from_object(table), rng=rng)
    assert found.falsification.equivalent == 1.0
    assert found.verdict == "review"
    assert "data say little here" in found.sentence


def test_latent_causes_and_missing_columns():
    graph, table = drawn(6, 800, 5)
    hidden = hold_against(graph, sources.from_object(table.drop(columns="v0")), rng=np.random.default_rng(0))
    assert hidden.absent == ("v0",)
    assert all("v0" not in (claim.x, claim.y, *claim.given) for claim in hidden.claims)
    assert hidden.falsification.equivalent is None
    assert hidden.verdict in ("pass", "review"), "the graph is right"


def test_mixed_columns_are_tested_by_regression():
    rng = np.random.default_rng(6)
    n = 1500
    city = rng.choice(["bonn", "kiel", "ulm"], size=n)
    income = rng.normal(size=n) + (city == "ulm")
    clicked = np.where(rng.uniform(size=n) < 1 / (1 + np.exp(-income)), "yes", "no")
    table = pd.DataFrame({"city": city, "income": income, "clicked": clicked, "noise": rng.normal(size=n)})
    right = hold_against(Graph.parse("city -> income -> clicked ; noise"), sources.from_object(table), rng=rng)
    assert not any(claim.rejected for claim in right.claims)
    assert {claim.test for claim in right.claims} == {"residual-products", "partial-correlation"}
    assert right.falsification is None
    assert "no comparison with relabelings" in " ".join(right.notes)
    wrong = hold_against(Graph.parse("city -> income ; clicked ; noise"), sources.from_object(table), rng=rng)
    assert {("income", "clicked"), ("clicked", "income")} & {(c.x, c.y) for c in wrong.claims if c.rejected}


def test_a_budget_tries_fewer_relabelings_and_says_so():
    graph, table = drawn(9, 200, 7)
    found = hold_against(graph, sources.from_object(table), rng=np.random.default_rng(0), most_tests=500, limit=3)
    assert 0 < found.falsification.n_permutations < 1000
    assert not found.falsification.complete
    assert not found.complete
    assert "only the first 3" in " ".join(found.notes)


def test_row_order_changes_nothing_and_the_table_stays():
    graph, table = drawn(6, 300, 8)
    before = table.copy()
    one = hold_against(graph, sources.from_object(table), rng=np.random.default_rng(0)).to_dict()
    other = hold_against(
        graph, sources.from_object(table.sample(frac=1, random_state=0)), rng=np.random.default_rng(0)
    ).to_dict()
    pd.testing.assert_frame_equal(table, before)
    assert one["sentence"] == other["sentence"]
    for a, b in zip(one["claims"], other["claims"], strict=True):
        assert a["p_value"] == pytest.approx(b["p_value"], rel=1e-9)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"a": [1.0] * 30}, "columns for 1 node of"),
        ({"a": range(5), "b": range(5), "c": range(5)}, "has 5 rows"),
        ({"a": range(99), "b": range(99), "c": [str(i) for i in range(99)]}, "text with 99 levels"),
    ],
)
def test_bad_tables(table, words):
    with pytest.raises(DataError, match=words):
        hold_against(Graph.parse("a -> b -> c"), sources.from_object(pd.DataFrame(table)), rng=np.random.default_rng(0))


def test_cells_that_no_test_can_use_are_named():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(50, 3)), columns=["a", "b", "c"])
    graph = Graph.parse("a -> b -> c")
    with pytest.raises(DataError, match=r"'b' has 1 infinite cells \(rows 7, counted from 0\)"):
        hold_against(graph, sources.from_object(table.assign(b=table["b"].where(table.index != 7, np.inf))), rng=rng)
    dated = table.assign(c=pd.date_range("2024-01-01", periods=50))
    with pytest.raises(DataError, match="'c' holds dates"):
        hold_against(graph, sources.from_object(dated), rng=rng)


def test_empty_cells_and_constant_columns_are_said():
    graph, table = drawn(5, 200, 9)
    table.loc[:9, "v1"] = np.nan
    table["v4"] = 1.0
    found = hold_against(graph, sources.from_object(table), rng=np.random.default_rng(0))
    assert (found.n_rows, found.absent) == (190, ("v4",))
    assert any("10 rows with an empty cell" in note for note in found.notes)
