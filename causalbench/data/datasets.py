"""Launches that ship with the package: a table, a study file and a note on its origin each."""

from __future__ import annotations

from pathlib import Path

from causalbench.artifacts import shipped
from causalbench.errors import StudyError, nearest


def names() -> tuple[str, ...]:
    """Return the names of the shipped launches."""
    return tuple(sorted(path.parent.name for path in shipped("data").glob("*/study.toml")))


def study_path(name: str) -> Path:
    """Return the study file of a shipped launch."""
    if name not in names():
        raise StudyError([f"dataset {name!r} doesn't exist{nearest(name, names())}; there are: {', '.join(names())}"])
    return shipped("data", name, "study.toml")
