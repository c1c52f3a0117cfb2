"""One estimate asked for in flags: which kind of study they make, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from causalbench.errors import StudyError
from causalbench.study import ComparisonStudy, Study
from causalbench.study.problems import shape_of_method
from causalbench.values import Estimate
from causalbench.workflow.comparison_readout import estimate_comparison
from causalbench.workflow.estimate import estimate_study

_WHERE = "command line"
_OVER_PERIODS = {
    "data": ("period", "cost", "date_format", "decimal", "thousands"),
    "metric": ("denominator", "transform"),
    "launch": ("units", "start", "cohort"),
}
_FLAGS = {"units": "treated"}


def estimate_request(asked: Mapping[str, Mapping[str, Any]], *, dag: Path | None, folder: Path) -> Estimate:
    """Estimate what was asked for.

    Parameters
    ----------
    asked
        Tables of a study file, one metric in place of many; None where a flag wasn't given.
    dag
        File of the causal graph.
    folder
        Where the table is.

    Raises
    ------
    CausalbenchError
        For flags that the method doesn't take or needs, and for whatever is wrong with the data.
    """
    shape = shape_of_method(asked["method"]["name"]) or "panel"
    problems = list(_problems(asked, shape))
    if problems:
        raise StudyError(problems, where=_WHERE)
    tables: dict[str, Any] = {table: _given(keys) for table, keys in asked.items()}
    tables["metric"] = [tables["metric"]]
    if dag is not None:
        tables["dag"] = os.path.relpath(dag, folder)
    if shape == "panel":
        study = Study.from_mapping(tables, folder=folder, where=_WHERE)
        return estimate_study(study, study.metric[0])
    comparison = ComparisonStudy.from_mapping(tables, folder=folder, where=_WHERE)
    return estimate_comparison(comparison, comparison.metric[0])


def _given(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def _problems(asked: Mapping[str, Mapping[str, Any]], shape: str) -> Iterator[str]:
    """Find flags that are missing, or that say nothing to a method of this shape."""
    method = asked["method"]["name"]
    if shape == "panel":
        missing = [f"--{key}" for key in ("unit", "period") if asked["data"][key] is None]
        if missing:
            yield f"{method} compares units over periods: give {' and '.join(missing)}"
        if asked["data"]["before"] is not None:
            yield f"--before is for methods that compare units at one time, {method} compares them over periods"
        return
    if asked["launch"]["treatment"] is None:
        yield f"{method} needs --treatment: a column of 0 and 1"
    unused = [
        f"--{_FLAGS.get(key, key).replace('_', '-')}"
        for table, keys in _OVER_PERIODS.items()
        for key in keys
        if asked[table][key] is not None
    ]
    if unused:
        yield f"{method} compares units at one time and takes no {', '.join(unused)}"
