"""Estimators: one file each, listed by file name; none keeps fitted state."""

from typing import Any

from causalbench.catalogue import Catalogue

CATALOGUE = Catalogue(__name__, "method")


def __getattr__(name: str) -> Any:
    return CATALOGUE.attribute(name)
