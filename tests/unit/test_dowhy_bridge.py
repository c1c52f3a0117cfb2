"""The way to dowhy's falsification and refuters: it runs, its known failures stay out, and nothing of the program changes."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from causalbench.dag import Graph
from causalbench.data import sources
from causalbench.errors import RefusalError, StudyError
from causalbench.workflow.dowhy_bridge import falsify, refute
from causalbench.workflow.graph_test import hold_against

TEXT = "z -> x ; z -> y ; x -> y ; p -> y"


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = 800
    z, p = rng.normal(size=(2, n))
    x = (rng.uniform(size=n) < 1 / (1 + np.exp(-z))).astype(float)
    return pd.DataFrame({"z": z, "p": p, "x": x, "y": 2 * x + z + 3 * p * x + rng.normal(size=n)})


def test_a_cause_of_the_outcome_alone_is_no_effect_modifier(table):
    """p moves the outcome and its effect; the regression on x and z is what least squares says, without interactions."""
    design = np.column_stack([np.ones(len(table)), table["x"], table["z"]])
    expected = np.linalg.lstsq(design, table["y"].to_numpy(), rcond=None)[0][1]
    found = refute(
        Graph.parse(TEXT), sources.from_object(table), exposure="x", outcome="y", covariates=["z"], n_simulations=30
    )
    assert [one.refuter for one in found] == ["random_common_cause", "placebo_treatment", "data_subset"]
    assert [one.estimate for one in found] == pytest.approx([expected] * 3, rel=1e-9)
    by_name = {one.refuter: one for one in found}
    assert by_name["random_common_cause"].refuted == pytest.approx(expected, abs=0.05)
    assert abs(by_name["placebo_treatment"].refuted) < 0.3
    assert all(one.p_value > 0.05 for one in found), "with one draw for all simulations the subset's p-value would be 0"


def test_dowhy_and_ours_count_the_same_violations(table):
    graph, source = Graph.parse("z -> y ; p -> y ; w -> z"), sources.from_object(table.assign(w=table["z"] ** 3))
    theirs = falsify(graph, source, n_permutations=5, test="partial-correlation")
    ours = hold_against(graph, source, rng=np.random.default_rng(0)).falsification
    assert (theirs.n_tests, theirs.n_violated) == (ours.n_claims, ours.n_violated)


def test_its_kernel_test_runs_and_nothing_of_the_program_changes(table):
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that dowhy draws from
    before = table.copy()
    found = falsify(Graph.parse("z -> x -> y"), sources.from_object(table.head(60)), n_permutations=2)
    assert found.n_tests == 1
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    pd.testing.assert_frame_equal(table, before)


def test_unmeasured_causes_and_unknown_refuters_are_refused(table):
    source = sources.from_object(table)
    with pytest.raises(RefusalError, match="no unmeasured common cause"):
        falsify(Graph.parse("z -> x -> y ; x <-> y"), source)
    with pytest.raises(StudyError, match="'bootstrap' isn't one of"):
        refute(Graph.parse(TEXT), source, exposure="x", outcome="y", covariates=["z"], refuters=["bootstrap"])
    with pytest.raises(RefusalError, match="stays open"):
        refute(Graph.parse(TEXT), source, exposure="x", outcome="y", covariates=[])


def test_dowhy_is_imported_only_when_it_is_called():
    program = "import sys, causalbench.workflow.dowhy_bridge, causalbench.cli; print('dowhy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
