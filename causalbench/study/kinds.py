"""Opening a study file of whichever kind it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

from causalbench.study.geo_study import GeoStudy
from causalbench.study.launch_study import Study


def load_study(path: str | Path) -> Study | GeoStudy:
    """Read a study: of a geo experiment where it has a table ``[geo]``, of a launch else.

    Raises
    ------
    StudyError
        With every problem at once.
    """
    path = Path(path)
    file = path / "study.toml" if path.is_dir() else path
    try:
        geo = "geo" in tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        geo = False  # what is wrong with the file is said where it is read in earnest
    return GeoStudy.load(path) if geo else Study.load(path)
