"""Commands on launches that have happened: flags in, one call of the workflow, text or one JSON object out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from causalbench.artifacts import shipped_names
from causalbench.catalogue import Catalogue
from causalbench.cli.console import (
    AsJson,
    Out,
    StudyPath,
    explained_wait,
    names,
    options,
    print_json,
    say_published,
    tell,
)

if TYPE_CHECKING:
    from causalbench.plan.lock import Lock
    from causalbench.study import ComparisonStudy, GeoStudy, Study
    from causalbench.values import Audit
    from causalbench.workflow.verify import Verification

_METHODS = ", ".join(Catalogue("causalbench.estimators", "method").names())
_INFERENCES = ", ".join(Catalogue("causalbench.inference", "inference").names())
_TEMPLATES = ", ".join(shipped_names("notebooks", ".ipynb"))


def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="Folder to make; its last part names the study.")],
    template: Annotated[str, typer.Option(help=f"Notebook to start from, one of: {_TEMPLATES}.")] = "launch_readout",
) -> None:
    """Make a folder with a study file, a small real table and a notebook: it runs at once, then put in your own."""
    from causalbench.workflow.scaffold import scaffold

    files = scaffold(name, template=template)
    typer.echo(f"{name} holds {', '.join(files)}")
    command = {"geo_design": "geo design", "geo_readout": "geo analyze"}.get(template, "run")
    typer.echo(f"Run it:  causalbench {command} {name}\nThen put in your own table and edit {name / 'study.toml'}")


def check(study: StudyPath, as_json: AsJson = False) -> None:
    """Check a study file and audit its data, outcomes after the launch too; estimate nothing. Seal the plan (lock) before."""
    from causalbench.study import ComparisonStudy, GeoStudy, load_study
    from causalbench.workflow.readout import check_study

    loaded = load_study(study)
    if isinstance(loaded, GeoStudy):
        _check_geo(loaded, as_json=as_json)
        return
    if isinstance(loaded, ComparisonStudy):
        _check_comparison(loaded, as_json=as_json)
        return
    audits = check_study(loaded)
    if as_json:
        print_json({"study": loaded.to_dict(), "audits": audits})
        return
    typer.echo(f"{loaded.study.name}: the study file is valid, the data fit {_method_of(loaded)}")
    for metric, audit in audits.items():
        _say_audit(metric, audit)


def advise(study: StudyPath, as_json: AsJson = False) -> None:
    """Say which method may answer a study, which may not and what would lift that; reads no outcome after the launch."""
    from causalbench.report.advice_text import advice_text
    from causalbench.study import load_study
    from causalbench.workflow.advice import advise_study, profile_study

    loaded = load_study(study)
    with explained_wait():
        profile = profile_study(loaded)
    advice = advise_study(loaded, profile=profile).to_dict()
    if as_json:
        print_json({**advice, "profile": profile.to_dict()})
    else:
        typer.echo(advice_text(loaded.to_dict(), advice))


def run(
    study: StudyPath,
    out: Out = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing run in that folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer a study: evidence.json, notebook.ipynb, report.html and figures/ in one folder."""
    from causalbench.report import publish

    published = publish.run(study, out=out, replace="any run" if force else "nothing", tell=tell)
    if as_json:
        print_json(published.evidence)
    else:
        say_published(published)


def lock(
    study: StudyPath,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another plan that is sealed there; the lock names its seal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Seal the plan of a study before its outcome is read: study.lock.json beside the study file.

    Only rows before the launch are read. ``run`` holds itself against the seal and lists what differs.
    """
    from causalbench.plan.lock import Lock, limits_of
    from causalbench.study import load_finished
    from causalbench.workflow.locking import lock_study

    loaded = load_finished(study)
    path = lock_study(loaded, replace=force)
    sealed = Lock.load(path)
    if as_json:
        print_json({"path": str(path), "seal": sealed.seal, "limits": limits_of(sealed), **sealed.content})
        return
    _say_lock(path, sealed)


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.")],
    study: Annotated[Path | None, typer.Option(help="Study file, where it was moved since the run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold a run against its manifest, its sealed plan, its data, and its headline computed again; else exit code 4."""
    from causalbench.workflow.verify import verify_run

    found = verify_run(run, study=study, tell=tell)
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo("\n".join(f"{step.verdict:<8}  {step.name}: {step.reason}" for step in found.steps))
    found.require(run)
    if not as_json:
        _say_verified(run, found)


def estimate(
    method: Annotated[str, typer.Argument(metavar="METHOD", help=f"One of: {_METHODS}.")],
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV or Parquet file, long form; one row per unit for adjustment.")
    ],
    outcome: Annotated[str, typer.Option(help="Column of the outcome.")],
    unit: Annotated[str | None, typer.Option(help="Column of units; methods over periods need it.")] = None,
    period: Annotated[str | None, typer.Option(help="Column of periods; methods over periods need it.")] = None,
    treated: Annotated[str | None, typer.Option(help="Treated units, comma separated; goes with --start.")] = None,
    start: Annotated[str | None, typer.Option(help="First treated period.")] = None,
    cohort: Annotated[str | None, typer.Option(help="Column with each unit's first treated period.")] = None,
    treatment: Annotated[str | None, typer.Option(help="Column of 0 and 1.")] = None,
    inference: Annotated[str | None, typer.Option(help=f"One of: {_INFERENCES}; default by the method's rule.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Option of the method as key=value; repeatable.")] = None,
    inference_option: Annotated[
        list[str] | None, typer.Option(help="Option of the inference as key=value; repeatable.")
    ] = None,
    covariates: Annotated[str | None, typer.Option(help="Columns to adjust for, comma separated.")] = None,
    dag: Annotated[
        Path | None, typer.Option(help="File with the causal graph, which judges covariates or chooses them.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(help="Column of the outcome before the treatment; for methods at one time.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Column of unit sizes: the effect per head of them.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Column of clusters that hold several units.")] = None,
    cost: Annotated[str | None, typer.Option(help="Column of spend, for the incremental return.")] = None,
    denominator: Annotated[str | None, typer.Option(help="Column to divide by: a ratio of sums in every cell.")] = None,
    transform: Annotated[str | None, typer.Option(help="log: effects in log points.")] = None,
    date_format: Annotated[
        str | None, typer.Option(help="How periods are written, such as %d/%m/%Y; default ISO.")
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal mark of numbers stored as text: . or ,")] = None,
    thousands: Annotated[str | None, typer.Option(help="Mark between groups of three digits of such numbers.")] = None,
    on_missing: Annotated[str, typer.Option(help="error, drop_unit, drop_period, zero, impute or keep.")] = "error",
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of whatever is drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Estimate one effect on one table."""
    from causalbench.workflow.request import estimate_request

    data = {
        "source": table.name,
        "unit": unit,
        "period": period,
        "on_missing": on_missing,
        "covariates": names(covariates),
        "before": before,
        "weights": weights,
        "cluster": cluster,
        "cost": cost,
        "date_format": date_format,
        "decimal": decimal,
        "thousands": thousands,
    }
    asked: dict[str, dict[str, Any]] = {
        "study": {"name": "estimate", "question": f"effect on {outcome}"},
        "data": data,
        "metric": {"name": outcome, "column": outcome, "denominator": denominator, "transform": transform},
        "launch": {"units": names(treated), "start": start, "cohort": cohort, "treatment": treatment},
        "method": {
            "name": method,
            "inference": inference,
            "level": level,
            "options": options(option or [], flag="--option"),
            "inference_options": options(inference_option or [], flag="--inference-option"),
        },
        "run": {"seed": seed},
    }
    with explained_wait():
        result = estimate_request(asked, dag=dag, folder=table.parent).to_dict()
    if as_json:
        print_json(result)
    else:
        from causalbench.report.tables import estimate_text

        typer.echo(estimate_text(result))


def doctor(as_json: AsJson = False) -> None:
    """Check this environment: packages, compiled kernels, notebook kernel, folders; exit code 2 when something fails."""
    from causalbench.doctor import as_text, examine, healthy

    lines = examine(tell=tell)
    if as_json:
        print_json({"healthy": healthy(lines), "lines": lines})
    else:
        typer.echo(as_text(lines))
    if not healthy(lines):
        raise typer.Exit(2)


def _check_geo(study: GeoStudy, *, as_json: bool) -> None:
    from causalbench.workflow.geo_ground import check_geo

    found = check_geo(study)
    if as_json:
        print_json({"study": study.to_dict(), "history": found})
        return
    typer.echo(f"{study.study.name}: the study file is valid, the history fits a geo experiment")
    typer.echo(
        f"{found['metric']}: {found['n_markets']} markets, {found['n_periods']} periods, {found['first']} to {found['last']}"
    )
    for finding in found["findings"]:
        typer.echo(f"  {finding.severity} {finding.code}: {finding.message}; {finding.action}")
    if found["rules"]:
        typer.echo(f"rules that can hold together: {'; '.join(found['rules'])}")


def _check_comparison(study: ComparisonStudy, *, as_json: bool) -> None:
    from causalbench.workflow.comparison_readout import check_comparison

    found = check_comparison(study)
    if as_json:
        audits = {metric: audit for metric, (audit, _) in found.items()}
        graphs = {metric: choice.graph for metric, (_, choice) in found.items()}
        print_json({"study": study.to_dict(), "audits": audits, "graph": graphs if study.dag else None})
        return
    typer.echo(f"{study.study.name}: the study file is valid, the data fit {_method_of(study)}")
    for metric, (audit, choice) in found.items():
        seen = audit.coverage
        typer.echo(f"{metric}: {seen['treated_units_used']} treated and {seen['control_units_used']} control units")
        typer.echo(
            f"  covariates{' by the graph' if choice.by_graph else ''}: {', '.join(choice.covariates) or 'none'}"
        )
        for finding in audit.findings:
            typer.echo(f"  {finding.severity} {finding.code}: {finding.message}; {finding.action}")


def _method_of(study: Study | ComparisonStudy) -> str:
    """Name a study's method; of ``auto`` the one it takes."""
    from causalbench.study import AUTO
    from causalbench.workflow.advice import advise_study

    chosen = advise_study(study).chosen if study.method.name == AUTO else None
    return chosen.label if chosen else study.method.name


def _say_audit(metric: str, audit: Audit) -> None:
    seen = audit.coverage
    typer.echo(
        f"{metric}: {seen['treated_units_used']} treated and {seen['control_units_used']} control units, "
        f"{seen['pre_periods_used']} periods before the launch and {seen['post_periods_used']} from it on"
    )
    for finding in audit.findings:
        typer.echo(f"  {finding.severity} {finding.code}: {finding.message}; {finding.action}")


def _say_lock(path: Path, sealed: Lock) -> None:
    from causalbench.plan.lock import limits_of

    content = sealed.content
    when, resolved = content["when_sealed"], content["resolved"]
    typer.echo(f"Sealed: {path}\nSeal:   {sealed.seal}")
    for metric, history in content["history"].items():
        if "last_period_before" in when:
            size = (
                f"{history['n_units']} units, {history['n_periods']} periods, {history['first']} to {history['last']}"
            )
            typer.echo(f"{metric}: read {size}; nothing from the launch on")
        else:
            typer.echo(f"{metric}: read {history['n_units']} units, {history['n_treated']} of them treated; no outcome")
    typer.echo(
        f"Method: {resolved['method']['name']}, inference {resolved['method']['inference'] or 'by its own rule'}"
    )
    typer.echo("\nKeep the seal where others can see its date: commit the file, or send the seal to somebody.")
    typer.echo("\n".join(f"  {line}" for line in limits_of(sealed)))


def _say_verified(run: Path, found: Verification) -> None:
    if found.complete:
        typer.echo(f"\n{run} is the run that was published.")
    else:
        typer.echo(f"\nNothing in {run} was changed as far as this could be checked; see what was not done above.")
    typer.echo(
        f"Its manifest has the seal {found.seal}.\nWho changes every file can write a new manifest: compare the seal with one "
        "that was kept elsewhere."
    )
