"""The study file: what was launched, which data say so, which method may answer. TOML in, a validated value out."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from causalbench.artifacts import digest, plain
from causalbench.catalogue import Catalogue
from causalbench.errors import StudyError, nearest

_TABLES = {"study", "data", "metric", "launch", "method", "run"}


class _Table(BaseModel):
    """A table of the study file: unknown keys are refused, values keep their type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


def _moment(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, str, dt.date)) or value == "":
        raise ValueError("give a whole number, a date or a time")
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        raise ValueError("give a local date or time, without a zone")
    return value


def _level(value: float) -> float:
    if not 0.5 < value < 1:
        raise ValueError(LEVEL_RULE)
    return value


def _some(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if value == ():
        raise ValueError("name at least one")
    return value


LEVEL_RULE = "give a confidence level between 0.5 and 1, such as 0.95"
Moment = Annotated[Any, AfterValidator(_moment)]


class About(_Table):
    """``[study]``: what the readout is about."""

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    question: Name
    decision: Name | None = None


class Data(_Table):
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

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("covariates"), list):
            return {**values, "covariates": tuple(values["covariates"])}
        return values


class Metric(_Table):
    """``[[metric]]``: an outcome. The first metric with role ``success`` makes the headline."""

    name: Name
    column: Name
    aggregate: Literal["sum", "mean", "count"] = "sum"
    denominator: Name | None = None
    transform: Literal["log"] | None = None
    scale: Literal["linear", "log"] = "linear"
    role: Literal["success", "driver"] = "success"


class Launch(_Table):
    """``[launch]``: who got it when, in one of three ways, and how they were chosen."""

    units: Annotated[tuple[Name, ...] | None, AfterValidator(_some)] = None
    start: Moment | None = None
    cohort: Name | None = None
    treatment: Name | None = None
    end: Moment | None = None
    anticipation: Annotated[int, Field(ge=0, le=10_000)] = 0
    align: Literal["error", "next", "previous", "drop_partial"] = "error"
    assignment: Literal["random", "rule", "opt-in", "chosen"] = "chosen"

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("units"), list):
            return {**values, "units": tuple(values["units"])}
        return values


class Method(_Table):
    """``[method]``: estimator, inference, level, and the options of both."""

    name: Name
    inference: Name | None = None
    level: Annotated[float, AfterValidator(_level)] = 0.95
    options: Mapping[str, Any] = Field(default_factory=dict)
    inference_options: Mapping[str, Any] = Field(default_factory=dict)


class Run(_Table):
    """``[run]``: what makes the run repeatable."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Study(_Table):
    """A whole study file.

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

    study: About
    data: Data
    metric: Annotated[tuple[Metric, ...], AfterValidator(_some)]
    launch: Launch
    method: Method
    run: Run = Run()
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("metric"), list):
            return {**values, "metric": tuple(values["metric"])}
        return values

    @classmethod
    def load(cls, path: str | Path) -> Study:
        """Read a study file.

        Raises
        ------
        StudyError
            With every problem at once: key, line, what is allowed, and the nearest match.
        """
        path = Path(path)
        path = path / "study.toml" if path.is_dir() else path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            siblings = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
            raise StudyError([f"there is no file {path}{nearest(path.name, siblings)}"], where=str(path)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError([f"the file can't be read: {error}"], where=str(path)) from None
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise StudyError([f"not valid TOML: {error}"], where=str(path)) from None
        return cls.from_mapping(values, folder=path.parent, text=text, where=str(path))

    @classmethod
    def from_mapping(
        cls, values: Mapping[str, Any], *, folder: Path | None = None, text: str = "", where: str = "study"
    ) -> Study:
        """Validate a mapping with the keys of a study file; ``text`` lets problems name their line."""
        problems: list[str] = []
        given = {key: value for key, value in values.items() if key != "folder"} | {"folder": folder or Path()}
        if "folder" in values:
            problems.append(_problem({"type": "extra_forbidden", "loc": ("folder",), "input": "", "msg": ""}, text))
        study = None
        try:
            study = cls.model_validate(given)
        except ValidationError as error:
            problems += [_problem(dict(item), text) for item in error.errors()]
        problems += [f"{table}{_at(text, keys)}: {problem}" for table, keys, problem in _contradictions(values)]
        method = values.get("method")
        problems += list(_method_problems(method if isinstance(method, Mapping) else {}, text))
        if problems or study is None:
            raise StudyError(problems, where=where)
        return study

    def to_dict(self) -> dict[str, Any]:
        """Return the study's values as plain JSON; the folder isn't part of it."""
        result: dict[str, Any] = plain(self.model_dump())
        return result

    @property
    def digest(self) -> str:
        """SHA-256 of the study's values."""
        return digest(self.to_dict())


def _contradictions(values: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Find keys that are right by themselves and wrong together; yields table, place and problem."""
    data, launch, metrics = values.get("data"), values.get("launch"), values.get("metric")
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
    if isinstance(launch, Mapping):
        ways = [way for way in ("units", "cohort", "treatment") if way in launch]
        if len(ways) != 1:
            yield (
                "[launch]",
                ("launch",),
                f"give exactly one of units, cohort, treatment; found {', '.join(ways) or 'none'}",
            )
        if ("units" in launch) != ("start" in launch):
            yield "[launch]", ("launch",), "start goes with units, and units need a start"
    if isinstance(metrics, (list, tuple)):
        yield from _metric_contradictions([metric for metric in metrics if isinstance(metric, Mapping)], data)


def _reading_contradictions(data: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], str]]:
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


def _metric_contradictions(metrics: list[Mapping[str, Any]], data: Any) -> Iterator[tuple[str, tuple[str, ...], str]]:
    names = [str(metric.get("name")) for metric in metrics if "name" in metric]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield "[[metric]]", ("metric",), f"names must be distinct, found twice: {', '.join(map(repr, twice))}"
    if metrics and all(metric.get("role", "success") == "driver" for metric in metrics):
        yield "[[metric]]", ("metric",), 'one metric needs role = "success": it makes the headline'
    if any(metric.get("scale") == "log" and metric.get("aggregate", "sum") != "mean" for metric in metrics):
        yield "[[metric]]", ("metric",), 'scale = "log" needs aggregate = "mean": logarithms don\'t add up to a total'
    for metric in metrics:
        if "denominator" in metric and metric.get("aggregate", "sum") != "sum":
            yield "[[metric]]", ("metric",), "a denominator makes a ratio of sums, so leave aggregate out"
        if metric.get("scale") == "log" and ("denominator" in metric or "transform" in metric):
            yield "[[metric]]", ("metric",), 'scale = "log" says that the column holds logarithms already'
    by_event = isinstance(data, Mapping) and data.get("grain") == "event"
    if not by_event and any(metric.get("aggregate") == "count" for metric in metrics):
        yield "[[metric]]", ("metric",), 'aggregate = "count" counts rows, which needs grain = "event" under [data]'


def _method_problems(method: Mapping[str, Any], text: str) -> Iterator[str]:
    """Check names and options of the method, which only the method itself knows; imports nothing but that method."""
    estimators = Catalogue("causalbench.estimators", "method")
    inferences = Catalogue("causalbench.inference", "inference", "[method.inference_options]")
    name, inference = method.get("name"), method.get("inference")
    if not isinstance(name, str):
        return
    at = _at(text, ("method", "name"))
    if name == "auto":
        yield f'[method] name{at} = "auto" can\'t choose yet; name one of: {", ".join(estimators.names())}'
        return
    if name not in estimators.names():
        hint = nearest(name, estimators.names())
        yield f"[method] name{at} = {name!r} doesn't exist{hint}; there are: {', '.join(estimators.names())}"
        return
    allowed = estimators.load(name).inferences
    if isinstance(inference, str) and inference not in allowed:
        kind = "doesn't go with" if inference in inferences.names() else "doesn't exist for"
        place = _at(text, ("method", "inference"))
        hint = f"{nearest(inference, allowed)}; allowed: {', '.join(allowed)}"
        yield f"[method] inference{place} = {inference!r} {kind} {name}{hint}"
    elif isinstance(inference, str):
        yield from _option_problems(inferences, inference, method.get("inference_options", {}), text)
    elif method.get("inference_options"):
        place = _at(text, ("method.inference_options",))
        yield f"[method.inference_options]{place}: options of an inference need its name: set inference under [method]"
    yield from _option_problems(estimators, name, method.get("options", {}), text)


def _option_problems(room: Catalogue, name: str, options: Any, text: str) -> Iterator[str]:
    if isinstance(options, Mapping):
        try:
            room.create(name, options)
        except StudyError as error:
            place = _at(text, (room.options_key.strip("[]"),))
            yield from (f"{room.options_key}{place}: {problem}" for problem in error.problems)


def _problem(error: Mapping[str, Any], text: str) -> str:
    """Write one validation error as a sentence with its table, key and line."""
    location = error["loc"]
    keys = tuple(str(part) for part in location if not isinstance(part, int))
    table = f"[[{keys[0]}]]" if keys[:1] == ("metric",) else f"[{keys[0]}]" if len(keys) > 1 or keys[:1] else "study"
    key = f"{table} {keys[1]}" if len(keys) > 1 else table
    occurrence = next((part for part in location if isinstance(part, int)), 0) if keys[:1] == ("metric",) else 0
    at = _at(text, keys, occurrence)
    kind = error["type"]
    if kind == "extra_forbidden":
        allowed = _allowed(keys)
        return f"{key}{at} is not a key{nearest(keys[-1], allowed)}; allowed here: {', '.join(sorted(allowed))}"
    if kind == "missing":
        return f"{key} is missing{at}"
    message = str(error["msg"]).removeprefix("Value error, ").replace("a valid tuple", "an array")
    found = "" if isinstance(error.get("input"), Mapping) else f", found {error.get('input')!r}"
    return f"{key}{at}: {message}{found}"


def _allowed(keys: tuple[str, ...]) -> set[str]:
    tables: dict[str, type[BaseModel]] = {
        "study": About,
        "data": Data,
        "metric": Metric,
        "launch": Launch,
        "method": Method,
        "run": Run,
    }
    return set(tables[keys[0]].model_fields) if len(keys) > 1 and keys[0] in tables else _TABLES


def _at(text: str, keys: tuple[str, ...], occurrence: int = 0) -> str:
    """Return `` (line N)`` of a key, of its table where the key isn't there, or nothing."""
    line = _line(text, keys, occurrence)
    return f" (line {line})" if line else ""


def _line(text: str, keys: tuple[str, ...], occurrence: int) -> int | None:
    """Locate a key: a small reader of table headers and keys, which the TOML parser doesn't keep."""
    table, seen, header = "", -1, None
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[{1,2}\s*([\w.\-]+)\s*\]{1,2}", line):
            table = match[1]
            seen += bool(keys) and table == keys[0]
            if keys and table == keys[0] and seen == occurrence:
                header = number
        elif match := re.match(r"\s*[\"']?([\w.\-]+)[\"']?\s*=", line):
            here = (table, match[1]) if table else (match[1],)
            if here == keys[:2] and (not table or seen == occurrence):
                return number
    return header
