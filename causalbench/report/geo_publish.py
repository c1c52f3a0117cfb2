"""A geo design on disk: sealed ledger, assignment, evidence, figures, page and executed notebook, together or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalbench.artifacts import EVIDENCE, canonical_json, digest, require_free, run_folder, way_to, write_manifest
from causalbench.geo.ledger import ASSIGNMENT, LEDGER
from causalbench.report import geo_design_page, geo_readout_page, geo_switchback_page
from causalbench.report.publish import Published, Replace, Tell, publish
from causalbench.study import GeoStudy
from causalbench.workflow.geo_analysis import analyse_study
from causalbench.workflow.geo_design import Design, design
from causalbench.workflow.geo_switchback import schedule_csv
from causalbench.workflow.geo_switchback_design import SCHEDULE, switchback

TEMPLATE = "geo_design"


def run_design(
    path: Path, *, out: Path | None = None, replace: Replace = "nothing", tell: Tell = lambda _: None
) -> Published:
    """Design a geo experiment and publish it in one folder.

    The folder holds ``design.json`` (the sealed ledger), ``assignment.csv``, ``evidence.json``, ``report.html``, ``figures/`` and
    ``notebook.ipynb``.

    Parameters
    ----------
    path
        Study file or its folder.
    out
        Folder of the design; ``runs/<name>-<digest>`` by default.
    replace
        What may be overwritten: nothing, an earlier run of a study of this name, or any run.

    Raises
    ------
    CausalbenchError
        For whatever is wrong; nothing is published then and what was there stays.
    """
    study = GeoStudy.load(path)
    made: list[Design] = []

    def answer() -> Design:
        made.append(design(study, tell=tell))
        return made[0]

    def write(evidence: Mapping[str, Any], folder: Path) -> None:
        (folder / LEDGER).write_text(made[0].ledger.to_json(), encoding="utf-8")
        (folder / ASSIGNMENT).write_bytes(made[0].ledger.assignment_csv().encode())
        geo_design_page.write(evidence, folder)

    return publish(path, study.study.name, answer, write=write, template=TEMPLATE, out=out, replace=replace, tell=tell)


def run_switchback(
    path: Path, *, out: Path | None = None, replace: Replace = "nothing", tell: Tell = lambda _: None
) -> Published:
    """Draw a switchback schedule and publish it: ``design.json``, ``schedule.csv``, ``evidence.json`` and ``report.html``.

    Parameters are those of :func:`run_design`; "same study" is taken as "nothing" here.
    """
    study, force = GeoStudy.load(path), replace == "any run"
    if out is not None:
        require_free(out, replace=force)
    evidence, ledger = switchback(study, tell=tell)
    folder = out or Path("runs") / f"{study.study.name}-{ledger.seal[:12]}"
    with run_folder(folder, replace=force) as work:
        (work / EVIDENCE).write_text(canonical_json(evidence, indent=1) + "\n", encoding="utf-8")
        (work / LEDGER).write_text(ledger.to_json(), encoding="utf-8")
        (work / SCHEDULE).write_bytes(schedule_csv(evidence["schedule"]).encode())
        tell("writing the report")
        geo_switchback_page.write(evidence, work)
        seal = write_manifest(work, evidence=digest(evidence), study=way_to(path, folder))
    return Published(folder=folder, evidence=evidence, seal=seal)


def run_readout(
    path: Path, *, out: Path | None = None, replace: Replace = "nothing", tell: Tell = lambda _: None
) -> Published:
    """Read out a geo test and publish it in one folder, like a launch; parameters are those of :func:`run_design`."""
    study = GeoStudy.load(path)
    return publish(
        path,
        study.study.name,
        lambda: analyse_study(study, tell=tell),
        write=geo_readout_page.write,
        template="geo_readout",
        out=out,
        replace=replace,
        tell=tell,
    )
