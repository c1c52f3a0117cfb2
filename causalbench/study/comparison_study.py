"""The study of a comparison at one time: units that took a treatment beside units that didn't, and what was known before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from causalbench.study.file import StudyFile
from causalbench.study.problems import method_problems
from causalbench.study.tables import (
    About,
    Contradiction,
    Key,
    Method,
    Metric,
    Name,
    Run,
    Table,
    data_contradictions,
    without_guardrails,
    without_maturity,
)


class Rows(Table):
    """``[data]``: where the table is, one row per unit, and what its columns are for.

    ``covariates`` were known before the treatment; left out, they come from the graph where there is one. ``before`` is the
    outcome before the treatment.
    """

    source: Name | None = None
    sql: Name | None = None
    unit: Name | None = None
    on_missing: Literal["error", "drop_unit"] = "error"
    covariates: tuple[Name, ...] | None = None
    before: Name | None = None
    weights: Name | None = None
    cluster: Name | None = None


class Treatment(Table):
    """``[launch]``: the column of 0 and 1 that says who took it, and how they were chosen."""

    treatment: Name
    assignment: Literal["random", "rule", "opt-in", "chosen"] = "chosen"


class JudgedMethod(Method):
    """``[method]``: as for a launch; ``override`` is the reason for a headline although overlap or placebo fails."""

    override: Name | None = None


class ComparisonStudy(StudyFile):
    """A whole study file of a comparison at one time: one without ``[data] period``.

    ``dag`` names a file beside the study that holds the causal graph.

    Examples
    --------
    >>> study = ComparisonStudy.from_mapping({
    ...     "study": {"name": "training", "question": "Did it raise earnings?"},
    ...     "data": {"source": "people.csv", "covariates": ["age"]},
    ...     "metric": [{"name": "earnings", "column": "re78"}],
    ...     "launch": {"treatment": "treat", "assignment": "opt-in"},
    ...     "method": {"name": "adjustment"},
    ... })
    >>> study.launch.treatment, study.data.covariates, study.dag
    ('treat', ('age',), None)
    """

    tables: ClassVar[Mapping[str, type[BaseModel]]] = {
        "study": About,
        "data": Rows,
        "metric": Metric,
        "launch": Treatment,
        "method": JudgedMethod,
        "run": Run,
        "dag": Key,
    }

    data: Rows
    launch: Treatment
    method: JudgedMethod
    dag: Name | None = None

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Find keys that are right by themselves and wrong together; yields table, place and problem."""
        yield from data_contradictions(values)
        yield from without_guardrails(values)
        yield from without_maturity(values)
        metrics = [item for item in values.get("metric", ()) if isinstance(item, Mapping)]
        for key in ("denominator", "transform", "scale"):
            if any(key in metric for metric in metrics):
                yield f"[[metric]] {key}", ("metric", key), "isn't for a comparison at one time: make the column in sql"
        data = values.get("data")
        if isinstance(data, Mapping) and "before" in data and len(metrics) > 1:
            yield "[data] before", ("data", "before"), "belongs to one outcome: give one metric"

    @classmethod
    def deeper_problems(cls, values: Mapping[str, Any], text: str) -> Iterator[str]:
        """Find names and options of the method that don't exist, and methods that need periods."""
        method = values.get("method")
        yield from method_problems(
            method if isinstance(method, Mapping) else {}, text, shape="cross-section", advised=True
        )
