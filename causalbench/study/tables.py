"""Tables of a study file that all kinds of study share, and the types of their values."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Table(BaseModel):
    """A table of the study file: unknown keys are refused, values keep their type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, values: Any) -> Any:
        """Read TOML's arrays as tuples."""
        if not isinstance(values, dict):
            return values
        return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


class Key(BaseModel):
    """Stands for a key above all tables: text, no table."""


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


def _moment(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, str, dt.date)) or value == "":
        raise ValueError("give a whole number, a date or a time")
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        raise ValueError("give a local date or time, without a zone")
    return value


def level_value(value: float) -> float:
    """Refuse what is no confidence level."""
    if not 0.5 < value < 1:
        raise ValueError(LEVEL_RULE)
    return value


def margin_value(value: float | None) -> float | None:
    """Refuse a margin that has no sign, and so no bad side."""
    if value is not None and (value == 0 or not math.isfinite(value)):
        raise ValueError("give a number other than 0: its sign is the bad side, -0.02 allows a loss below 2%")
    return value


def some(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Refuse an empty list."""
    if value == ():
        raise ValueError("name at least one")
    return value


LEVEL_RULE = "give a confidence level between 0.5 and 1, such as 0.95"
Moment = Annotated[Any, AfterValidator(_moment)]


class About(Table):
    """``[study]``: what the readout is about."""

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    question: Name
    decision: Name | None = None


class Data(Table):
    """``[data]``: where the table is and how its rows are read."""

    source: Name | None = None
    sql: Name | None = None
    unit: Name
    period: Name
    grain: Literal["cell", "event"] = "cell"
    on_missing: Literal["error", "drop_unit", "drop_period", "zero", "impute", "keep"] = "error"
    on_duplicate: Literal["error", "exact", "sum", "mean"] = "error"
    date_format: Annotated[str | None, Field(pattern="%")] = None
    decimal: Literal[".", ","] | None = None
    thousands: Literal[",", ".", " ", "'"] | None = None
    covariates: tuple[Name, ...] = ()
    weights: Name | None = None
    cluster: Name | None = None
    cost: Name | None = None


class Metric(Table):
    """``[[metric]]``: an outcome and what it is for. The first metric with role ``success`` makes the headline.

    A ``guardrail`` must not move beyond its ``margin``, whose sign says which side is bad; ``better`` says which side is good for
    other roles. ``worthwhile`` is the smallest effect that is worth having. Both are shares of the outcome without the launch, or
    in its units per unit and period with ``effects = "absolute"``. ``maturity`` is the number of periods that a period's outcome
    needs until it is complete, such as 7 for sales within a week.
    """

    name: Name
    column: Name
    aggregate: Literal["sum", "mean", "count"] = "sum"
    denominator: Name | None = None
    transform: Literal["log"] | None = None
    scale: Literal["linear", "log"] = "linear"
    role: Literal["success", "guardrail", "driver", "cost"] = "success"
    better: Literal["higher", "lower"] | None = None
    margin: Annotated[float | None, AfterValidator(margin_value)] = None
    worthwhile: Annotated[float | None, Field(gt=0, lt=float("inf"))] = None
    effects: Literal["relative", "absolute"] = "relative"
    maturity: Annotated[int | None, Field(ge=1, le=10_000)] = None

    @property
    def good_side(self) -> Literal["higher", "lower"]:
        """Which side is good: as ``better`` says, else higher; lower for a cost, the side without the margin for a guardrail."""
        if self.margin is not None:
            return "higher" if self.margin < 0 else "lower"
        return self.better or ("lower" if self.role == "cost" else "higher")

    @property
    def logarithmic(self) -> bool:
        """Whether effects are differences of logarithms."""
        return self.scale == "log" or self.transform == "log"


class Method(Table):
    """``[method]``: estimator, inference, level, and the options of both; the name ``auto`` takes the advised ones."""

    name: Name
    inference: Name | None = None
    level: Annotated[float, AfterValidator(level_value)] = 0.95
    options: Mapping[str, Any] = Field(default_factory=dict)
    inference_options: Mapping[str, Any] = Field(default_factory=dict)


class Run(Table):
    """``[run]``: what makes the run repeatable."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Calendar(Table):
    """``[calendar]``: a file beside the study with other events, in columns name, start, end and units."""

    file: Name


class Segments(Table):
    """``[segments]``: the column that says which segment a unit, or a row, belongs to."""

    column: Name


Contradiction = tuple[str, tuple[str, ...], str]


def without_maturity(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Refuse what only the readout of a launch looks at."""
    metrics = values.get("metric")
    if isinstance(metrics, (list, tuple)) and any(isinstance(item, Mapping) and "maturity" in item for item in metrics):
        yield "[[metric]] maturity", ("metric", "maturity"), "is for the study of a launch over periods"


def data_contradictions(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Find keys of ``[data]`` and ``[[metric]]`` that are right by themselves and wrong together."""
    data, metrics = values.get("data"), values.get("metric")
    if isinstance(data, Mapping):
        if ("source" in data) == ("sql" in data):
            yield "[data]", ("data",), "give either source (a file beside the study) or sql"
        if data.get("grain") == "event" and "on_duplicate" in data:
            yield (
                "[data] on_duplicate",
                ("data", "on_duplicate"),
                'does nothing with grain = "event": rows are aggregated',
            )
        yield from _reading_contradictions(data)
    if isinstance(metrics, (list, tuple)):
        yield from _metric_contradictions([metric for metric in metrics if isinstance(metric, Mapping)], data)


def _reading_contradictions(data: Mapping[str, Any]) -> Iterator[Contradiction]:
    decimal, thousands = data.get("decimal"), data.get("thousands")
    if thousands is not None and thousands == decimal:
        yield "[data] thousands", ("data", "thousands"), f"is the decimal mark too: {thousands!r}"
    if "sql" in data and (decimal or thousands):
        key = "decimal" if decimal else "thousands"
        yield f"[data] {key}", ("data", key), "goes with source; in sql, turn text into numbers within the query"
    covariates = data.get("covariates")
    if isinstance(covariates, (list, tuple)):
        twice = sorted({str(name) for name in covariates if covariates.count(name) > 1})
        if twice:
            yield "[data] covariates", ("data", "covariates"), f"named twice: {', '.join(map(repr, twice))}"


def _metric_contradictions(metrics: list[Mapping[str, Any]], data: Any) -> Iterator[Contradiction]:
    names = [str(metric.get("name")) for metric in metrics if "name" in metric]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield "[[metric]]", ("metric",), f"names must be distinct, found twice: {', '.join(map(repr, twice))}"
    if metrics and not any(metric.get("role", "success") == "success" for metric in metrics):
        yield "[[metric]]", ("metric",), 'one metric needs role = "success": it makes the headline'
    if any(metric.get("scale") == "log" and metric.get("aggregate", "sum") != "mean" for metric in metrics):
        yield "[[metric]]", ("metric",), 'scale = "log" needs aggregate = "mean": logarithms don\'t add up to a total'
    for metric in metrics:
        if "denominator" in metric and metric.get("aggregate", "sum") != "sum":
            yield "[[metric]]", ("metric",), "a denominator makes a ratio of sums, so leave aggregate out"
        if metric.get("scale") == "log" and ("denominator" in metric or "transform" in metric):
            yield "[[metric]]", ("metric",), 'scale = "log" says that the column holds logarithms already'
        yield from _role_contradictions(metric)
    by_event = isinstance(data, Mapping) and data.get("grain") == "event"
    if not by_event and any(metric.get("aggregate") == "count" for metric in metrics):
        yield "[[metric]]", ("metric",), 'aggregate = "count" counts rows, which needs grain = "event" under [data]'


def _role_contradictions(metric: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Find margins without a guardrail and the like; keys that a metric's role gives nothing to do are refused."""
    role, margin, effects = metric.get("role", "success"), metric.get("margin"), metric.get("effects", "relative")
    here = f"[[metric]] {metric.get('name', '')}".rstrip()
    if (role == "guardrail") != (margin is not None):
        problem = "a guardrail needs a margin, such as -0.02" if margin is None else 'goes with role = "guardrail"'
        yield here if margin is None else f"{here} margin", ("metric",), problem
    if role == "guardrail" and "better" in metric:
        yield f"{here} better", ("metric",), "leave it out: the sign of the margin says which side is bad"
    if role not in ("success", "driver") and "worthwhile" in metric:
        yield f"{here} worthwhile", ("metric",), 'goes with role = "success" or "driver"'
    if "effects" in metric and margin is None and "worthwhile" not in metric:
        yield f"{here} effects", ("metric",), "says how margin or worthwhile are written, and there is neither"
    if isinstance(margin, (int, float)) and effects == "relative" and margin <= -1:
        yield (
            f"{here} margin",
            ("metric",),
            f"allows a loss of {-100 * margin:g}%; give a share above -1, or effects = 'absolute'",
        )


def without_guardrails(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Refuse what only the readout of a launch holds against a margin."""
    yield from _only_of_a_launch(values, ("margin",))
    metrics = values.get("metric")
    if isinstance(metrics, (list, tuple)) and any(
        isinstance(item, Mapping) and item.get("role") == "guardrail" for item in metrics
    ):
        yield '[[metric]] role = "guardrail"', ("metric", "role"), "is for the study of a launch over periods"


def without_decision(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Refuse what a study without a decision has no use for."""
    yield from _only_of_a_launch(values, ("better", "worthwhile", "effects"))
    yield from without_guardrails(values)


def _only_of_a_launch(values: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[Contradiction]:
    metrics = values.get("metric")
    for metric in metrics if isinstance(metrics, (list, tuple)) else ():
        given = [key for key in keys if isinstance(metric, Mapping) and key in metric]
        yield from (
            (f"[[metric]] {key}", ("metric", key), "is for the study of a launch over periods") for key in given
        )
