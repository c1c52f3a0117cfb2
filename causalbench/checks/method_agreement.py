"""Do other methods for the same question give the same answer?"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from numpy.random import Generator

from causalbench.checks._donors import half_width
from causalbench.data.audit import audit
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Interval
from causalbench.wording import number

_FAMILY = ("synthetic-control", "augmented-synthetic-control", "synthetic-did", "causal-impact")
_COMPARE = "Compare their paths before the launch, and lean on the one that predicts held-out periods."
_CHEAP = 10_000
"""With more cells than this, other methods are asked for their estimates alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodAgreement:
    """The other methods for a launch in one or a few units, on the same panel.

    Synthetic control, its augmented form, synthetic difference-in-differences and the Bayesian structural time series lean
    on different assumptions about the path without the launch. Each is run with the study's choices where it knows the
    same option, its defaults elsewhere, and the inference that it chooses itself (up to 10,000 cells, else without).
    The estimates share all data, so they should lie closer together than either's uncertainty: an estimate further from the
    study's own than half the width of the wider of their two intervals asks for review, as then neither reaches the other.
    Two methods that each show an effect, of opposite signs, fail. Both limits are conventions. A method that can't answer
    is named with its reason.
    """

    question: ClassVar[str] = "Do other methods for the same question give the same answer?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Run the rest of the family and compare."""
        if estimate.estimator not in _FAMILY:
            return None
        conclude = partial(CheckResult, name="method-agreement", question=self.question)
        level = estimate.interval.level if estimate.interval else 0.9
        own = _row(estimate.estimator, estimate.inference, estimate.value, estimate.interval)
        others = [name for name in _FAMILY if name in ESTIMATORS.names() and name != estimate.estimator]
        rows = [own, *(_ask(name, estimator, data, level=level, rng=rng) for name in others)]
        answers = [row for row in rows[1:] if row["value"] is not None]
        refusals = "".join(f" {row['method']} can't answer: {row['refusal']}." for row in rows if row["refusal"])
        table = {"methods": rows}
        if not answers:
            reason = f"No other method of the family answers here.{refusals}"
            return conclude(verdict="not_evaluable", reason=reason, remedy="Look at the other checks.", table=table)
        told = ", ".join(f"{row['method']} {number(row['value'])}" for row in answers)
        reason = f"Beside {number(estimate.value)} here: {told}.{refusals}"
        apart = [(distance, row["method"]) for row in answers if (distance := _apart(own, row)) is not None]
        if not apart:
            reason += " No interval has two ends to judge the distance by."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Look at the figure.", table=table)
        distance, furthest = max(apart)
        conclude = partial(conclude, statistic=distance, threshold=1.0, table=table)
        reason += f" {furthest} is furthest away, by {distance:.0%} of half the wider of the two intervals."
        if len({math.copysign(1, row["value"]) for row in rows if row["shown"]}) > 1:
            reason += " Two of them show effects of opposite signs."
            return conclude(
                verdict="fail", reason=reason, remedy="Find out which assumption fails before using any of them."
            )
        if distance > 1:
            return conclude(verdict="review", reason=reason, remedy=_COMPARE)
        return conclude(verdict="pass", reason=reason)


def _ask(name: str, own: Estimator[Panel], data: Panel, *, level: float, rng: Generator) -> dict[str, Any]:
    """Audit, fit and infer with another method; a refusal is its answer."""
    estimator: Estimator[Panel] = ESTIMATORS.create(name, shared_options(own, ESTIMATORS.load(name)))
    try:
        used, _ = audit(estimator.sample(data), estimator.requires, method=name)
        fit = estimator.fit(used)
        if data.outcome.size > _CHEAP:
            return _row(name, None, fit.effect, None)
        inference = estimator.default_inference(used)
        found = INFERENCES.create(inference).infer(estimator, used, fit, level=level, rng=rng)
    except (DataError, RefusalError) as refusal:
        return _row(name, None, None, None, refusal=_about(refusal.message, name))
    return _row(name, inference, fit.effect, found.interval)


def _about(refusal: str, method: str) -> str:
    """Say ``it`` for the method where a refusal begins with its name, which is told before it."""
    return re.sub(rf"^{re.escape(method)}(?= )", "it", refusal)


def shared_options(own: Estimator[Panel], other: type[Any]) -> dict[str, Any]:
    """Return the options of one method that another has too, with the same choices."""
    mine, theirs = typing.get_type_hints(type(own)), typing.get_type_hints(other)
    names = {field.name for field in dataclasses.fields(own)} & {field.name for field in dataclasses.fields(other)}  # type: ignore[arg-type]
    return {name: getattr(own, name) for name in sorted(names) if mine[name] == theirs[name]}


def _row(
    method: str, inference: str | None, value: float | None, interval: Interval | None, *, refusal: str = ""
) -> dict[str, Any]:
    shown = interval is not None and not interval.empty and not interval.contains(0.0)
    return {
        "method": method,
        "inference": inference,
        "value": value,
        "interval": interval,
        "shown": shown,
        "refusal": refusal,
    }


def _apart(own: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    """Return the distance of two estimates over half the width of the wider bounded interval; None where there is none."""
    widths = [width for row in (own, other) if (width := half_width(row["interval"])) is not None]
    distance = abs(float(other["value"]) - float(own["value"]))
    return distance / max(widths) if widths and max(widths) > 0 else None
