"""GeoLift's published walkthrough beside ours, on the shipped table."""

from __future__ import annotations

from typing import Any

from causalbench.artifacts import plain
from causalbench.data.datasets import study_path
from causalbench.geo import geolift
from causalbench.study import GeoStudy
from causalbench.study.geo_study import Test
from causalbench.workflow.geo_design import evaluate
from causalbench.workflow.reading import read_history


def parity_rows() -> list[dict[str, Any]]:
    """Return one row per published number: markets, duration, effect, column, ours, published, relative difference."""
    study = GeoStudy.load(study_path("geolift_pretest"))
    rows: list[dict[str, Any]] = plain(geolift.parity_rows(read_history(study, study.metric[0])))
    return rows


def best_of_geolift(study: GeoStudy) -> dict[str, Any] | None:
    """Judge the markets of the walkthrough's first row under a study's question; None where its table lacks them.

    Returns
    -------
    dict
        The evidence of :func:`causalbench.workflow.geo_design.evaluate`.
    """
    first = tuple(parity_rows()[0]["markets"])
    units = read_history(study, study.metric[0]).units
    if not set(first) <= set(units) or len(study.geo.cells) > 1:
        return None
    geo = study.geo.model_copy(update={"test": Test(cells={study.geo.cells[0]: first})})
    return evaluate(study.model_copy(update={"geo": geo})).to_dict()
