"""What GeoLift would choose from the same table, and its published walkthrough beside ours."""

from __future__ import annotations

from typing import Any

from causalbench.artifacts import plain
from causalbench.data.audit import audit_history
from causalbench.data.datasets import study_path
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, StudyError
from causalbench.geo import geolift
from causalbench.study import GeoStudy
from causalbench.study.geo_study import Test
from causalbench.workflow.estimate import generator
from causalbench.workflow.geo_design import evaluate
from causalbench.workflow.reading import read_history

_EFFECTS = (0.0, 0.05, 0.1, 0.15, 0.2)


def parity_rows(study: GeoStudy | None = None) -> list[dict[str, Any]]:
    """Return one row per published number: markets, duration, effect, column, ours, published, relative difference.

    With a study, only where its history is the walkthrough's table; none elsewhere.
    """
    shipped = _history(GeoStudy.load(study_path("geolift_pretest")))
    if study is not None and _history(study).fingerprint != shipped.fingerprint:
        return []
    rows: list[dict[str, Any]] = plain(geolift.parity_rows(shipped))
    return rows


def geolift_rows(study: GeoStudy) -> list[dict[str, Any]]:
    """Return the table of GeoLift's market selection under a study's durations, numbers of markets, names and budget.

    It knows one cell and no other rules; none where the study has several cells or names no numbers of markets, and where
    that selection finds no set.
    """
    geo = study.geo
    names = [key for key in (geo.include, geo.exclude) if isinstance(key, tuple)]
    if len(geo.cells) > 1 or geo.market_counts is None or len(names) < 2 or not isinstance(geo.budget, float | None):
        return []
    sign = -1 if geo.kind == "go-dark" else 1
    try:
        found = geolift.market_selection(
            _history(study),
            durations=geo.durations,
            market_counts=geo.market_counts,
            effects=[sign * effect for effect in _EFFECTS],
            include=names[0],
            exclude=names[1],
            cost_per_incremental=geo.cost_per_incremental or 1.0,
            budget=geo.budget,
            rng=generator(study.run.seed, "geo", "geolift"),
        )
    except (RefusalError, StudyError):
        return []
    rows: list[dict[str, Any]] = plain(list(found))
    return rows


def best_of_geolift(study: GeoStudy) -> dict[str, Any] | None:
    """Judge the markets of that table's first row as a study's own split; None where there is no row.

    Returns
    -------
    dict
        The evidence of :func:`causalbench.workflow.geo_design.evaluate`.
    """
    rows = geolift_rows(study)
    if not rows:
        return None
    test = Test(cells={study.geo.cells[0]: tuple(rows[0]["markets"])})
    return evaluate(study.model_copy(update={"geo": study.geo.model_copy(update={"test": test})})).to_dict()


def _history(study: GeoStudy) -> Panel:
    return audit_history(read_history(study, study.main_metric), on_missing=study.data.on_missing)[0]
