"""How the page writes verdicts on metrics: words no stronger than the grade, effects on the scale of their margins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.wording import number, percent


def verdict(found: Mapping[str, Any], grade: str) -> str:
    """Write the verdict on a metric at the strength of the grade: below B nothing is better, equivalent or passes.

    That a guardrail fails is an alarm, which no grade silences.

    Examples
    --------
    >>> [verdict({"verdict": "better"}, grade) for grade in "ABCD"]
    ['better', 'better', 'better? (grade C)', 'no claim']
    >>> [verdict({"verdict": told}, "D") for told in ("pass", "fail", "not shown")]
    ['no claim', 'fail', 'not shown']
    """
    told = str(found["verdict"])
    if told in ("not shown", "too early", "fail") or grade in ("A", "B"):
        return told
    return f"{told}? (grade C)" if grade == "C" else "no claim"


def effect(found: Mapping[str, Any]) -> str:
    """Write an effect on its scale."""
    return _said(found, found["value"])


def effect_set(found: Mapping[str, Any]) -> str:
    """Write what an effect's data are compatible with."""
    if not found["known"]:
        return "not computed"
    low = "unbounded below" if found["lower"] is None else _said(found, found["lower"])
    high = "unbounded above" if found["upper"] is None else _said(found, found["upper"])
    return f"{low} to {high}"


def limit(found: Mapping[str, Any], name: str) -> str:
    """Write a margin, or the smallest worthwhile effect."""
    told = _said(found["effect"], found[name])
    return told.lstrip("+") if name == "worthwhile" else told


def method_label(item: Mapping[str, Any]) -> str:
    """Write a method with its options.

    Examples
    --------
    >>> method_label({"method": "synthetic-control", "options": {"fixed_effects": "unit"}})
    'synthetic-control (fixed_effects = unit)'
    """
    told = ", ".join(f"{key} = {value}" for key, value in (item["options"] or {}).items())
    return f"{item['method']} ({told})" if told else str(item["method"])


def _said(found: Mapping[str, Any], value: float | None) -> str:
    if value is None:
        return "not computed"
    return percent(value, sign=True) if found["scale"] == "relative" else number(value, sign=True)
