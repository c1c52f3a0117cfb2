"""Tables of a study file that say what an effect is worth: ``[value]`` and ``[[trade]]``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator

from causalbench.study.tables import Contradiction, Name, Table, some


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("give a finite number")
    return value


def _amounts(value: Any) -> Mapping[str, float] | float:
    """Read one number, or a table of numbers by metric."""
    if not isinstance(value, Mapping):
        return _amount(value, "a number, or a table of numbers by metric")
    if not value:
        raise ValueError("name at least one metric")
    return {str(name): _amount(amount, f"a number for {name!r}") for name, amount in value.items()}


def _amount(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"give {what}")
    return float(value)


def _spreads(value: Any) -> Mapping[str, float] | float | None:
    if value is None:
        return None
    given = _amounts(value)
    if any(spread <= 0 for spread in (given.values() if isinstance(given, Mapping) else (given,))):
        raise ValueError("give a positive share such as 0.02: how large such effects usually are")
    return given


Finite = Annotated[float, AfterValidator(_finite)]
Amount = Annotated[Finite, Field(ge=0)]
Amounts = Annotated[Mapping[str, float] | float, PlainValidator(_amounts)]
Spreads = Annotated[Mapping[str, float] | float | None, PlainValidator(_spreads)]


class Value(Table):
    """``[value]``: what an effect is worth in money, and what was known about such effects before.

    Attributes
    ----------
    per_unit
        Money per unit of the first success metric; or a table with money per unit of each metric, negative where more is worse.
        A metric with role ``cost`` counts as money spent where it isn't named.
    currency
        What money is called.
    horizon
        Periods that the decision is for.
    units
        Units that it is for; those that got the launch where it isn't given.
    cost, running_cost
        Paid once, and in every period of the horizon.
    prior_mean, prior_sd
        Of the relative effect before the data, a number or a table by metric. Without ``prior_sd`` every effect counts as equally
        likely beforehand, and the page says so.
    prior_df
        Degrees of freedom of a prior with heavy tails; a normal prior where it isn't given.
    prior_source
        Where the prior comes from, in words.
    ship_if
        Probability of a positive net value from which on the launch is worth it.
    wait
        Numbers of more periods that one could wait.
    wait_cost
        What a period of waiting costs beside the delay.
    """

    per_unit: Amounts
    currency: Name = "money"
    horizon: Annotated[int, Field(ge=1, le=1_000_000)]
    units: Annotated[int | None, Field(ge=1, le=1_000_000_000)] = None
    cost: Amount = 0.0
    running_cost: Amount = 0.0
    prior_mean: Amounts = 0.0
    prior_sd: Spreads = None
    prior_df: Annotated[float | None, Field(gt=2, le=1000)] = None
    prior_source: Name | None = None
    ship_if: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    wait: Annotated[tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] | None, AfterValidator(some)] = None
    wait_cost: Amount = 0.0


class Trade(Table):
    """``[[trade]]``: a gain in one metric that is paid for with another.

    Attributes
    ----------
    gain, loss
        Names of the metrics.
    worth
        How many units of ``loss`` one unit of ``gain`` is worth, where that is known.
    """

    gain: Name
    loss: Name
    worth: Annotated[float | None, Field(gt=0, lt=float("inf"))] = None


def decision_contradictions(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Find keys of ``[value]`` and ``[[trade]]`` that are right by themselves and wrong together, or with the metrics."""
    metrics = values.get("metric")
    declared = [item for item in metrics if isinstance(item, Mapping)] if isinstance(metrics, (list, tuple)) else []
    value, trades = values.get("value"), values.get("trade")
    if isinstance(value, Mapping):
        yield from _value_contradictions(value, declared)
    names = [item.get("name") for item in declared]
    logs = [item.get("name") for item in declared if _logarithmic(item)]
    for trade in trades if isinstance(trades, (list, tuple)) else ():
        if not isinstance(trade, Mapping):
            continue
        for key in ("gain", "loss"):
            if key in trade and trade[key] not in names:
                yield f"[[trade]] {key}", ("trade", key), f"names no metric: {trade[key]!r}; there are {_said(names)}"
            if key in trade and trade[key] in logs:
                yield (
                    f"[[trade]] {key}",
                    ("trade", key),
                    f"{trade[key]!r} is a logarithm, which has no units to pay in: give a metric in its own units",
                )
        if trade.get("gain") == trade.get("loss"):
            yield "[[trade]]", ("trade",), "gain and loss must be two metrics"


def _value_contradictions(value: Mapping[str, Any], declared: list[Mapping[str, Any]]) -> Iterator[Contradiction]:
    per_unit = value.get("per_unit")
    success = [item for item in declared if item.get("role", "success") == "success"][:1]
    names = [item.get("name") for item in declared]
    used = list(per_unit) if isinstance(per_unit, Mapping) else [item.get("name") for item in success]
    used += [item.get("name") for item in declared if item.get("role") == "cost" and item.get("name") not in used]
    for key in ("per_unit", "prior_mean", "prior_sd"):
        given = value.get(key)
        if isinstance(given, Mapping):
            allowed = names if key == "per_unit" else used
            unknown = [name for name in given if name not in allowed]
            if unknown:
                what = "names no metric" if key == "per_unit" else "names what per_unit gives no worth"
                yield f"[value] {key}", ("value", key), f"{what}: {_said(unknown)}; there are {_said(allowed)}"
    for item in declared:
        if item.get("name") in used and _logarithmic(item):
            problem = (
                f"{item.get('name')!r} is a logarithm, which has no worth per unit: give a metric in its own units"
            )
            yield "[value] per_unit", ("value", "per_unit"), problem
    if "prior_sd" not in value:
        idle = [key for key in ("prior_mean", "prior_df", "prior_source") if key in value]
        yield from ((f"[value] {key}", ("value", key), "needs prior_sd") for key in idle)
    if "prior_df" in value and len(used) > 1:
        yield "[value] prior_df", ("value", "prior_df"), "goes with one metric in per_unit"
    if "wait_cost" in value and "wait" not in value:
        yield "[value] wait_cost", ("value", "wait_cost"), "needs wait: numbers of periods that one could wait"


def _logarithmic(metric: Mapping[str, Any]) -> bool:
    return metric.get("transform") == "log" or metric.get("scale") == "log"


def _said(names: list[Any]) -> str:
    return ", ".join(repr(str(name)) for name in names) or "none"
