"""Data that several rooms of tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from causalbench.data.datasets import study_path
from causalbench.data.panel import Panel
from causalbench.study import Study
from causalbench.workflow.reading import read_panel


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of published reference data, which isn't shipped."""
    folder = os.environ.get("CAUSALBENCH_REFERENCE")
    if not folder:
        pytest.skip("needs the published reference data: set CAUSALBENCH_REFERENCE to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def geolift() -> Panel:
    """Daily sales of 40 cities, a campaign in two."""
    return _shipped("geolift")


@pytest.fixture(scope="session")
def prop99() -> Panel:
    """Yearly cigarette sales of 39 states, a law in one."""
    return _shipped("prop99")


def _shipped(name: str) -> Panel:
    study = Study.load(study_path(name))
    return read_panel(study, study.metric[0])
