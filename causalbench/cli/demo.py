"""``causalbench demo``: the main job on a real launch, or on a simulated one whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from causalbench.cli.console import Out, say_published, tell
from causalbench.cli.geo_analyze import say_readout
from causalbench.errors import StudyError


def demo(
    out: Out = None,
    scenario: Annotated[
        str | None, typer.Option(help="A simulated launch with a known truth instead: A1 to A15, without A4 and A14.")
    ] = None,
    twin: Annotated[bool, typer.Option("--no-effect", help="The same scenario with nothing in it.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the scenario; default 0.")] = None,
) -> None:
    """Run the main job on a real launch that ships with the package (40 cities, a campaign in two).

    A scenario's folder holds its study, which can be edited and run again, and the run.
    """
    if scenario is not None:
        _scenario(scenario, out=out, effect=not twin, seed=seed or 0)
        return
    if twin or seed is not None:
        raise StudyError(["--no-effect and --seed go with --scenario"], where="command line")
    from causalbench.data.datasets import study_path
    from causalbench.report import publish

    say_published(publish.run(study_path("geolift"), out=out, replace="same study", tell=tell))


def _scenario(name: str, *, out: Path | None, effect: bool, seed: int) -> None:
    """Write a simulated study, answer it, and say the truth beside the answer."""
    from causalbench.data import scenarios
    from causalbench.report import geo_publish, publish
    from causalbench.study import GeoStudy, load_study

    drawn = scenarios.draw(name, seed=seed, effect=effect)
    folder = out or Path("runs") / f"{name}-{'effect' if effect else 'nothing'}-{seed}"
    study = scenarios.write(name, folder / "study", seed=seed, effect=effect)
    if isinstance(load_study(study), GeoStudy):
        published = geo_publish.run_readout(study, out=folder / "run", replace="same study", tell=tell)
        say_readout(published.evidence, published.folder)
    else:
        published = publish.run(study, out=folder / "run", replace="same study", tell=tell)
        say_published(published)
    typer.echo(f"Study:    {study}\nTruth:    {_said(drawn.truth)}")


def _said(truth: Mapping[str, Any]) -> str:
    return "; ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in truth.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
