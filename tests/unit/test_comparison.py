"""Comparisons at one time: which study they are, what the graph allows, what the headline says, what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import causalbench as cb
from causalbench.cli import main
from causalbench.data.cross_section_audit import audit_cross_section
from causalbench.data.self_selection import GRAPH
from causalbench.data.self_selection import self_selected as people
from causalbench.data.simulate import factor_panel
from causalbench.decision.comparison_headline import DECISIVE, comparison_headline
from causalbench.errors import DataError, GraphError, RefusalError, StudyError
from causalbench.protocols import Requirements
from causalbench.report import figures, page
from causalbench.report.figures import causal_graph
from causalbench.study import ComparisonStudy, Study, load_finished, load_study
from causalbench.values import NO_PATH, CheckResult
from causalbench.workflow.comparison_graph import choose
from causalbench.workflow.comparison_graph_check import graph_check
from causalbench.workflow.comparison_readout import check_comparison

STUDY = """\
dag = "graph.dag"
[study]
name = "card"
question = "Did the card raise spending?"
[data]
source = "people.csv"
unit = "person"
before = "last_spend"
[[metric]]
name = "spending"
column = "spend"
[launch]
treatment = "took"
assignment = "opt-in"
[method]
name = "adjustment"
[method.options]
method = "regression"
"""

REGRESSION = {"method": "regression"}
COVARIATES = ("age", "income", "last_spend")
BY_GRAPH = ("income",)
NO_LATENTS = "\n".join(line for line in GRAPH.splitlines() if "need" not in line)


@pytest.fixture
def folder(tmp_path):
    people().to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "graph.dag").write_text(GRAPH)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def rewritten(folder, *changes):
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "study.toml").write_text(text)
    return folder


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["causalbench", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        main()
    captured = capsys.readouterr()
    return leaving.value.code or 0, captured.out, captured.err


def cross_section(**roles):
    asked = {"outcome": "spend", "treatment": "took", "covariates": COVARIATES} | roles
    return cb.CrossSection.from_table(people(), **asked)


def problems(folder, *changes):
    with pytest.raises(StudyError) as refused:
        load_study(rewritten(folder, *changes))
    return list(refused.value.problems)


# Which study it is


def test_study_without_a_period_compares_at_one_time(folder):
    study = load_study(folder)
    assert isinstance(study, ComparisonStudy)
    assert isinstance(load_finished(folder), ComparisonStudy)
    assert (study.dag, study.data.covariates, study.launch.treatment) == ("graph.dag", None, "took")


def test_study_of_a_launch_that_forgot_its_period_is_told_so(folder):
    found = problems(folder, ('name = "adjustment"', 'name = "did"'), ('method = "regression"\n', ""))
    assert "[data] period is missing (line 5)" in found


def test_method_at_one_time_refuses_a_period(folder):
    found = problems(folder, ('unit = "person"', 'unit = "person"\nperiod = "week"'))
    assert "[method] name (line 17) = 'adjustment' compares units at one time: leave out [data] period" in found


def test_method_over_periods_is_refused_where_there_are_none(folder):
    values = load_study(folder).to_dict()
    values["method"] = {"name": "did"}
    values.pop("run")
    with pytest.raises(StudyError, match=r"\[method\] name = 'did' needs \[data\] period"):
        ComparisonStudy.from_mapping(values)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('unit = "person"', 'grain = "event"', "[data] grain (line 7) is not a key; allowed here: "),
        (
            'treatment = "took"',
            'cohort = "took"',
            "[launch] cohort (line 13) is not a key; allowed here: assignment, tr",
        ),
        ('treatment = "took"\n', "", "[launch] treatment is missing (line 12)"),
        (
            'column = "spend"',
            'column = "spend"\ntransform = "log"',
            "[[metric]] transform (line 12): isn't for a compa",
        ),
        (
            "[launch]",
            '[[metric]]\nname = "b"\ncolumn = "c"\n[launch]',
            "[data] before (line 8): belongs to one outcome",
        ),
        (
            'unit = "person"',
            'on_missing = "zero"',
            "[data] on_missing (line 7): Input should be 'error' or 'drop_unit'",
        ),
        ('unit = "person"', 'covariates = ["a", "a"]', "[data] covariates (line 7): named twice: 'a'"),
        ('source = "people.csv"\n', "", "[data] (line 5): give either source"),
        ('name = "adjustment"', 'name = "adjustmnt"', "[method] name (line 16) = 'adjustmnt' doesn't exist (did you"),
        ('dag = "graph.dag"', 'dag = ["graph.dag"]', "dag (line 1): Input should be a valid string"),
        (
            'name = "adjustment"',
            'name = "adjustment"\noverride = ""',
            "[method] override (line 17): String should have",
        ),
    ],
)
def test_what_is_wrong_with_the_study_is_said_with_its_line(folder, old, new, problem):
    found = problems(folder, (old, new))
    assert any(line.startswith(problem) for line in found), found


def test_only_a_comparison_at_one_time_may_override():
    values = {
        "study": {"name": "x", "question": "?"},
        "data": {"source": "t.csv", "unit": "u", "period": "t"},
        "metric": [{"name": "y", "column": "y"}],
        "launch": {"units": ["a"], "start": 1},
        "method": {"name": "did", "override": "because"},
    }
    with pytest.raises(StudyError, match="override is not a key"):
        Study.from_mapping(values)


# What an estimate of a cross-section is


def test_estimate_of_a_cross_section_has_no_path_and_says_for_whom_it_is():
    found = cb.estimate(cross_section(), "adjustment", options=REGRESSION)
    n_treated = int(people()["took"].sum())
    assert found.path is NO_PATH
    assert (found.n_pre, found.n_post, found.event_study, found.weights) == (0, 0, None, None)
    assert (found.n_treated, found.n_control) == (n_treated, 600 - n_treated)
    assert (found.estimand.kind, found.estimand.window) == ("att", "one comparison")
    assert found.estimand.population == f"the {n_treated} units with took = 1"
    assert found.estimand.units == "spend per unit"
    assert found.detail["incremental"] == pytest.approx(found.value * n_treated)
    mean = people().query("took == 1")["spend"].mean()
    assert found.detail["relative"] == pytest.approx(found.value / (mean - found.value))
    assert found.detail["covariates"] == list(COVARIATES)
    assert found.rejected == (not found.interval.contains(0.0))
    json.dumps(found.to_dict())


def test_effect_on_everybody_is_about_all_units():
    found = cb.estimate(cross_section(), "adjustment", options=REGRESSION | {"estimand": "ate"})
    assert found.estimand.kind == "ate"
    assert found.estimand.population == "all 600 units, treated and not"
    assert found.detail["incremental"] == pytest.approx(600 * found.value)


def test_weighted_units_and_means_have_no_total():
    table = people().assign(size=lambda t: 1 + (t["age"] > 0))
    roles = {"outcome": "spend", "treatment": "took", "covariates": ["income"], "weights": "size"}
    weighted = cb.estimate(cb.CrossSection.from_table(table, **roles), "adjustment", options=REGRESSION)
    assert weighted.detail["incremental"] is None
    assert weighted.estimand.weighting == "population"
    mean = dataclasses.replace(cross_section(), additive=False)
    assert cb.estimate(mean, "adjustment", options=REGRESSION).detail["incremental"] is None


def test_order_of_rows_changes_nothing():
    shuffled = people().sample(frac=1, random_state=4)
    other = cb.CrossSection.from_table(shuffled, outcome="spend", treatment="took", covariates=COVARIATES)
    found, expected = (cb.estimate(data, "adjustment", options=REGRESSION) for data in (other, cross_section()))
    assert found.to_dict() == expected.to_dict()


def test_shapes_of_data_are_not_mixed_up():
    with pytest.raises(StudyError, match="did needs periods: pass a Panel"):
        cb.estimate(cross_section(), "did")
    panel = factor_panel(n_units=12, n_periods=10, n_post=3, n_treated=2, rho=0.2, effect=1.0, seed=0)
    with pytest.raises(StudyError, match="adjustment compares units at one time: pass a CrossSection"):
        cb.estimate(panel, "adjustment")
    with pytest.raises(StudyError, match="on_missing is for panels"):
        cb.estimate(cross_section(), "adjustment", on_missing="zero")
    with pytest.raises(StudyError, match="confidence level"):
        cb.estimate(cross_section(), "adjustment", level=95)


NEEDS = Requirements(
    min_control=3,
    min_pre=0,
    recommended_pre=0,
    max_cohorts=None,
    varying_controls=False,
    shape="cross-section",
)


def test_columns_that_a_method_does_not_look_at_are_refused():
    table = people(50).assign(block=lambda t: t.index // 10)
    data = cb.CrossSection.from_table(table, outcome="spend", treatment="took", cluster="block")
    with pytest.raises(RefusalError, match="adjustment uses no clusters"):
        audit_cross_section(data, data, NEEDS, method="adjustment")
    data = cb.CrossSection.from_table(table.assign(w=1.5), outcome="spend", treatment="took", weights="w")
    with pytest.raises(RefusalError, match="adjustment uses no weights"):
        audit_cross_section(data, data, NEEDS, method="adjustment")


def test_too_few_controls_are_refused():
    table = people(50)
    table["took"] = 1
    table.loc[:1, "took"] = 0
    data = cb.CrossSection.from_table(table, outcome="spend", treatment="took")
    with pytest.raises(RefusalError, match="needs at least 3 control units, the data have 2"):
        audit_cross_section(data, data, NEEDS, method="adjustment")


def test_rows_left_out_are_counted(folder):
    table = people()
    table.loc[[3, 8], "income"] = np.nan
    table.to_csv(folder / "people.csv", index=False)
    with pytest.raises(DataError, match="2 of 600 rows have an empty cell"):
        check_comparison(load_study(folder))
    rewritten(folder, ('unit = "person"', 'unit = "person"\non_missing = "drop_unit"'))
    audit, _ = check_comparison(load_study(folder))["spending"]
    seen = audit.coverage
    assert seen["incomplete_units_before"] == 2
    assert seen["treated_units_used"] + seen["control_units_used"] == 598


# What the graph allows


def chosen(folder, *changes, graph=GRAPH):
    (folder / "graph.dag").write_text(graph)
    study = load_study(rewritten(folder, *changes))
    return choose(study, study.metric[0], columns=list(people(5)))


def test_covariates_come_from_the_graph_the_sharpest_set_first(folder):
    sharp = chosen(folder, graph=NO_LATENTS)
    assert sharp.by_graph
    assert sharp.covariates == COVARIATES  # age causes the outcome alone: it isn't needed, and sharpens the answer


def test_minimal_set_is_taken_where_a_latent_cause_leaves_no_sharpest_one(folder):
    found = chosen(folder)
    assert (found.covariates, found.by_graph) == (BY_GRAPH, True)
    verdicts = {node["name"]: node["advice"] for node in found.graph["nodes"]}
    assert verdicts["income"] == "must"
    assert {verdicts[name] for name in ("visits", "survey", "quiz")} == {"must not"}
    assert found.graph["answer"] == "adjust"


def test_study_without_a_graph_takes_what_it_names(folder):
    found = chosen(folder, ('dag = "graph.dag"\n', ""), ('unit = "person"', 'unit = "person"\ncovariates = ["visits"]'))
    assert (found.covariates, found.by_graph, found.graph) == (("visits",), False, None)
    assert chosen(folder, ('dag = "graph.dag"\n', "")).covariates == ()


@pytest.mark.parametrize(
    ("column", "reason", "path"),
    [
        ("visits", "mediator", "took -> visits -> spend"),
        ("survey", "descendant of the outcome", "spend -> survey"),
        ("quiz", "M-bias", "took <- need -> quiz <- mood -> spend"),
    ],
)
def test_forbidden_covariate_is_refused_with_reason_and_path(folder, column, reason, path):
    with pytest.raises(RefusalError) as refused:
        chosen(folder, ('unit = "person"', f'unit = "person"\ncovariates = ["income", "{column}"]'))
    assert reason in refused.value.message
    assert path in refused.value.message
    assert refused.value.exit_code == 3
    assert "income" in refused.value.remedy


def test_named_covariates_that_will_do_are_taken_as_they_are(folder):
    found = chosen(folder, ('unit = "person"', 'unit = "person"\ncovariates = ["income"]'))
    assert (found.covariates, found.by_graph) == (("income",), False)
    assert found.graph["covariates"] == ["income"]


def test_covariates_that_leave_a_path_open_are_refused(folder):
    with pytest.raises(RefusalError, match="this path stays open: took <- income"):
        chosen(folder, ('unit = "person"', 'unit = "person"\ncovariates = ["age"]'))


def test_impossible_names_the_open_path_and_the_cheapest_repair(folder):
    graph = GRAPH.replace("need -> took ;", "need -> took ; need -> spend ;")
    with pytest.raises(RefusalError) as refused:
        chosen(folder, graph=graph)
    assert "that may be, this path is open: took <- need -> spend" in refused.value.message
    assert "measure need" in refused.value.remedy
    assert "letter as an instrument" in refused.value.remedy
    assert refused.value.exit_code == 3


def test_node_that_is_no_column_is_an_error_with_the_nearest_name(folder):
    with pytest.raises(GraphError, match=r"no column of the table: 'incom' \(did you mean 'income'\?\)"):
        chosen(folder, graph=GRAPH.replace("income", "incom"))


@pytest.mark.parametrize("name", ["treatment_arm", "took"])
def test_marked_ends_stand_for_the_columns_of_the_study(folder, name):
    found = chosen(folder, graph=GRAPH.replace("took", name))
    assert found.covariates == BY_GRAPH
    assert found.graph["exposure"] == name


def test_unmarked_ends_are_the_nodes_named_like_the_columns(folder):
    found = chosen(folder, graph="income -> took ; income -> spend ; took -> spend")
    assert (found.graph["exposure"], found.graph["outcome"], found.covariates) == ("took", "spend", ("income",))
    with pytest.raises(GraphError, match="marks no exposure"):
        chosen(folder, graph="income -> card ; income -> spend ; card -> spend")


@pytest.mark.parametrize(
    ("graph", "words"),
    [("took -> spend -> took", "has a cycle"), ("", "is empty"), ("took - spend", "graph.dag: line 1")],
)
def test_graph_that_can_not_be_read_is_refused(folder, graph, words):
    with pytest.raises(GraphError, match=words):
        chosen(folder, graph=graph)


def test_graph_that_is_not_there_names_the_nearest(folder):
    with pytest.raises(GraphError, match=r"there is no file .*grap\.dag \(did you mean 'graph\.dag'\?\)"):
        chosen(folder, ('"graph.dag"', '"grap.dag"'))


# What the data say about the graph


def held(folder, graph, *changes):
    (folder / "graph.dag").write_text(graph)
    study = load_study(rewritten(folder, *changes))
    return graph_check(study, study.metric[0])


def test_graph_that_the_data_were_drawn_from_is_not_contradicted(folder):
    found = held(folder, GRAPH)
    assert (found.name, found.verdict, found.remedy) == ("graph-fits-data", "pass", "")
    assert found.table["n_claims"] > 10
    assert found.table["rejected"] == []
    assert held(folder, GRAPH, ('dag = "graph.dag"\n', "")) is None


@pytest.mark.parametrize("name", ["took", "treatment_arm"])
def test_missing_edge_is_named_also_where_the_exposure_has_a_name_of_its_own(folder, name):
    found = held(folder, GRAPH.replace("income -> took ; ", "").replace("took", name))
    assert found.verdict in ("review", "fail")
    assert any({"took", "income"} <= set(claim.split()) for claim in found.table["rejected"])
    assert found.remedy.startswith("Think again about ")


def test_graph_of_two_columns_claims_nothing(folder):
    assert held(folder, "took -> spend").verdict == "not_evaluable"


# What the headline says


def check(name, verdict):
    return CheckResult(name=name, question=f"{name}?", verdict=verdict, reason=f"The {name} is what it is.")


def headline_of(folder, *checks, override=None):
    changes = [] if override is None else [('name = "adjustment"', f'name = "adjustment"\noverride = "{override}"')]
    study = load_study(rewritten(folder, *changes))
    return comparison_headline(study, cb.estimate(cross_section(), "adjustment", options=REGRESSION), checks)


@pytest.mark.parametrize("name", ["overlap", "negative-control-outcome"])
def test_headline_is_refused_without_a_number_where_a_decisive_check_fails(folder, name):
    found = headline_of(folder, check(name, "fail"), check("e-value", "review"))
    assert found["verdict"] == "not credible"
    assert found["why"] == DECISIVE[name]
    assert not any(character.isdigit() for character in json.dumps(found))
    assert [doubt["verdict"] for doubt in found["reservations"]] == ["fail", "review"]


@pytest.mark.parametrize(
    "checks", [[], [check("overlap", "review")], [check("robustness", "fail")], [check("overlap", "not_evaluable")]]
)
def test_other_verdicts_leave_the_headline(folder, checks):
    found = headline_of(folder, *checks)
    assert (found["verdict"], found["override"]) == ("shown", None)


def test_override_in_words_shows_the_number_with_the_reason_on_top(folder):
    failing = check("overlap", "fail"), check("negative-control-outcome", "fail")
    found = headline_of(folder, *failing, override="the board asked for it")
    assert found["verdict"] == "shown"
    said = "Shown although overlap and negative control outcome fail, because the study says so: the board asked for it"
    assert found["override"] == said
    assert headline_of(folder, check("overlap", "pass"), override="no need")["override"] is None


# The readout, the page and the command line


def test_readout_holds_the_graph_and_only_checks_of_cross_sections(folder):
    found = cb.readout(cb.load_study(folder))
    assert found.graph["spending"]["covariates"] == list(BY_GRAPH)
    assert found.estimates[0].detail["covariates"] == list(BY_GRAPH)
    assert found.audits["spending"].treated == ()
    names = {result.name for result in found.checks["spending"]}
    assert "graph-fits-data" in names
    assert not names & {"pre-trend", "placebo-in-time", "pre-period-fit"}
    assert found.digest == cb.readout(cb.load_study(folder)).digest
    assert found.headline["verdict"] == "shown"


def evidence_of(folder, *changes):
    return cb.readout(load_study(rewritten(folder, *changes))).to_dict()


def test_page_shows_the_verdict_on_every_node_and_nothing_about_periods(folder):
    evidence = evidence_of(folder)
    html = page.render(evidence, {"spending": []})
    assert "What the causal graph says" in html
    assert "took -&gt; visits -&gt; spend" in html
    assert "Effect by period" not in html
    assert "before the launch" not in html.replace("Seal the next plan before the launch", "")
    assert "No number is claimed" not in html


def test_page_of_a_refused_headline_claims_no_number_and_of_an_override_says_why(folder):
    evidence = evidence_of(folder)
    evidence["headline"] |= {"verdict": "not credible", "sentence": "Not credible.", "answer": "-", "why": "-"}
    html = page.render(evidence, {"spending": []})
    assert "No number is claimed here." in html
    assert 'class="card not-credible"' in html
    evidence["headline"] |= {"verdict": "shown", "override": "Shown although <b>"}
    html = page.render(evidence, {"spending": []})
    assert "Shown although &lt;b&gt;" in html
    assert "No number is claimed" not in html


def test_picture_of_the_graph_is_drawn_where_there_is_one(folder):
    evidence = evidence_of(folder)
    assert "causal_graph" in {drawing.name for drawing in figures.draw(evidence, "spending")}
    assert "effect_path" not in {drawing.name for drawing in figures.draw(evidence, "spending")}
    evidence["graph"] = None
    assert causal_graph.draw(evidence, "spending") is None


def test_check_says_which_covariates_the_graph_takes(folder, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "check", folder)
    assert code == 0
    assert "covariates by the graph: income\n" in out
    code, out, _ = call(monkeypatch, capsys, "check", folder, "--json")
    assert json.loads(out)["graph"]["spending"]["answer"] == "adjust"
    rewritten(folder, ('unit = "person"', 'unit = "person"\ncovariates = ["visits"]'))
    code, out, err = call(monkeypatch, capsys, "check", folder)
    assert (code, out) == (3, "")
    assert "took -> visits -> spend" in err


def flags(folder, *more):
    return ["estimate", "adjustment", folder / "people.csv", "--outcome", "spend", "--treatment", "took", *more]


def test_estimate_takes_a_table_with_one_row_per_unit(folder, monkeypatch, capsys):
    words = ["--covariates", ",".join(COVARIATES), "--option", "method=regression", "--json"]
    code, out, _ = call(monkeypatch, capsys, *flags(folder, *words))
    expected = cb.estimate(cross_section(), "adjustment", options=REGRESSION)
    assert code == 0
    assert json.loads(out)["value"] == pytest.approx(expected.value)
    words[-1:] = ["--before", "last_spend", "--unit", "person"]
    code, out, _ = call(monkeypatch, capsys, *flags(folder, *words))
    assert "control units, adjusted for age, income, last_spend" in out
    assert "period" not in out


def test_estimate_takes_its_covariates_from_a_graph(folder, monkeypatch, capsys):
    graph = folder / "graph.dag"
    code, out, _ = call(monkeypatch, capsys, *flags(folder, "--dag", graph, "--json"))
    assert json.loads(out)["detail"]["covariates"] == list(BY_GRAPH)
    code, out, err = call(monkeypatch, capsys, *flags(folder, "--dag", graph, "--covariates", "income,visits"))
    assert (code, out) == (3, "")
    assert "visits (mediator)" in err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["adjustment", "--outcome", "spend"], "adjustment needs --treatment"),
        (["adjustment", "--outcome", "spend", "--treatment", "took", "--period", "w"], "takes no --period"),
        (
            ["adjustment", "--outcome", "spend", "--treatment", "took", "--treated", "a", "--date-format", "%d"],
            "takes no --date-format, --treated",
        ),
        (["did", "--outcome", "spend", "--treatment", "took"], "over periods: give --unit and --period"),
        (["did", "--outcome", "s", "--unit", "u", "--period", "t", "--before", "b"], "--before is for methods that"),
        (["adjustment", "--outcome", "spend", "--treatment", "tok"], "lacks 'tok' (did you mean 'took'?)"),
        (["adjustment", "--outcome", "spend", "--treatment", "age"], "treatment column 'age' holds"),
    ],
)
def test_flags_that_do_not_fit_the_method_are_refused(folder, monkeypatch, capsys, words, problem):
    code, out, err = call(monkeypatch, capsys, "estimate", words[0], folder / "people.csv", *words[1:])
    assert (code, out) == (2, "")
    assert problem in err


def test_shipped_comparison_is_no_panel():
    with pytest.raises(StudyError, match="'lalonde' compares units at one time"):
        cb.load_panel("lalonde")
