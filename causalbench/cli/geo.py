"""Commands on geo experiments: design, judge a split, compare with GeoLift; analyze reads a test out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from causalbench.cli import geo_analyze
from causalbench.cli.console import AsJson, StudyPath, explained_wait, print_json, tell

if TYPE_CHECKING:
    from causalbench.study import GeoStudy

app = typer.Typer(
    name="geo",
    help="Experiments on markets: which ones, for how long, what could be detected, and what was.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DesignFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder of the design; default runs/<name>-<digest>, with --json none.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing run in that folder.")]


@app.command("design")
def design(study: StudyPath, out: DesignFolder = None, force: Force = False, as_json: AsJson = False) -> None:
    """Design an experiment: sealed ledger, assignment, evidence, notebook and page in one folder.

    A switchback has a schedule in place of the assignment, and no notebook. With --json and without --out nothing is written,
    the evidence is printed.
    """
    from causalbench.study import GeoStudy

    loaded = GeoStudy.load(study)
    if as_json and out is None:
        print_json(_evidence(loaded))
        return
    from causalbench.report import geo_publish

    publish = geo_publish.run_design if loaded.geo.switchback is None else geo_publish.run_switchback
    published = publish(study, out=out, replace="any run" if force else "nothing", tell=tell)
    if as_json:
        print_json(published.evidence)
        return
    _say_headline(published.evidence)
    folder = published.folder
    who = "assignment" if loaded.geo.switchback is None else "schedule"
    typer.echo(f"\nReport:     {folder / 'report.html'}\n{who.capitalize() + ':':<11} {folder / f'{who}.csv'}")
    typer.echo(f"Ledger:     {folder / 'design.json'}, sealed with {published.evidence['seal']}")


@app.command("power")
def power(study: StudyPath, as_json: AsJson = False) -> None:
    """Judge a split of your own ([geo.test] cells, or a ledger): power, balance and broken rules; nothing is written."""
    from causalbench.study import GeoStudy
    from causalbench.workflow.geo_design import evaluate

    evidence = evaluate(GeoStudy.load(study), tell=tell).to_dict()
    if as_json:
        print_json(evidence)
        return
    from causalbench.report.geo_tables import power_text

    _say_headline(evidence)
    typer.echo(f"\n{power_text(evidence)}")


@app.command("parity")
def parity(as_json: AsJson = False) -> None:
    """Print GeoLift's published walkthrough beside what compat=geolift computes from the same table."""
    from causalbench.workflow.geo_parity import parity_rows

    with explained_wait():
        rows = parity_rows()
    if as_json:
        print_json({"rows": rows})
        return
    from causalbench.report.geo_tables import parity_text

    typer.echo(parity_text(rows))


app.command("analyze")(geo_analyze.analyze)


def _evidence(study: GeoStudy) -> dict[str, Any]:
    from causalbench.workflow.geo_design import design
    from causalbench.workflow.geo_switchback_design import switchback

    return design(study, tell=tell).to_dict() if study.geo.switchback is None else switchback(study, tell=tell)[0]


def _say_headline(evidence: Mapping[str, Any]) -> None:
    headline = evidence["headline"]
    lines = [headline[key] for key in ("sentence", "answer", "why", "size") if headline.get(key)]
    typer.echo("\n".join([*lines, *(f"What would help: {line}" for line in headline.get("help", ()))]))
    for warning in evidence.get("warnings", ()):
        typer.echo(f"Note: {warning}")
