"""Repairs of missing cells, constant units and too little data: numbers by hand, findings with counts."""

import numpy as np
import pytest

from causalbench.data.audit import audit
from causalbench.data.panel import Panel
from causalbench.errors import CausalbenchError, DataError, RefusalError
from causalbench.protocols import Requirements

NAN = np.nan
NEEDS = Requirements(min_control=1, min_pre=1, recommended_pre=1, max_cohorts=1, varying_controls=False)
DONORS = Requirements(min_control=2, min_pre=2, recommended_pre=2, max_cohorts=1, varying_controls=True)
OUTCOME = [[5, 6, 9, 12, 13, 14], [4, 5, 7, 8, 9, 10], [6, 6, 8, 9, 9, 12]]


def panel(outcome, *, first=(4, 0, 0)):
    """Units a, b, c, ... and periods 1, 2, ...; ``first`` is a unit's first treated period, 0 for never."""
    periods = tuple(range(1, len(outcome[0]) + 1))
    treated = [[bool(start) and period >= start for period in periods] for start in first]
    return Panel(
        outcome=np.array(outcome, dtype=float), treated=treated, units=tuple("abcdef"[: len(outcome)]), periods=periods
    )


def holes(*cells):
    outcome = np.array(OUTCOME, dtype=float)
    for row, column in cells:
        outcome[row, column] = NAN
    return outcome


def repaired(outcome, rule, needs=NEEDS):
    return audit(panel(outcome), needs, method="did", on_missing=rule)


def codes(record):
    return [finding.code for finding in record.findings]


def test_complete_panel_is_used_as_it_is():
    used, record = repaired(OUTCOME, "error")
    assert used.outcome.tolist() == OUTCOME
    assert record.findings == ()
    assert record.fingerprint == used.fingerprint
    assert record.coverage == {
        f"{key}_{when}": count
        for when in ("before", "used")
        for key, count in {
            "treated_units": 1,
            "control_units": 2,
            "pre_periods": 3,
            "post_periods": 3,
            "treated_cells": 6,
            "control_cells": 12,
            "missing_cells": 0,
        }.items()
    }


def test_missing_cells_are_refused_without_a_rule():
    with pytest.raises(DataError) as refused:
        repaired(holes((1, 1), (2, 1), (2, 4)), "error")
    assert str(refused.value) == (
        "CB-D001: 3 cells are missing, in 2 units (b, c) and 2 periods (2, 5)\n"
        '  To mend it: choose on_missing = "drop_unit", "drop_period", "zero" or "impute" '
        "(linear between neighbours in time, never across the launch) under [data], or --on-missing"
    )


@pytest.mark.parametrize(
    ("rule", "outcome", "action"),
    [
        ("drop_unit", [OUTCOME[0], OUTCOME[2]], "3 x 6 became 2 x 6"),
        ("drop_period", [[5, 9, 12, 14], [4, 7, 8, 10], [6, 8, 9, 12]], "3 x 6 became 3 x 4"),
        ("zero", [OUTCOME[0], [4, 0, 7, 8, 0, 10], OUTCOME[2]], "3 x 6 became 3 x 6"),
        ("impute", [OUTCOME[0], [4, 5.5, 7, 8, 9, 10], OUTCOME[2]], "3 x 6 became 3 x 6"),
    ],
)
def test_rule_repairs_and_records(rule, outcome, action):
    used, record = repaired(holes((1, 1), (1, 4)), rule)
    assert used.outcome.tolist() == outcome
    (finding,) = record.findings
    assert (finding.code, finding.severity, finding.count, finding.units) == ("CB-D001", "warning", 2, ("b",))
    assert finding.message == f'2 cells are missing, in 1 units (b) and 2 periods (2, 5); on_missing = "{rule}"'
    assert finding.action == action
    assert (record.coverage["missing_cells_before"], record.coverage["missing_cells_used"]) == (2, 0)
    assert record.coverage["control_cells_before"] == 10


def test_dropped_units_and_periods_are_counted_per_arm():
    _, by_unit = repaired(holes((1, 1)), "drop_unit")
    assert (by_unit.coverage["control_units_before"], by_unit.coverage["control_units_used"]) == (2, 1)
    _, by_period = repaired(holes((1, 1), (0, 5)), "drop_period")
    assert (by_period.coverage["pre_periods_used"], by_period.coverage["post_periods_used"]) == (2, 2)


def test_interpolation_stays_on_one_side_of_the_launch():
    outcome = [[5, 6, 9, 12, 13, 14], [4, NAN, 8, 20, NAN, 30], [6, 6, 8, 9, 9, 12]]
    assert repaired(outcome, "impute")[0].outcome[1].tolist() == [4, 6, 8, 20, 25, 30]


@pytest.mark.parametrize(
    "cell", [(1, 0), (1, 2), (0, 3), (1, 3), (1, 5)], ids=["start", "before", "launch", "after", "end"]
)
def test_interpolation_refuses_cells_at_an_edge(cell):
    with pytest.raises(DataError) as refused:
        repaired(holes(cell), "impute")
    assert str(refused.value) == (
        f"CB-D001: cells at the edge of the data or of the launch can't be interpolated: {'abc'[cell[0]]}\n"
        '  To mend it: choose on_missing = "drop_unit" or "drop_period"'
    )


def test_dropping_units_refuses_to_drop_every_treated_one():
    with pytest.raises(DataError, match=r"every treated unit has missing cells \(a\), so dropping units leaves none"):
        repaired(holes((0, 1)), "drop_unit")


@pytest.mark.parametrize("columns", [(0, 1, 2), (3, 4, 5)])
def test_dropping_periods_refuses_to_drop_one_side_of_the_launch(columns):
    with pytest.raises(DataError, match="no period before or none after the launch is complete"):
        repaired(holes(*((1, column) for column in columns)), "drop_period")


def test_constant_control_is_dropped_by_name_or_kept_with_a_warning():
    outcome = [*OUTCOME, [3] * 6]
    given = panel(outcome, first=(4, 0, 0, 0))
    used, record = audit(given, DONORS, method="synthetic-control")
    assert used.units == ("a", "b", "c")
    (finding,) = record.findings
    assert (finding.code, finding.severity, finding.count, finding.units) == ("CB-D028", "warning", 1, ("d",))
    assert (finding.message, finding.action) == ("1 control units never vary: d", "left out of the donor pool")
    kept, record = audit(given, NEEDS, method="did")
    assert kept.units == given.units
    assert record.findings[0].action == "kept as controls"


def test_constant_treated_unit_is_refused():
    with pytest.raises(DataError) as refused:
        repaired([[7] * 6, *OUTCOME[1:]], "error")
    assert str(refused.value) == (
        "CB-D028: the outcome of no treated unit ever varies: a\n"
        "  To mend it: check that the metric is recorded for these units"
    )


def test_missing_cells_of_a_constant_unit_are_met_before_its_constancy():
    flat = panel([*OUTCOME, [3, NAN, 3, 3, 3, 3]], first=(4, 0, 0, 0))
    with pytest.raises(DataError, match="CB-D001: 1 cells are missing, in 1 units"):
        audit(flat, DONORS, method="synthetic-control")
    used, record = audit(flat, DONORS, method="synthetic-control", on_missing="impute")
    assert used.units == ("a", "b", "c")
    assert codes(record) == ["CB-D001", "CB-D028"]


def test_control_without_any_outcome_is_missing_not_constant():
    empty = panel([*OUTCOME, [NAN] * 6], first=(4, 0, 0, 0))
    with pytest.raises(DataError, match="CB-D001: 6 cells are missing"):
        audit(empty, DONORS, method="synthetic-control")


def test_too_few_controls_are_refused_as_not_answerable():
    with pytest.raises(RefusalError) as refused:
        audit(panel(OUTCOME[:2], first=(4, 0)), DONORS, method="synthetic-control")
    assert refused.value.exit_code == 3
    assert str(refused.value) == (
        "CB-D024: synthetic-control needs at least 2 control units, the data have 1\n"
        "  To mend it: add units that never got the launch"
    )


def test_several_launch_dates_are_refused_as_not_answerable():
    with pytest.raises(RefusalError, match="did needs one launch date, the data have 2: 3, 4"):
        audit(panel(OUTCOME, first=(4, 3, 0)), NEEDS, method="did")


def test_too_short_a_history_is_refused_with_both_numbers():
    with pytest.raises(DataError) as refused:
        audit(panel(OUTCOME, first=(2, 0, 0)), DONORS, method="synthetic-control")
    assert str(refused.value) == (
        "CB-D014: synthetic-control needs at least 2 periods before the launch, the data have 1\n"
        "  To mend it: add history before the launch, or lower anticipation where it is set"
    )


def test_short_history_is_warned_about_with_both_numbers():
    needs = Requirements(min_control=1, min_pre=1, recommended_pre=10, max_cohorts=1, varying_controls=False)
    (finding,) = audit(panel(OUTCOME), needs, method="did")[1].findings
    assert (finding.code, finding.severity, finding.count) == ("CB-D014", "warning", 3)
    assert finding.message == "3 periods before the launch, 10 are recommended (spacing: number)"


def test_history_shorter_than_two_seasons_is_warned_about():
    given = panel(OUTCOME)
    weekly = Panel(
        outcome=given.outcome,
        treated=given.treated,
        units=given.units,
        periods=given.periods,
        frequency="day",
        season=7,
    )
    (finding,) = audit(weekly, NEEDS, method="did")[1].findings
    assert finding.message == "3 periods before the launch, 14 are recommended (spacing: day)"


def test_repairs_leave_the_given_panel_alone():
    given = panel(holes((1, 1)))
    before = given.fingerprint
    audit(given, NEEDS, method="did", on_missing="zero")
    assert given.fingerprint == before
    assert np.isnan(given.outcome[1, 1])


def test_interpolation_follows_the_calendar_not_the_rank():
    outcome = np.array(OUTCOME, dtype=float)
    outcome[1] = [4, NAN, 16, 8, 9, 10]
    given = panel(outcome)
    uneven = Panel(outcome=given.outcome, treated=given.treated, units=given.units, periods=(1, 2, 5, 6, 7, 8))
    used, _ = audit(uneven, NEEDS, method="did", on_missing="impute")
    assert used.outcome[1, 1] == pytest.approx(7)


def test_unknown_rule_is_refused():
    with pytest.raises((CausalbenchError, ValueError)):
        repaired(holes((1, 1)), "drop")
