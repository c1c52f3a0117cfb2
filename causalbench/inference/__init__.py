"""Inference: one file per way of quantifying uncertainty; every p-value and its interval come from one family of tests."""

from typing import Any

from causalbench.catalogue import Catalogue

CATALOGUE = Catalogue(__name__, "inference", "[method.inference_options]")


def __getattr__(name: str) -> Any:
    return CATALOGUE.attribute(name)
