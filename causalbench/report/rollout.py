"""What the page says of effects by time, cohort and cell: rows of plain values, from one estimate of the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causalbench.wording import interval_text

FEWEST_UNITS = 3
"""A value that rests on fewer treated units has no error worth showing."""

_CELLS, _TIMES = 400, 120

_SUMMARIES = {
    "simple": "every treated unit and period counts the same",
    "dynamic": "every time since the launch counts the same",
    "group": "periods are averaged within each launch date, then launch dates by their size",
    "calendar": "every period from the first launch on counts the same",
}


def describe(estimate: Mapping[str, Any], launches: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the tables of a rollout; each is empty where the method doesn't give it.

    Parameters
    ----------
    estimate
        One of the evidence's estimates.
    launches
        ``(first treated period, number of units)`` of every cohort, from the metric's audit.
    """
    detail = estimate["detail"]
    aggregates = detail.get("aggregates") or {}
    return {
        "event_times": _event_times(estimate["event_study"], estimate["bands"]),
        "n_times": len(estimate["event_study"]["event_times"]) + 1 if estimate["event_study"] else 0,
        "level": estimate["bands"] and f"{100 * estimate['bands']['level']:g}%",
        "by_cohort": "group" in aggregates,
        "cohorts": _cohorts(aggregates.get("group"), launches),
        "summaries": _summaries(estimate["value"], aggregates),
        "calendar": (aggregates.get("calendar") or {"by": []})["by"],
        "cells": detail.get("group_time", [])[:_CELLS],
        "n_cells": len(detail.get("group_time", [])),
        "pretest": detail.get("pretest"),
    }


def _event_times(study: Mapping[str, Any] | None, bands: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return one row per event time, the reference among them; of many, those nearest to the launch."""
    if study is None:
        return []
    rows = [
        {
            "time": time,
            "placebo": time < 0,
            "value": value,
            "alone": _band(bands, "", i, n_treated),
            "at_once": _band(bands, "uniform_", i, n_treated),
            "n_treated": n_treated,
        }
        for i, (time, value, n_treated) in enumerate(
            zip(study["event_times"], study["values"], study["n_treated"], strict=True)
        )
    ]
    reference = {
        "time": study["reference"],
        "placebo": True,
        "value": None,
        "alone": "",
        "at_once": "",
        "n_treated": None,
    }
    nearest = sorted([*rows, reference], key=lambda row: abs(int(row["time"])))[:_TIMES]
    return sorted(nearest, key=lambda row: int(row["time"]))


def _band(bands: Mapping[str, Any] | None, prefix: str, i: int, n_treated: int) -> str:
    if bands is None:
        return ""
    if n_treated < FEWEST_UNITS:
        return "too few units"
    lower, upper = bands[f"{prefix}lower"][i], bands[f"{prefix}upper"][i]
    return interval_text(None if lower is None or upper is None else {"segments": [(lower, upper)]})


def _cohorts(group: Mapping[str, Any] | None, launches: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Return one row per launch date; without effects where the method gives none by cohort."""
    found = {row["cohort"]: row for row in (group or {"by": []})["by"]}
    if len(launches) < 2 and not found:
        return []
    return [
        {
            "cohort": cohort,
            "n_units": n_units,
            "value": found[cohort]["value"] if cohort in found else None,
            "std_error": found[cohort]["std_error"] if cohort in found and n_units >= FEWEST_UNITS else None,
        }
        for cohort, n_units in launches
    ]


def _summaries(value: float, aggregates: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the averages side by side; the estimate's own is marked."""
    return [
        {"name": name, "meaning": meaning, "chosen": aggregates[name]["value"] == value, **aggregates[name]}
        for name, meaning in _SUMMARIES.items()
        if name in aggregates
    ]
