"""What a result was computed with."""

from __future__ import annotations

import platform
from importlib.metadata import version

_PACKAGES = ("causalbench-workbench", "duckdb", "linearmodels", "narwhals", "numba", "numpy", "pandas", "scipy")


def versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on."""
    return {package: version(package) for package in _PACKAGES}


def python_version() -> str:
    """Return Python's version without its patch level."""
    return ".".join(platform.python_version_tuple()[:2])
