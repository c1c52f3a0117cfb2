"""What a graph allows and forbids: covariates of comparisons and of panels, and the words of an impossible adjustment."""

import pandas as pd
import pytest

from causalbench.dag import Graph
from causalbench.dag.files import read_graph
from causalbench.dag.roles import audit
from causalbench.errors import GraphError, RefusalError
from causalbench.study import Study
from causalbench.workflow.estimate import estimate_study
from causalbench.workflow.graph_rules import (
    check_covariates,
    check_launch_study,
    choose_covariates,
    ends_of,
    graph_section,
    refuse_descendants,
    remedy_of,
    sentence_of,
)

CONFOUNDED = "z -> x -> m -> y ; z -> w -> y ; x -> c <- y ; a -> k <- b ; a -> x ; b -> y"


@pytest.mark.parametrize("covariates", [["z"], ["w"], ["z", "w"], ["z", "k", "a"]])
def test_any_valid_set_passes(covariates):
    graph = Graph.parse(CONFOUNDED)
    assert check_covariates(graph, "x", "y", covariates).answer == "adjust"


@pytest.mark.parametrize(
    ("covariates", "words"),
    [
        (["z", "m"], ["m (mediator)", "x -> m -> y", "this set is enough: "]),
        (["z", "c"], ["c (descendant of the outcome)", "y -> c"]),
        (["z", "k"], ["k (collider between two causes (M-bias))", "x <- a -> k <- b -> y"]),
        ([], ["given nothing, this path stays open: x <- z -> w -> y"]),
        (["a"], ["given a, this path stays open: x <- z -> w -> y", "add "]),
        (["z", "x"], ["forbids"]),
    ],
)
def test_a_refusal_shows_the_path(covariates, words):
    with pytest.raises(RefusalError) as refusal:
        check_covariates(Graph.parse(CONFOUNDED), "x", "y", covariates)
    assert all(word in str(refusal.value) for word in words), str(refusal.value)


def test_unknown_and_latent_covariates_are_bad_input_not_a_refusal():
    graph = Graph.parse("income -> x -> y ; income -> y ; u [latent] ; u -> y")
    with pytest.raises(GraphError, match="did you mean 'income'"):
        check_covariates(graph, "x", "y", ["incme"])
    with pytest.raises(GraphError, match="calls covariates latent: u"):
        check_covariates(graph, "x", "y", ["income", "u"])


def test_impossible_says_what_would_help():
    graph = Graph.parse("z -> x -> m -> y ; u [latent] ; u -> x ; u -> y ; x <-> y")
    with pytest.raises(RefusalError) as refusal:
        choose_covariates(graph, "x", "y", columns=["z", "x", "m", "y"])
    text = str(refusal.value)
    assert "adjusted for everything measured that may be, this path is open: x <- u -> y" in text
    assert "measure u and the common cause of x and y" in text
    assert "use z as an instrument" in text
    assert "front door of m" in text
    nothing = audit(Graph.parse("x -> y ; x <-> y ; v -> y"), "x", "y")
    assert "measure the common cause of x and y" in remedy_of(nothing.repair)


def test_the_table_decides_what_is_measured():
    graph = Graph.parse("a -> x ; a -> b -> y ; x -> y ; p -> y")
    assert choose_covariates(graph, "x", "y", columns=["a", "b", "p", "x", "y"]) == ("b", "p")
    assert choose_covariates(graph, "x", "y", columns=["a", "x", "y"]) == ("a",)
    with pytest.raises(RefusalError, match="asks for covariates that the table doesn't have: a"):
        choose_covariates(graph, "x", "y", columns=["p", "x", "y"])


def test_nothing_needed_isnt_impossible():
    found = audit(Graph.parse("x -> y"), "x", "y")
    assert sentence_of(found) == "Nothing needed: no path confounds x and y."
    assert choose_covariates(Graph.parse("x -> y"), "x", "y", columns=["x", "y"]) == ()


def test_ends_come_from_marks_or_names():
    marked = Graph.parse("x [exposure] ; y [outcome] ; x -> y")
    assert ends_of(marked, exposure=("other",), outcome=(None,)) == ("x", "y")
    assert ends_of(Graph.parse("d -> y"), exposure=(None, "d"), outcome=("sales", "y")) == ("d", "y")
    with pytest.raises(GraphError, match="marks no exposure, and has none of 'q'"):
        ends_of(Graph.parse("d -> y"), exposure=("q",), outcome=("y",))


def test_section_is_plain_and_complete():
    graph = Graph.parse("z -> x -> y ; z -> y ; u [latent] ; u -> y ; z <-> u")
    section = graph_section(graph, audit(graph, "x", "y"), ["z"])
    assert section["answer"] == "adjust"
    assert [node["name"] for node in section["nodes"]] == list(graph.nodes)
    roles = {node["name"]: (node["role"], node["advice"], node["adjusted"]) for node in section["nodes"]}
    assert roles["x"] == ("exposure", None, False)
    assert roles["z"] == ("confounder", "must", True)
    assert section["bidirected"] == [["u", "z"]]


def test_a_panel_may_not_hold_what_follows_from_its_launch():
    graph = Graph.parse("launch -> visits -> baskets -> sales ; income -> sales")
    refuse_descendants(graph, "launch", ["income"])
    with pytest.raises(RefusalError, match="baskets \\(launch -> visits -> baskets\\)") as refusal:
        refuse_descendants(graph, "launch", ["income", "baskets"])
    assert refusal.value.exit_code == 3


def launch_study(folder, graph, **changes):
    rows = [
        (unit, period, 10.0 * unit + period + (unit == 1) * (period >= 4), float(unit), float(unit + (period >= 4)))
        for unit in range(1, 7)
        for period in range(1, 7)
    ]
    pd.DataFrame(rows, columns=["unit", "period", "sales", "income", "visits"]).to_csv(folder / "t.csv", index=False)
    (folder / "g.dag").write_text(graph)
    values = {
        "study": {"name": "s", "question": "q"},
        "data": {"source": "t.csv", "unit": "unit", "period": "period", "covariates": ["visits"]},
        "metric": [{"name": "sales", "column": "sales"}],
        "launch": {"units": ["1"], "start": 4},
        "method": {"name": "synthetic-control", "options": {"match": "predictors"}},
        "dag": "g.dag",
    }
    return Study.from_mapping(values | changes, folder=folder)


def test_a_launch_study_is_held_to_its_graph(tmp_path):
    study = launch_study(tmp_path, "launch -> visits -> sales ; launch -> sales ; income -> sales")
    with pytest.raises(RefusalError, match="launch -> visits"):
        estimate_study(study, study.metric[0])
    before = {"source": "t.csv", "unit": "unit", "period": "period", "covariates": ["income"]}
    allowed = launch_study(tmp_path, "launch -> visits -> sales ; income -> sales", data=before)
    assert estimate_study(allowed, allowed.metric[0]).value is not None


def test_a_launch_that_the_graph_doesnt_name_is_bad_input(tmp_path):
    with pytest.raises(GraphError, match="marks no exposure"):
        check_launch_study(launch_study(tmp_path, "campaign -> sales ; visits -> sales"))
    check_launch_study(launch_study(tmp_path, "campaign [exposure] ; campaign -> sales ; visits -> sales"))
    with pytest.raises(GraphError, match="there is no file"):
        check_launch_study(launch_study(tmp_path, "x -> y", dag="h.dag"))


def test_outcomes_matched_on_arent_covariates(tmp_path):
    data = {"source": "t.csv", "unit": "unit", "period": "period", "covariates": ["visits"]}
    metrics = [{"name": "sales", "column": "sales"}, {"name": "visits", "column": "visits"}]
    method = {"name": "synthetic-control", "options": {"match": "shared"}}
    check_launch_study(launch_study(tmp_path, "launch -> visits -> sales", data=data, metric=metrics, method=method))


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "is empty"), ("a -> -> b", "line 1, column"), ("a -> b -> a", "cycle"), ("a\nb", "isn't cause, effect")],
)
def test_a_file_that_is_no_graph(tmp_path, content, words):
    path = tmp_path / "g.dag"
    path.write_text(content)
    with pytest.raises(GraphError, match=words):
        read_graph(path)


def test_a_misspelt_graph_file_gets_a_hint(tmp_path):
    (tmp_path / "graph.dag").write_text("a -> b")
    with pytest.raises(GraphError, match=r"did you mean 'graph\.dag'"):
        read_graph(tmp_path / "grap.dag")
