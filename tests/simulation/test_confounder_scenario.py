"""Scenario A9: people choose the treatment themselves, and the graph says what to do about every column.

A confounder, a mediator, a collider after the outcome and an M-structure before the treatment; the truth is known, and there is a
twin in which nothing has an effect. 200 draws of 600 people: the Monte Carlo error of a mean is its standard deviation over
14, and of a rejection rate of 5% 1.5 points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import causalbench as cb
from causalbench.data.self_selection import GRAPH
from causalbench.data.self_selection import self_selected as people
from causalbench.errors import RefusalError
from causalbench.study import ComparisonStudy
from causalbench.workflow.comparison_graph import choose

EFFECT = 3.0
N_DRAWS = 200
METHODS = ("regression", "aipw")


def by_graph(folder: Path, covariates: list[str] | None = None) -> tuple[str, ...]:
    (folder / "graph.dag").write_text(GRAPH)
    study = ComparisonStudy.from_mapping(
        {
            "study": {"name": "card", "question": "Did the card raise spending?"},
            "data": {"source": "people.csv"} | ({} if covariates is None else {"covariates": covariates}),
            "metric": [{"name": "spending", "column": "spend"}],
            "launch": {"treatment": "took", "assignment": "opt-in"},
            "method": {"name": "adjustment"},
            "dag": "graph.dag",
        },
        folder=folder,
    )
    return choose(study, study.metric[0], columns=list(people(5))).covariates


def draws(covariates: tuple[str, ...], *, effect: float, method: str = "regression", n: int = N_DRAWS):
    """Return estimates, and whether each test rejects no effect and each interval holds the truth."""
    found = []
    for seed in range(n):
        data = cb.CrossSection.from_table(
            people(effect=effect, seed=seed), outcome="spend", treatment="took", covariates=covariates
        )
        answer = cb.estimate(data, "adjustment", options={"method": method}, seed=seed)
        found.append((answer.value, answer.rejected, answer.interval.contains(effect)))
    values, rejected, holds = (np.array(column) for column in zip(*found, strict=True))
    return values, rejected, holds


def off(values: np.ndarray, truth: float) -> float:
    """Return how many Monte Carlo errors the mean is away from the truth."""
    return float((values.mean() - truth) / (values.std(ddof=1) / np.sqrt(len(values))))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_covariates_by_the_graph_find_the_effect_and_nothing_in_the_twin(method, tmp_path):
    covariates = by_graph(tmp_path)
    values, _, holds = draws(covariates, effect=EFFECT, method=method)
    assert abs(off(values, EFFECT)) < 3
    assert holds.mean() > 0.95 - 2 * 0.0154
    null, rejected, _ = draws(covariates, effect=0.0, method=method)
    assert abs(off(null, 0.0)) < 3
    assert rejected.mean() <= 0.05 + 2 * 0.0154


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "effect", "least"),
    [
        ("visits", EFFECT, -0.5),
        ("survey", EFFECT, -0.5),
        ("quiz", EFFECT, -0.1),
        ("survey", 0.0, -0.2),
        ("quiz", 0.0, -0.1),
    ],
)
def test_what_the_graph_forbids_does_harm_and_is_refused(column, effect, least, tmp_path):
    with pytest.raises(RefusalError, match=column):
        by_graph(tmp_path, ["income", column])
    values, _, _ = draws(("income", column), effect=effect)
    assert values.mean() - effect < least
    assert off(values, effect) < -5


@pytest.mark.slow
def test_nothing_adjusted_for_finds_what_is_not_there_and_is_refused(tmp_path):
    with pytest.raises(RefusalError, match="stays open: took <- income"):
        by_graph(tmp_path, [])
    values, rejected, _ = draws((), effect=0.0)
    assert values.mean() > 1
    assert rejected.mean() > 0.95
