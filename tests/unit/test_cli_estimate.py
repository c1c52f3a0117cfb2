"""``causalbench estimate``: its JSON, its text, its exit codes, and how wrong flags are met."""

import json
import math
import os
import subprocess
import sys
import time

import pytest

import causalbench
from causalbench import cli
from causalbench.cli import console
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.workflow import estimate as workflow

SALES = {
    "baku": (11, 12, 12, 14, 14, 15),
    "kyiv": (7, 9, 8, 9, 10, 10),
    "lima": (10, 12, 11, 13, 20, 21),
    "oslo": (8, 9, 8, 10, 10, 11),
    "rome": (12, 13, 13, 14, 15, 15),
}
FIELDS = {
    "event_study",
    "bands",
    "path_bands",
    "inference_options",
    "metric",
    "estimand",
    "estimator",
    "inference",
    "value",
    "std_error",
    "interval",
    "p_value",
    "posterior_tail",
    "path",
    "weights",
    "detail",
    "warnings",
    "n_treated",
    "n_control",
    "n_pre",
    "n_post",
}
# lima: 20.5 - 11.5; the others: 12.5 - 10.5 = 2 on average of (14.5 - 12.25, 10 - 8.25, 10.5 - 8.75, 15 - 13)
DID = 9 - (2.25 + 1.75 + 1.75 + 2) / 4


@pytest.fixture
def table(tmp_path):
    rows = [f"{city},{week},{y}" for city, ys in SALES.items() for week, y in enumerate(ys, start=1)]
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(["city,week,sales", *rows]) + "\n")
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.setattr(
        console, "PATIENCE", 600.0
    )  # kernels that this process is the first to compile are no part of the answer

    def call(*command):
        monkeypatch.setattr(sys, "argv", ["causalbench", *map(str, command)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return call


def flags(table, *more, method="did"):
    columns = ["--unit", "city", "--period", "week", "--outcome", "sales"]
    return ["estimate", method, str(table), *columns, "--treated", "lima", "--start", "5", *more]


@pytest.mark.parametrize("method", ["did", "synthetic-control"])
def test_json_is_one_object_with_the_fields_of_an_estimate(run, table, method):
    code, out, err = run(*flags(table, "--json", method=method))
    assert (code, err) == (0, "")
    assert out.endswith("}\n")
    assert len(out.splitlines()) == 1
    answer = json.loads(out)
    assert set(answer) == FIELDS
    assert set(answer["estimand"]) == {"kind", "population", "weighting", "window", "units"}
    assert set(answer["interval"]) == {"segments", "level", "kind", "lower", "upper"}
    assert set(answer["path"]) == {"periods", "observed", "counterfactual", "effect"}
    assert {"incremental", "relative", "counterfactual_mean", "pre_mspe"} <= set(answer["detail"])
    assert (answer["estimator"], answer["metric"]) == (method, "sales")
    assert [answer[f"n_{count}"] for count in ("treated", "control", "pre", "post")] == [1, 4, 4, 2]
    assert answer["path"]["periods"] == [1, 2, 3, 4, 5, 6]
    assert answer["path"]["observed"] == list(SALES["lima"])
    assert answer["posterior_tail"] is None


def test_did_is_the_difference_of_mean_changes(run, table):
    answer = json.loads(run(*flags(table, "--json"))[1])
    assert answer["value"] == pytest.approx(DID, abs=1e-12)
    assert answer["detail"]["incremental"] == pytest.approx(2 * DID, abs=1e-12)
    assert answer["weights"] is None


def test_synthetic_control_reports_certified_weights(run, table):
    answer = json.loads(run(*flags(table, "--json", method="synthetic-control"))[1])
    assert {"pre_mspe", "rmspe_ratio", "rank", "duality_gap"} <= set(answer["detail"])
    assert set(answer["weights"]) == set(SALES) - {"lima"}
    assert math.fsum(answer["weights"].values()) == pytest.approx(1)
    assert 0 <= answer["detail"]["duality_gap"] <= 1e-8


def test_level_and_inference_reach_the_answer(run, table):
    answer = json.loads(run(*flags(table, "--json", "--level", "0.8", "--inference", "permutation"))[1])
    assert (answer["inference"], answer["interval"]["level"]) == ("permutation", 0.8)


def test_options_reach_the_method(run, table):
    code, out, err = run(*flags(table, "--option", "match=shared", method="synthetic-control"))
    assert (code, out) == (2, "")
    assert "match = shared has no other outcome to share weights with" in err
    given = ["--option", "exclude=baku", "--option", "fixed_effects=unit", "--inference", "placebo-rank", "--json"]
    answer = json.loads(run(*flags(table, *given, method="synthetic-control"))[1])
    assert set(answer["weights"]) == {"kyiv", "oslo", "rome"}


def test_a_long_wait_is_explained_once(run, table, monkeypatch):
    estimate_study = workflow.estimate_study
    monkeypatch.setattr(console, "PATIENCE", 0.01)
    monkeypatch.setattr(workflow, "estimate_study", lambda *asked: time.sleep(0.3) or estimate_study(*asked))
    code, out, err = run(*flags(table, "--json"))
    assert (code, err) == (0, console.FIRST_USE + "\n")
    assert json.loads(out)["estimator"] == "did"


def test_same_command_same_bytes(run, table):
    assert run(*flags(table, "--json")) == run(*flags(table, "--json"))


def test_text_names_method_effect_and_counts(run, table):
    code, out, err = run(*flags(table))
    assert (code, err) == (0, "")
    assert out.startswith("did with permutation inference, 5 to 6\n")
    assert "7.062 sales per city and period" in out
    assert "4 control units, 4 periods before the launch" in out


def test_json_from_a_process_of_its_own(table):
    command = [sys.executable, "-W", "error", "-m", "causalbench", *flags(table, "--json", method="synthetic-control")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=table.parent, env=dict(os.environ))
    assert done.returncode == 0
    assert done.stderr in ("", console.FIRST_USE + "\n")  # said where kernels aren't compiled yet
    assert set(json.loads(done.stdout)) == FIELDS


def test_table_by_a_relative_path(run, table, monkeypatch):
    monkeypatch.chdir(table.parent)
    assert run(*flags(table.name, "--json")) == run(*flags(table, "--json"))


WRONG = {
    "level as percent": (
        ["--level", "95"],
        "  - [method] level: give a confidence level between 0.5 and 1, such as 0.95, found 95.0",
    ),
    "negative seed": (["--seed", "-1"], "  - [run] seed: Input should be greater than or equal to 0, found -1"),
    "two launches": (
        ["--cohort", "week"],
        "  - [launch]: give exactly one of units, cohort, treatment; found units, cohort",
    ),
    "inference option without its inference": (
        ["--inference-option", "a=1"],
        "  - [method.inference_options]: options of an inference need its name: set inference under [method]",
    ),
    "unknown inference option": (
        ["--inference", "permutation", "--inference-option", "draws=9"],
        "  - [method.inference_options]: option 'draws' doesn't exist for permutation; permutation takes no options",
    ),
    "option without a value": (["--option", "exclude"], "  - --option 'exclude' isn't key=value"),
    "unknown option": (
        ["--option", "exclude=baku"],
        "  - [method.options]: option 'exclude' doesn't exist for did; allowed: covariance, convention",
    ),
    "inference of another method": (
        ["--inference", "conformal"],
        "  - [method] inference = 'conformal' doesn't go with did; allowed: cluster, wild, bootstrap, permutation, placebo",
    ),
    "misspelt inference": (
        ["--inference", "permutaton"],
        (
            "  - [method] inference = 'permutaton' doesn't exist for did (did you mean 'permutation'?); "
            "allowed: cluster, wild, bootstrap, permutation, placebo"
        ),
    ),
    "unknown rule": (
        ["--on-missing", "drop"],
        "  - [data] on_missing: Input should be 'error', 'drop_unit', 'drop_period', 'zero', 'impute' or 'keep', found 'drop'",
    ),
}


@pytest.mark.parametrize(("more", "problem"), WRONG.values(), ids=WRONG)
def test_wrong_value_of_a_flag_is_exit_2_with_the_reason(run, table, more, problem):
    assert run(*flags(table, *more)) == (2, "", f"command line: 1 problem\n{problem}\n")


def test_misspelt_method_names_the_nearest(run, table):
    code, out, err = run(*flags(table, method="synthetic-contol"))
    assert (code, out) == (2, "")
    listed = ", ".join(ESTIMATORS.names())
    assert (
        f"[method] name = 'synthetic-contol' doesn't exist (did you mean 'synthetic-control'?); there are: {listed}"
        in err
    )


def test_no_launch_is_exit_2(run, table):
    command = ["estimate", "did", str(table), "--unit", "city", "--period", "week", "--outcome", "sales"]
    assert run(*command) == (
        2, "", "command line: 1 problem\n  - [launch]: give exactly one of units, cohort, treatment; found none\n"
    )  # fmt: skip


def test_every_wrong_flag_is_listed_at_once(run, table):
    code, out, err = run(*flags(table, "--level", "95", "--seed", "-1", "--on-missing", "drop"))
    assert (code, out) == (2, "")
    assert err.startswith("command line: 3 problems\n")
    assert len(err.splitlines()) == 4


def test_question_the_data_cant_answer_is_exit_3(run, table):
    everyone = [
        "--unit",
        "city",
        "--period",
        "week",
        "--outcome",
        "sales",
        "--treated",
        ",".join(SALES),
        "--start",
        "5",
    ]
    assert run("estimate", "did", table, *everyone) == (
        3, "", "CB-D024: did needs at least 1 control units, the data have 0\n  To mend it: add units that never got the launch\n"
    )  # fmt: skip


def test_refused_exclusion_names_the_unit(run, table):
    code, out, err = run(*flags(table, "--option", "exclude=Baku", method="synthetic-control"))
    assert (code, out) == (2, "")
    assert err.startswith("CB-D019: exclude names no control unit: 'Baku' (did you mean 'baku'?)\n")


USAGE = {
    "missing flag": (["estimate", "did", "t.csv"], "Missing option '--outcome'"),
    "missing table": (["estimate", "did"], "Missing argument 'TABLE'"),
    "unknown flag": (["estimate", "did", "t.csv", "--onmissing", "zero"], "No such option: --onmissing"),
    "flag without a value": (["estimate", "did", "t.csv", "--unit"], "Option '--unit' requires an argument"),
    "unknown command": (["estimat"], "No such command 'estimat'"),
    "level that is no number": (["estimate", "did", "t.csv", "--level", "high"], "Invalid value for '--level'"),
}


@pytest.mark.parametrize(("command", "message"), USAGE.values(), ids=USAGE)
def test_wrong_usage_is_exit_2_on_stderr(run, command, message):
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_no_command_shows_the_help_and_is_exit_2(run):
    code, out, err = run()
    assert code == 2
    assert "estimate" in out + err


def test_version(run):
    assert run("--version") == (0, f"{causalbench.__version__}\n", "")


def test_help_lists_commands_and_flags(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for command in ("demo", "check", "run", "estimate"):
        assert f"\n  {command} " in out
    code, out, err = run("estimate", "--help")
    assert (code, err) == (0, "")
    for flag in ("unit", "period", "outcome", "treated", "start", "cohort", "treatment", "inference", "option", "on-missing",
                 "level", "seed", "json"):  # fmt: skip
        assert f"--{flag}" in out


def test_error_of_the_program_is_one_line_and_exit_1(run, table, monkeypatch):
    monkeypatch.delenv("CAUSALBENCH_TRACEBACK", raising=False)

    def broken(*_):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(workflow, "answer_study", broken)
    code, out, err = run(*flags(table, "--json"))
    assert (code, out) == (1, "")
    assert err.startswith("internal error: ZeroDivisionError: by hand\n  To mend it: this is a bug in causalbench; ")
    assert "Traceback" not in err


def test_traceback_is_shown_on_request(run, table, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(workflow, "answer_study", broken)
    monkeypatch.setenv("CAUSALBENCH_TRACEBACK", "1")
    code, out, err = run(*flags(table, "--json"))
    assert (code, out) == (1, "")
    assert "Traceback" in err


def test_empty_list_of_treated_units_is_described_in_words(run, table):
    columns = ["--unit", "city", "--period", "week", "--outcome", "sales"]
    code, out, err = run("estimate", "did", table, *columns, "--treated", ",", "--start", "5")
    assert (code, out) == (2, "")
    assert "Tuple" not in err
