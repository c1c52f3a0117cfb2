"""Opening a study file of whichever kind it is."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalbench.study.comparison_study import ComparisonStudy
from causalbench.study.geo_study import GeoStudy
from causalbench.study.launch_study import Study
from causalbench.study.problems import shape_of_method

AnyStudy = Study | ComparisonStudy | GeoStudy


def load_study(path: str | Path) -> AnyStudy:
    """Read a study: of a geo experiment where it has ``[geo]``, of a comparison at one time without ``[data] period``.

    A study without a period whose method needs periods is one of a launch with a key missing, and is told so.

    Raises
    ------
    StudyError
        With every problem at once.
    """
    return kind_of(_values(path)).load(path)


def load_finished(path: str | Path) -> Study | ComparisonStudy:
    """Read a study of something that has happened; one of a geo experiment is refused, with what it is for."""
    kind = kind_of(_values(path))
    return ComparisonStudy.load(path) if kind is ComparisonStudy else Study.load(path)


def _values(path: str | Path) -> dict[str, Any]:
    """Read the keys of a file; none where it can't be read, which is said where it is read in earnest."""
    path = Path(path)
    file = path / "study.toml" if path.is_dir() else path
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}


open_study = load_study


def kind_of(values: Mapping[str, Any]) -> type[AnyStudy]:
    """Tell which kind of study a mapping is.

    Examples
    --------
    >>> kind_of({"data": {"unit": "city", "period": "week"}}).__name__, kind_of({"data": {"source": "a.csv"}}).__name__
    ('Study', 'ComparisonStudy')
    """
    if "geo" in values:
        return GeoStudy
    data, method = values.get("data"), values.get("method")
    if not isinstance(data, Mapping) or "period" in data:
        return Study
    name = method.get("name") if isinstance(method, Mapping) else None
    return Study if shape_of_method(name) == "panel" else ComparisonStudy
