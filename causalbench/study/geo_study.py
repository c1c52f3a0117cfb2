"""The study of a geo experiment: which markets may take part, how the design is searched, and later how the test ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from causalbench.catalogue import Catalogue
from causalbench.errors import nearest
from causalbench.study.file import StudyFile
from causalbench.study.problems import at, method_problems, option_problems
from causalbench.study.tables import (
    About,
    Contradiction,
    Data,
    Method,
    Metric,
    Moment,
    Name,
    Run,
    Table,
    data_contradictions,
    level_value,
    some,
    without_decision,
    without_maturity,
)

CONTROL = "control"
"""Name of the cell without treatment; other cells are named by the study."""

Names = tuple[Name, ...]
Count = Annotated[int, Field(ge=1, le=10_000)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError("name at least one number, and every number once")
    return values


def _per_cell(value: Any) -> Any:
    """Read arrays inside of a table as tuples."""
    if isinstance(value, Mapping):
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return value


class Quota(Table):
    """``[[geo.quotas]]``: how many treated markets (of one cell, or of all) may share a value of a column of ``markets``."""

    column: Name
    value: Name
    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=0)] | None = None
    cell: Name | None = None


class Buffer(Table):
    """``[geo.buffer]``: markets too close to a treated one to be its controls are left out.

    ``adjacency``: within ``hops`` steps over the pairs of ``table`` (columns ``a``, ``b``) or of ``[geo.map]``;
    ``distance``: within ``km``, by columns ``latitude`` and ``longitude`` of ``markets``, without them by the centres of
    ``[geo.map]``; ``commuting``: where at least ``share`` of either one's people commute to the other, by ``table`` (columns
    ``from``, ``to``, ``share``).
    """

    kind: Literal["adjacency", "distance", "commuting"]
    hops: Count = 1
    km: Positive | None = None
    table: Name | None = None
    share: Share | None = None


class Map(Table):
    """``[geo.map]``: where the markets lie, for drawing, adjacency and distance; ``counties`` names a table county, market.

    ``file`` is a TopoJSON file beside the study; without it the shipped map of that kind.
    """

    kind: Literal["us-states", "us-counties", "world-countries"]
    file: Name | None = None
    counties: Name | None = None


class Switchback(Table):
    """``[geo.switchback]``: every market is switched on and off over blocks of periods."""

    block: Annotated[tuple[Count, ...], AfterValidator(_distinct)]
    n_periods: Count
    washout: Annotated[int, Field(ge=0, le=1_000)] = 0
    carry_over: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Test(Table):
    """``[geo.test]``: how the test ran, for ``geo analyze``; the cells come from a ``ledger`` or from ``cells``.

    A switchback has a ``schedule`` (schedule.csv) instead, and may name the ``ledger`` of its design as well; ``actual`` then
    is a column of 0 and 1.

    ``cells`` without ``start`` is a split of the user's own before the test, for ``geo power``.

    ``actual`` is a column of the table: in each row the name of the cell whose treatment the market really got then,
    ``control`` or empty for none. ``pairs`` is a column of ``markets``. ``compat = "geolift"`` adds what GeoLift's own test
    says about the launch beside what the same residuals say here.
    """

    ledger: Name | None = None
    schedule: Name | None = None
    cells: Mapping[str, Names] | None = None
    controls: Names | None = None
    start: Moment | None = None
    end: Moment | None = None
    cooldown: Annotated[int, Field(ge=0, le=10_000)] = 0
    assignment: Literal["random", "chosen"] = "chosen"
    actual: Name | None = None
    pairs: Name | None = None
    factors: Mapping[str, Names] | None = None
    looks: tuple[Moment, ...] = ()
    compat: Literal["geolift"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _tables(cls, values: Any) -> Any:
        return {key: _per_cell(value) for key, value in values.items()} if isinstance(values, dict) else values


class Geo(Table):
    """``[geo]``: the experiment.

    Attributes
    ----------
    kind
        ``holdback``: something new runs in the treated markets only; ``heavy-up``: more of it there; ``go-dark``: it is
        switched off there, so that a loss is expected.
    durations, market_counts
        Candidate lengths in periods, and candidate numbers of treated markets per cell.
    cells
        Names of the treated cells, at most six.
    include, exclude
        Markets that a cell must hold or may not hold: for all treated cells, or a table by cell (``control`` is one).
    min_share, max_share
        Bounds on the share of the outcome that a cell's markets have.
    budget, cost_per_incremental
        What a cell may cost, and what one more unit of the outcome costs.
    max_controls, quotas, buffer, busy
        Limits on controls, on regions and on neighbours; markets in other tests, which take no part.
    level, power
        Confidence level and wanted power of the planned analysis.
    smallest_worthwhile_effect
        Relative effect below which nobody would act.
    selector, options
        How cells are found, and the options of that.
    windows
        How many windows of the history the power is measured on.
    cooldown
        Periods after the end whose effect still counts.
    cost_of_delay
        What one more period without the answer costs, in units of the budget.
    looks
        Number of interim looks at the data, the last one included.
    markets
        A table beside the study with one row per market and the columns that quotas, distances and pairs name.
    """

    kind: Literal["holdback", "go-dark", "heavy-up"] = "holdback"
    durations: Annotated[tuple[Count, ...], AfterValidator(_distinct)] = (14,)
    market_counts: Annotated[tuple[Count, ...], AfterValidator(some)] | None = None
    cells: Annotated[Names, Field(min_length=1, max_length=6)] = ("treated",)
    include: Names | Mapping[str, Names] = ()
    exclude: Names | Mapping[str, Names] = ()
    min_share: Share | Mapping[str, Share] | None = None
    max_share: Share | Mapping[str, Share] | None = None
    budget: Positive | Mapping[str, Positive] | None = None
    cost_per_incremental: Positive | None = None
    max_controls: Count | None = None
    quotas: tuple[Quota, ...] = ()
    buffer: Buffer | None = None
    busy: Names = ()
    level: Annotated[float, AfterValidator(level_value)] = 0.9
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    smallest_worthwhile_effect: Share | None = None
    selector: Name = "search"
    options: Mapping[str, Any] = Field(default_factory=dict)
    windows: Annotated[int, Field(ge=2, le=200)] = 10
    cooldown: Annotated[int, Field(ge=0, le=10_000)] = 0
    cost_of_delay: Positive | None = None
    looks: Annotated[int, Field(ge=1, le=20)] = 1
    markets: Name | None = None
    map: Map | None = None
    switchback: Switchback | None = None
    test: Test | None = None

    @model_validator(mode="before")
    @classmethod
    def _tables(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        whole = {
            key: float(value) if type(value) is int and key in _NUMBERS else value for key, value in values.items()
        }
        return {key: _per_cell(value) for key, value in whole.items()}


_NUMBERS = ("budget", "cost_per_incremental", "cost_of_delay")


class GeoStudy(StudyFile):
    """A whole study file of a geo experiment.

    ``[method]`` is the planned analysis; without it, synthetic control on changes with conformal inference.

    Examples
    --------
    >>> study = GeoStudy.from_mapping({
    ...     "study": {"name": "walkthrough", "question": "Which markets?"},
    ...     "data": {"source": "sales.csv", "unit": "city", "period": "date"},
    ...     "metric": [{"name": "sales", "column": "Y"}],
    ...     "geo": {"durations": [10, 15], "market_counts": [2, 3], "include": ["chicago"]},
    ... })
    >>> study.geo.durations, study.geo.cells, study.method.name
    ((10, 15), ('treated',), 'synthetic-control')
    """

    tables: ClassVar[Mapping[str, type[BaseModel]]] = {
        "study": About,
        "data": Data,
        "metric": Metric,
        "geo": Geo,
        "method": Method,
        "run": Run,
    }

    data: Data
    geo: Geo
    method: Method = Method(name="synthetic-control", options={"fixed_effects": "unit"})

    @property
    def main_metric(self) -> Metric:
        """The first success metric, which the experiment is designed for."""
        return next(metric for metric in self.metric if metric.role == "success")

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Find keys that are right by themselves and wrong together; yields table, place and problem."""
        yield from data_contradictions(values)
        yield from without_decision(values)
        yield from without_maturity(values)
        geo = values.get("geo")
        if isinstance(geo, Mapping):
            yield from _geo_contradictions(geo)

    @classmethod
    def deeper_problems(cls, values: Mapping[str, Any], text: str) -> Iterator[str]:
        """Find names and options of the selector and of the planned analysis that don't exist."""
        method, geo = values.get("method"), values.get("geo")
        if isinstance(method, Mapping):
            yield from method_problems(method, text)
        if isinstance(geo, Mapping):
            selectors = Catalogue("causalbench.geo.selectors", "selector", "[geo.options]")
            name = geo.get("selector", "search")
            if name in selectors.names():
                yield from option_problems(selectors, name, geo.get("options", {}), text)
            elif isinstance(name, str):
                hint = f"{nearest(name, selectors.names())}; there are: {', '.join(selectors.names())}"
                yield f"[geo] selector{at(text, ('geo', 'selector'))} = {name!r} doesn't exist{hint}"


def _geo_contradictions(geo: Mapping[str, Any]) -> Iterator[Contradiction]:
    cells = geo.get("cells", ("treated",))
    names = tuple(map(str, cells)) if isinstance(cells, (list, tuple)) else ()
    if CONTROL in names or len(set(names)) < len(names):
        yield "[geo] cells", ("geo", "cells"), f"names must be distinct, and {CONTROL!r} is the cell without treatment"
    for key in ("include", "exclude", "min_share", "max_share", "budget"):
        given = geo.get(key)
        unknown = [] if not isinstance(given, Mapping) else [cell for cell in given if cell not in (*names, CONTROL)]
        if unknown:
            yield f"[geo] {key}", ("geo", key), f"names no cell: {', '.join(unknown)}; cells are {', '.join(names)}"
    if "budget" in geo and "cost_per_incremental" not in geo:
        yield "[geo] budget", ("geo", "budget"), "needs cost_per_incremental, which says what an effect costs"
    if geo.get("quotas") and "markets" not in geo:
        yield "[geo] quotas", ("geo", "quotas"), "needs markets: a table with one row per market"
    if isinstance(geo.get("buffer"), Mapping):
        yield from _buffer_contradictions(geo["buffer"], geo)
    yield from _idle_keys(geo)
    if isinstance(geo.get("test"), Mapping):
        yield from _test_contradictions(geo["test"])
        if ("schedule" in geo["test"]) != ("switchback" in geo):
            problem = "schedule and [geo.switchback] belong together: the schedule of a switchback is how its test ran"
            yield "[geo.test]", ("geo.test",), problem


def _idle_keys(geo: Mapping[str, Any]) -> Iterator[Contradiction]:
    if isinstance(geo.get("budget"), Mapping) and CONTROL in geo["budget"]:
        yield "[geo] budget", ("geo", "budget"), f"{CONTROL} gets no treatment, so it costs nothing"
    idle = [key for key in _NOT_OF_SWITCHBACKS if key in geo]
    if "switchback" in geo and idle:
        yield "[geo]", ("geo", idle[0]), f"{', '.join(idle)} would do nothing with [geo.switchback]"
    chart = geo.get("map")
    if isinstance(chart, Mapping) and "counties" in chart and chart.get("kind") != "us-counties":
        yield "[geo.map] counties", ("geo.map", "counties"), 'joins counties to markets: set kind = "us-counties"'


_NOT_OF_SWITCHBACKS = (
    "durations",
    "market_counts",
    "cells",
    "include",
    "min_share",
    "max_share",
    "budget",
    "cost_per_incremental",
    "max_controls",
    "quotas",
    "buffer",
    "selector",
    "options",
    "cooldown",
    "cost_of_delay",
    "looks",
    "markets",
    "map",
)

_BUFFER_KEYS = {"adjacency": ("hops", "table"), "distance": ("km",), "commuting": ("table", "share")}


def _buffer_contradictions(buffer: Mapping[str, Any], geo: Mapping[str, Any]) -> Iterator[Contradiction]:
    place, kind = ("geo.buffer",), str(buffer.get("kind"))
    needed = {"distance": ("km",), "commuting": ("table", "share")}
    missing = [key for key in needed.get(kind, ()) if key not in buffer]
    idle = [
        key for key in ("hops", "km", "table", "share") if key in buffer and key not in _BUFFER_KEYS.get(kind, (key,))
    ]
    if idle:
        yield "[geo.buffer]", place, f"{', '.join(idle)} would do nothing with kind = {kind!r}"
    if missing:
        yield "[geo.buffer]", place, f"kind = {kind!r} needs {', '.join(missing)}"
    if kind == "adjacency" and "table" not in buffer and "map" not in geo:
        yield "[geo.buffer]", place, "adjacency needs a table of neighbours, or [geo.map]"
    if kind == "distance" and "markets" not in geo and "map" not in geo:
        yield "[geo.buffer]", place, "distance needs markets with latitude and longitude of every market, or [geo.map]"


def _test_contradictions(test: Mapping[str, Any]) -> Iterator[Contradiction]:
    if "schedule" in test and "cells" in test:
        yield "[geo.test]", ("geo.test",), "a schedule says who was on when, so there are no cells"
    if "schedule" not in test and ("ledger" in test) == ("cells" in test):
        yield "[geo.test]", ("geo.test",), "give either a ledger (design.json) or the cells with their markets"
    if "start" not in test and "cells" not in test:
        yield "[geo.test]", ("geo.test",), "start is missing: the first period of the test"
