"""Units treated from the first period on: left out by name, and the answer is the one without them."""

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.errors import DataError
from causalbench.workflow.estimate import estimate

COHORTS = {"ankara": 1, "baku": None, "kyiv": None, "lima": 5, "oslo": None, "quito": 5, "rome": 1, "wien": None}
COLUMNS = {"unit": "city", "period": "week", "outcome": "sales"}
ALWAYS = ("ankara", "rome")


def table(cohorts=COHORTS, n_weeks=8):
    rng = np.random.default_rng(3)
    rows = [(city, week, cohorts[city]) for city in cohorts for week in range(1, n_weeks + 1)]
    found = pd.DataFrame(rows, columns=["city", "week", "first"])
    found["sales"] = rng.normal(10, 1, len(found)).round(3)
    found["on"] = (found["week"] >= found["first"]).astype(int)
    return found


@pytest.mark.parametrize("launch", [{"cohort": "first"}, {"treatment": "on"}], ids=["cohort", "treatment"])
@pytest.mark.parametrize("start", [1, -3], ids=["first period", "before the data"])
def test_answer_is_the_one_without_them(launch, start):
    everyone = table()
    everyone.loc[everyone["first"] == 1, "first"] = start
    rest = everyone[~everyone["city"].isin(ALWAYS)]
    with_them, without = (Panel.from_table(rows, **COLUMNS, **launch) for rows in (everyone, rest))
    assert with_them.fingerprint == without.fingerprint
    one, other = (
        estimate(panel, "did", inference="permutation", level=0.8).to_dict() for panel in (with_them, without)
    )
    (said,) = [warning for warning in one.pop("warnings") if warning not in other["warnings"]]
    assert said == "CB-D023: 2 units are treated in every period there is: ankara, rome; left out"
    assert {key: value for key, value in other.items() if key != "warnings"} == one


def test_finding_names_and_counts_them():
    (finding,) = Panel.from_table(table(), **COLUMNS, cohort="first").findings
    assert (finding.code, finding.severity, finding.count, finding.units) == ("CB-D023", "warning", 2, ALWAYS)
    assert finding.action == "left out"


def test_periods_that_only_they_have_go_with_them():
    everyone = table()
    everyone = everyone[everyone["city"].isin(ALWAYS) | (everyone["week"] > 2)]
    rest = everyone[~everyone["city"].isin(ALWAYS)]
    with_them, without = (Panel.from_table(rows, **COLUMNS, cohort="first") for rows in (everyone, rest))
    assert with_them.periods == tuple(range(3, 9))
    assert with_them.fingerprint == without.fingerprint
    assert [f.code for f in with_them.findings] == ["CB-D023"]


def test_units_that_become_always_treated_are_found_too():
    everyone = table({**COHORTS, "quito": 3})
    everyone = everyone[everyone["city"].isin(ALWAYS) | (everyone["week"] > 2)]
    panel = Panel.from_table(everyone, **COLUMNS, cohort="first")
    assert panel.treated_units == ("lima",)
    (finding,) = panel.findings
    assert finding.units == ("ankara", "rome", "quito")


def test_their_zeros_dont_stop_a_logarithm():
    everyone = table()
    everyone.loc[everyone["city"].isin(ALWAYS), "sales"] = 0.0
    assert np.isfinite(Panel.from_table(everyone, **COLUMNS, cohort="first", transform="log").outcome).all()


def test_nobody_else_treated_is_refused_with_their_names():
    with pytest.raises(DataError) as refused:
        Panel.from_table(table({**COHORTS, "lima": None, "quito": None}), **COLUMNS, cohort="first")
    assert str(refused.value).startswith(
        "CB-D023: all 2 treated units are treated from the first period 1 on: ankara, rome"
    )
