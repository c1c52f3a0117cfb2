"""``causalbench geo analyze``: how a geo test came out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from causalbench.cli.console import AsJson, Out, StudyPath, print_json, tell


def analyze(
    study: StudyPath,
    out: Out = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing run in that folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read out a geo test: delivery, effects by cell, other methods, incremental return; one folder like ``run``.

    With ``--json`` and without ``--out`` nothing is written: the evidence is printed.
    """
    if as_json and out is None:
        from causalbench.study import GeoStudy
        from causalbench.workflow.geo_analysis import analyse_study

        print_json(analyse_study(GeoStudy.load(study), tell=tell).to_dict())
        return
    from causalbench.report.geo_publish import run_readout

    published = run_readout(study, out=out, replace="any run" if force else "nothing", tell=tell)
    if as_json:
        print_json(published.evidence)
    else:
        say_readout(published.evidence, published.folder)


def say_readout(evidence: Mapping[str, Any], folder: Path) -> None:
    """Say what a geo test found and where its files are."""
    headline = evidence["headline"]
    if headline["stamp"]:
        typer.echo(headline["stamp"])
    typer.echo("\n".join(headline[key] for key in ("sentence", "answer", "why", "assignment") if headline[key]))
    for doubt in headline["reservations"]:
        typer.echo(f"  {doubt['verdict']}: {doubt['question']} {doubt['reason']}")
    for deviation in evidence["plan"]["deviations"]:
        typer.echo(f"  deviation: {deviation}")
    typer.echo(f"\nReport:   {folder / 'report.html'}")
    typer.echo(f"Notebook: {folder / 'notebook.ipynb'}\nEvidence: {folder / 'evidence.json'}")
