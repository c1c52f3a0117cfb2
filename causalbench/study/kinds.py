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
    path = Path(path)
    file = path / "study.toml" if path.is_dir() else path
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        values = {}  # what is wrong with the file is said where it is read in earnest
    return kind_of(values).load(path)


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
