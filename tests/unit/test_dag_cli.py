"""The commands on graphs: three answers told apart by words and exit code, one JSON object, budgets that end."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from causalbench.cli import app
from causalbench.errors import CausalbenchError

CONFOUNDED = "dag { x [exposure] ; y [outcome] ; a -> x ; a -> b -> y ; x -> m -> y ; p -> y ; x -> c <- y }"
HOPELESS = "x [exposure] ; y [outcome] ; u [latent] ; z -> x -> y ; u -> x ; u -> y"


@pytest.fixture
def graph(tmp_path):
    def write(text, name="graph.dag"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def call(*words):
    done = CliRunner().invoke(app, ["dag", *words])
    return done.exit_code, done.stdout, done.exception


def called(*words):
    code, out, error = call(*words, "--json")
    assert error is None or isinstance(error, SystemExit), error
    return code, json.loads(out)


def test_audit_gives_every_node_a_verdict_and_a_path(graph):
    code, found = called("audit", graph(CONFOUNDED))
    assert (code, found["answer"], found["complete"]) == (0, "adjust", True)
    verdicts = {node["name"]: (node["advice"], node["path"]) for node in found["nodes"]}
    assert verdicts["m"] == ("must not", "x -> m -> y")
    assert verdicts["c"][0] == "must not"
    assert verdicts["a"] == ("may", "x <- a -> b -> y")
    code, text, _ = call("audit", graph(CONFOUNDED))
    assert code == 0
    assert "must not  m (mediator)" in text


def test_nothing_needed_impossible_and_bad_input_are_three_answers(graph):
    code, found = called("adjust", graph("x -> y"), "--exposure", "x", "--outcome", "y")
    assert (code, found["answer"], found["minimal_sets"], found["complete"]) == (0, "nothing needed", [[]], True)
    code, found = called("adjust", graph(HOPELESS))
    assert (code, found["answer"], found["minimal_sets"]) == (3, "impossible", [])
    assert found["open_path"] == "x <- u -> y"
    assert found["repair"] == {"measure": ["u"], "instruments": ["z"], "front_door": None, "sample": []}
    code, text, _ = call("audit", graph(HOPELESS))
    assert code == 3
    assert "measure u, or use z as an instrument" in text
    _, _, error = call("adjust", graph("x -> y -> x"))
    assert isinstance(error, CausalbenchError)
    assert error.exit_code == 2


def test_all_minimal_sets_a_cheapest_and_the_optimal_one(graph):
    code, found = called("adjust", graph(CONFOUNDED), "--costs", "a=5,b=2")
    assert code == 0
    assert sorted(found["minimal_sets"]) == [["a"], ["b"]]
    assert (found["cheapest"], found["optimal"]) == (["b"], ["b", "p"])
    _, limited = called("adjust", graph(CONFOUNDED), "--limit", "1")
    assert (len(limited["minimal_sets"]), limited["complete"]) == (1, False)
    _, held = called("adjust", graph(CONFOUNDED), "--include", "p", "--exclude", "b")
    assert held["minimal_sets"] == [["a", "p"]]
    _, direct = called("adjust", graph(CONFOUNDED), "--effect", "direct")
    assert sorted(direct["minimal_sets"]) == [["a", "m"], ["b", "m"]]


def test_identify_writes_the_functional_or_the_hedge(graph):
    code, front = called("identify", graph("x [exposure] ; y [outcome] ; x -> m -> y ; x <-> y"))
    assert (code, front["identified"], front["adjustment"], front["front_door_sets"]) == (0, True, None, [["m"]])
    assert front["functional"] == "sum over m of P(m | x) [sum over x of P(x) P(y | x, m)]"
    code, hedge = called("identify", graph(HOPELESS))
    assert (code, hedge["identified"], hedge["instruments"]) == (3, False, [{"node": "z", "given": []}])
    assert "unmeasured common causes connect" in hedge["sentence"]


def test_a_functional_with_a_value_to_spare_says_so(graph):
    """The instrument's value stands in the terms and doesn't matter: the front door works at each."""
    path = graph("x [exposure] ; y [outcome] ; z -> x -> m -> y ; x <-> y")
    assert called("identify", path)[1]["whatever"] == ["z"]
    assert "whatever the value of z" in call("identify", path)[1]
    assert called("identify", graph("x [exposure] ; y [outcome] ; x -> m -> y ; x <-> y"))[1]["whatever"] == []


def test_implications_are_listed_up_to_a_limit(graph):
    code, found = called("implications", graph("a -> b -> c -> d"))
    assert code == 0
    assert found["complete"]
    assert "a is independent of c given b" in [claim["sentence"] for claim in found["claims"]]
    _, limited = called("implications", graph("a -> b -> c -> d"), "--limit", "2")
    assert (len(limited["claims"]), limited["complete"]) == (2, False)


def test_a_column_that_the_table_lacks_isnt_measured(graph, tmp_path):
    table = pd.DataFrame(np.eye(8)[:, :5], columns=["x", "y", "m", "p", "c"])
    table.to_csv(tmp_path / "t.csv", index=False)
    code, found = called("adjust", graph(CONFOUNDED), "--data", str(tmp_path / "t.csv"))
    assert (code, found["answer"], found["absent"]) == (3, "impossible", ["a", "b"])
    assert found["repair"]["measure"] in (["a"], ["b"])
    _, _, error = call(
        "audit", graph("xx -> y"), "--exposure", "xx", "--outcome", "y", "--data", str(tmp_path / "t.csv")
    )
    assert "lacks 'xx'" in str(error)


def test_a_selected_sample_is_taken_for_what_it_is(graph, tmp_path):
    """The node that the sample was selected on has no column: it is given all the same, and opens x -> s <- w -> y."""
    rng = np.random.default_rng(0)
    pd.DataFrame(rng.normal(size=(200, 3)), columns=["x", "y", "w"]).to_csv(tmp_path / "t.csv", index=False)
    text = "x [exposure] ; y [outcome] ; x -> y ; x -> s <- w -> y ; s [selected]"
    code, found = called("adjust", graph(text), "--data", str(tmp_path / "t.csv"))
    assert (code, found["minimal_sets"], found["absent"]) == (0, [["w"]], [])
    code, found = called("implications", graph("x -> s <- w ; x -> y ; w -> v -> y ; s [selected]"))
    assert [claim["sentence"] for claim in found["claims"]] == [
        "x is independent of v given w",
        "w is independent of y given v, x",
    ]
    code, text, _ = call("adjust", graph("x [exposure] ; y [outcome] ; x -> y -> s ; s [selected]"))
    assert code == 3
    assert "the sample was selected on s, where the effect leads: x -> y -> s" in text
    assert "take a sample that wasn't selected on s" in text
    code, found = called("identify", graph("x [exposure] ; y [outcome] ; x -> y -> s ; s [selected]"))
    assert (code, found["identified"], found["functional"]) == (0, None, None)


def test_the_budget_holds_with_data_too(graph, tmp_path):
    rng = np.random.default_rng(0)
    names = [f"v{i}" for i in range(12)]
    pd.DataFrame(rng.normal(size=(200, 12)), columns=names).to_csv(tmp_path / "t.csv", index=False)
    code, found = called(
        "implications", graph(" ; ".join(names) + " ; v0 -> v1"), "--data", str(tmp_path / "t.csv"), "--seconds", "0"
    )
    assert (code, found["complete"], found["claims"]) == (0, False, [])


def test_implications_are_tested_on_data(graph, tmp_path):
    rng = np.random.default_rng(1)
    a = rng.normal(size=400)
    b = a + rng.normal(size=400)
    table = pd.DataFrame({"a": a, "b": b, "c": b + rng.normal(size=400), "d": rng.normal(size=400)})
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    code, right = called("implications", graph("a -> b -> c ; d"), "--data", str(path))
    assert code == 0
    assert not any(claim["rejected"] for claim in right["claims"])
    _, wrong = called("implications", graph("a -> c -> b ; d"), "--data", str(path))
    assert [suspect["ends"] for suspect in wrong["suspects"] if suspect["kind"] == "missing"] == [["a", "b"]]
    again = called("implications", graph("a -> c -> b ; d"), "--data", str(path))[1]
    assert again == wrong, "the same seed gives the same answer"


def test_a_drawing_is_written(graph, tmp_path):
    code, _, _ = call("audit", graph(CONFOUNDED), "--draw", str(tmp_path / "g.svg"))
    assert code == 0
    assert (tmp_path / "g.svg").read_text().count("<path") > 10
    _, _, error = call("audit", graph(CONFOUNDED), "--draw", str(tmp_path / "no" / "g.svg"))
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (CONFOUNDED, "g.png", "--draw writes SVG, not .png"),
        (f"{CONFOUNDED[:-1]} ; {' ; '.join(f'n{i}' for i in range(200))} }}", "g.svg", "207 nodes is too large"),
    ],
)
def test_a_drawing_that_nobody_could_open_or_read_is_refused(graph, tmp_path, text, name, words):
    _, _, error = call("audit", graph(text), "--draw", str(tmp_path / name))
    assert isinstance(error, CausalbenchError)
    assert words in str(error)
    assert not (tmp_path / name).exists()


def test_a_restriction_that_rules_all_sets_out_says_what_would_do_without_it(graph):
    code, text, _ = call("adjust", graph("x [exposure] ; y [outcome] ; z -> x -> y ; z -> y"), "--exclude", "z")
    assert code == 3
    assert "Without them this set is enough: z." in text


def test_a_budget_ends_the_audit_and_says_so(graph):
    code, found = called("audit", graph(CONFOUNDED), "--seconds", "0")
    assert code == 0
    assert found["complete"] is False
    assert found["answer"] == "adjust", "the answer itself takes linear time and is always given"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit"], "--exposure is missing"),
        (["audit", "--exposure", "yy", "--outcome", "x"], "did you mean 'y'"),
        (["audit", "--exposure", "y", "--outcome", "x"], "comes before the exposure"),
        (["audit", "--exposure", "x", "--outcome", "y", "--before", "y"], "y comes before x, but the graph has x -> y"),
        (["adjust", "--exposure", "x", "--outcome", "y", "--effect", "all"], "use one of total, direct"),
        (["adjust", "--exposure", "x", "--outcome", "y", "--costs", "x=a"], "isn't a number"),
        (["adjust", "--exposure", "x", "--outcome", "y", "--costs", "x"], "isn't key=value"),
        (["adjust", "--exposure", "x", "--outcome", "y", "--include", "y"], "can't be adjusted for"),
        (["implications", "--data", "nowhere.csv"], "there is no file nowhere.csv"),
    ],
)
def test_bad_input(graph, words, message):
    _, _, error = call(words[0], graph("x -> y"), *words[1:])
    assert isinstance(error, CausalbenchError)
    assert error.exit_code == 2
    assert message in str(error)


def test_a_path_back_in_time_is_bad_input(graph):
    _, _, error = call("audit", graph("x [exposure] ; y [outcome] ; z [before_launch] ; x -> m -> z ; z -> y"))
    assert "goes back in time: x -> m -> z" in str(error)
