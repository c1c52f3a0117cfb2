"""The study of a launch: what was launched, which data say so, which method may answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field

from causalbench.study.file import StudyFile
from causalbench.study.problems import method_problems
from causalbench.study.tables import (
    About,
    Contradiction,
    Data,
    Key,
    Method,
    Metric,
    Moment,
    Name,
    Run,
    Table,
    data_contradictions,
    some,
)


class Launch(Table):
    """``[launch]``: who got it when, in one of three ways, and how they were chosen."""

    units: Annotated[tuple[Name, ...] | None, AfterValidator(some)] = None
    start: Moment | None = None
    cohort: Name | None = None
    treatment: Name | None = None
    end: Moment | None = None
    anticipation: Annotated[int, Field(ge=0, le=10_000)] = 0
    align: Literal["error", "next", "previous", "drop_partial"] = "error"
    assignment: Literal["random", "rule", "opt-in", "chosen"] = "chosen"


class Study(StudyFile):
    """A whole study file of a launch.

    ``dag`` names a file beside the study that holds the causal graph.

    Examples
    --------
    >>> study = Study.from_mapping({
    ...     "study": {"name": "spring", "question": "Did it work?"},
    ...     "data": {"source": "sales.csv", "unit": "city", "period": "date"},
    ...     "metric": [{"name": "sales", "column": "Y"}],
    ...     "launch": {"units": ["chicago"], "start": "2021-04-01"},
    ...     "method": {"name": "synthetic-control", "level": 0.9},
    ... })
    >>> study.method.level, study.run.seed
    (0.9, 0)
    """

    tables: ClassVar[Mapping[str, type[BaseModel]]] = {
        "study": About,
        "data": Data,
        "metric": Metric,
        "launch": Launch,
        "method": Method,
        "run": Run,
        "dag": Key,
    }

    data: Data
    launch: Launch
    method: Method
    dag: Name | None = None

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Find keys that are right by themselves and wrong together; yields table, place and problem."""
        if "geo" in values:
            yield "[geo]", ("geo",), "is the study of a geo experiment: use causalbench geo design or geo analyze"
        yield from data_contradictions(values)
        launch = values.get("launch")
        if isinstance(launch, Mapping):
            ways = [way for way in ("units", "cohort", "treatment") if way in launch]
            if len(ways) != 1:
                found = ", ".join(ways) or "none"
                yield "[launch]", ("launch",), f"give exactly one of units, cohort, treatment; found {found}"
            if ("units" in launch) != ("start" in launch):
                yield "[launch]", ("launch",), "start goes with units, and units need a start"

    @classmethod
    def deeper_problems(cls, values: Mapping[str, Any], text: str) -> Iterator[str]:
        """Find names and options of the method that don't exist, and a design study in its place."""
        method = values.get("method")
        yield from method_problems(method if isinstance(method, Mapping) else {}, text)
