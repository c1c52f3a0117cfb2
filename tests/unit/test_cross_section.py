"""Cross-sections: what a table becomes, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from causalbench.data.cross_section import CrossSection
from causalbench.errors import DataError


def table(**changes):
    columns = {
        "id": ["a", "b", "c", "d"],
        "y": [1.0, 2.0, 3.0, 4.0],
        "d": [0, 1, 0, 1],
        "age": [30, 40, 50, 60],
        "region": ["west", "east", "west", "north"],
        "before": [0.0, 1.0, 1.0, 2.0],
    }
    return pd.DataFrame(columns | changes)


ROLES = {"outcome": "y", "treatment": "d", "covariates": ["age", "region"], "before": "before", "unit": "id"}


def test_text_becomes_a_column_per_level_but_the_first():
    people = CrossSection.from_table(table(), **ROLES)
    assert people.names == ("age", "region=north", "region=west")
    assert people.column("region=west").tolist() == [1.0, 0.0, 1.0, 0.0]
    assert (people.n_treated, people.n_control) == (2, 2)
    assert people.findings[0].action == "read as 0 / 1 columns beside 'east'"


def test_order_of_rows_and_kind_of_table_change_nothing():
    people = CrossSection.from_table(table(), **ROLES)
    shuffled = table().sample(frac=1, random_state=1)
    before = shuffled.copy()
    assert CrossSection.from_table(shuffled, **ROLES).fingerprint == people.fingerprint
    assert CrossSection.from_table(pl.from_pandas(shuffled), **ROLES).fingerprint == people.fingerprint
    pd.testing.assert_frame_equal(shuffled, before)


def test_a_value_more_is_another_fingerprint():
    people = CrossSection.from_table(table(), **ROLES)
    other = CrossSection.from_table(table(before=[0.0, 1.0, 1.0, 2.5]), **ROLES)
    assert other.fingerprint != people.fingerprint


def test_empty_cells_are_refused_or_left_out_and_counted():
    holes = table(age=[30, None, 50, 60], y=[1.0, 2.0, np.nan, 4.0])
    with pytest.raises(DataError, match=r"2 of 4 rows have an empty cell, by column: 'y' \(1\), 'age' \(1\)"):
        CrossSection.from_table(holes, **ROLES)
    people = CrossSection.from_table(holes, **ROLES, on_missing="drop_unit")
    assert len(people.outcome) == 2
    assert people.findings[0].count == 2


def test_clusters_are_counted_by_side():
    people = CrossSection.from_table(
        table(state=["x", "x", "y", "z"]), outcome="y", treatment="d", cluster="state", covariates=["age"]
    )
    assert (people.n_clusters, people.n_treated_clusters, people.n_control_clusters) == (3, 2, 2)


@pytest.mark.parametrize(
    ("changes", "roles", "words"),
    [
        ({}, {"outcome": "why"}, "lacks 'why'"),
        ({"d": [0, 1, 2, 1]}, {}, "treatment column 'd' holds 2"),
        ({"d": [1, 1, 1, 1]}, {}, "every unit took the treatment"),
        ({"d": [0, 0, 0, 0]}, {}, "no unit took the treatment"),
        ({"y": ["1", "2", "3", "x"]}, {}, "outcome column 'y' holds no numbers"),
        ({"y": [1.0, 2.0, np.inf, 4.0]}, {}, "infinite in 1 rows"),
        ({"y": [1.0, 2.0, 3e200, 4.0]}, {}, "outcome column 'y' holds numbers of size 3e\\+200"),
        ({"age": [1e-200, 0.0, 0.0, 0.0]}, {}, "covariate column 'age' holds numbers of size 1e-200"),
        ({"d": ["no", "yes", "yes", "no"]}, {}, "store 1 for units that took it"),
        ({"id": ["a", "a", "c", "d"]}, {}, "1 units have several rows: a"),
        ({}, {"covariates": ["age", "y"]}, "two roles: 'y'"),
        ({"w": [1.0, 0.0, 1.0, 1.0]}, {"weights": "w"}, "must be positive; 1 rows"),
        ({}, {"on_missing": "zero"}, "on_missing is 'zero'"),
    ],
)
def test_what_would_make_the_answer_wrong_is_refused(changes, roles, words):
    with pytest.raises(DataError, match=words):
        CrossSection.from_table(table(**changes), **(ROLES | roles))


def test_an_empty_table_is_refused():
    with pytest.raises(DataError, match="has no rows"):
        CrossSection.from_table(table().iloc[:0], **ROLES)


def test_outcome_before_may_be_a_covariate_as_well():
    people = CrossSection.from_table(
        table(), outcome="y", treatment="d", covariates=["age", "before"], before="before", unit="id"
    )
    assert people.names == ("age", "before")
    assert people.column("before").tolist() == people.before.tolist() == [0.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("before", ["y", "d", "id"])
def test_outcome_before_has_no_other_role(before):
    with pytest.raises(DataError, match=f"columns have two roles: '{before}'"):
        CrossSection.from_table(table(), outcome="y", treatment="d", before=before, unit="id")
