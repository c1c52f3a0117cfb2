"""The study of a launch: what was launched, which data say so, which method may answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field

from causalbench.study.decision_tables import Trade, Value, decision_contradictions
from causalbench.study.file import StudyFile
from causalbench.study.problems import method_problems
from causalbench.study.tables import (
    About,
    Calendar,
    Contradiction,
    Data,
    Key,
    Method,
    Metric,
    Moment,
    Name,
    Run,
    Segments,
    Table,
    data_contradictions,
    some,
)


class Launch(Table):
    """``[launch]``: who got it when, in one of three ways, and how they were chosen.

    ``actual`` is a column of 0 and 1 that says who really got it; the launch itself is then the plan.
    """

    units: Annotated[tuple[Name, ...] | None, AfterValidator(some)] = None
    start: Moment | None = None
    cohort: Name | None = None
    treatment: Name | None = None
    actual: Name | None = None
    end: Moment | None = None
    anticipation: Annotated[int, Field(ge=0, le=10_000)] = 0
    align: Literal["error", "next", "previous", "drop_partial"] = "error"
    assignment: Literal["random", "rule", "opt-in", "chosen"] = "chosen"


class Demotion(Table):
    """``[method.demotion]``: when rehearsals on the history take the method's place away; sealed with the plan.

    Attributes
    ----------
    rmse_ratio
        Largest root mean squared error of the rehearsals, in units of the best eligible method's.
    coverage
        Least share of rehearsals in which the method's own interval is right; without it, it may miss twice as often as it says.
    """

    rmse_ratio: Annotated[float, Field(ge=1, le=1000)] = 1.25
    coverage: Annotated[float | None, Field(gt=0, lt=1)] = None


class RehearsedMethod(Method):
    """``[method]`` of a launch."""

    demotion: Demotion | None = None


class Study(StudyFile):
    """A whole study file of a launch.

    ``dag`` names a file beside the study that holds the causal graph. ``value`` says what an effect is worth, ``trade`` which
    metric is weighed against which. ``calendar`` names a file with other events, ``segments`` a column by which the effect is
    told apart.

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
        "method": RehearsedMethod,
        "value": Value,
        "trade": Trade,
        "calendar": Calendar,
        "segments": Segments,
        "run": Run,
        "dag": Key,
    }

    data: Data
    launch: Launch
    method: RehearsedMethod
    value: Value | None = None
    trade: tuple[Trade, ...] = ()
    calendar: Calendar | None = None
    segments: Segments | None = None
    dag: Name | None = None

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Find keys that are right by themselves and wrong together; yields table, place and problem."""
        if "geo" in values:
            yield "[geo]", ("geo",), "is the study of a geo experiment: use causalbench geo design or geo analyze"
        yield from data_contradictions(values)
        yield from decision_contradictions(values)
        launch = values.get("launch")
        if isinstance(launch, Mapping):
            ways = [way for way in ("units", "cohort", "treatment") if way in launch]
            if len(ways) != 1:
                found = ", ".join(ways) or "none"
                yield "[launch]", ("launch",), f"give exactly one of units, cohort, treatment; found {found}"
            if "actual" in launch and launch["actual"] in (launch.get("treatment"), launch.get("cohort")):
                yield (
                    "[launch] actual",
                    ("launch", "actual"),
                    "is the plan's own column: name the one of what really happened",
                )
            if ("units" in launch) != ("start" in launch):
                yield "[launch]", ("launch",), "start goes with units, and units need a start"

    @classmethod
    def deeper_problems(cls, values: Mapping[str, Any], text: str) -> Iterator[str]:
        """Find names and options of the method that don't exist, and a design study in its place."""
        method = values.get("method")
        yield from method_problems(method if isinstance(method, Mapping) else {}, text, advised=True)
