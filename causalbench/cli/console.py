"""What all commands share: arguments, words on stderr, one JSON object on stdout, and patience explained."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from causalbench.errors import StudyError

FIRST_USE = (
    "still working: the first use of a method compiles it, up to half a minute (causalbench doctor does it ahead)"
)
PATIENCE = 4.0
"""Seconds."""

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="Study file, or the folder that holds study.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; default runs/<name>-<digest>.")]


def names(text: str | None) -> list[str] | None:
    """Read names with commas between them."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def options(pairs: list[str], *, flag: str) -> dict[str, str]:
    """Read pairs of key=value."""
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise StudyError([f"{flag} {pair!r} isn't key=value" for pair in wrong], where="command line")
    keys = [pair.partition("=")[0] for pair in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise StudyError([f"{flag} {key} is given twice" for key in twice], where="command line")
    return dict(pair.split("=", 1) for pair in pairs)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    from causalbench.artifacts import canonical_json

    typer.echo(canonical_json(value))


def tell(message: str) -> None:
    """Say something on stderr."""
    typer.echo(message, err=True)


@contextmanager
def explained_wait() -> Iterator[None]:
    """Say what takes so long, on stderr, where something takes longer than a person waits without a word."""
    timer = threading.Timer(PATIENCE, tell, [FIRST_USE])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say_published(published: Any) -> None:
    """Say what a run found, what to do, and where its files are."""
    from causalbench.artifacts import MANIFEST

    evidence, folder = published.evidence, published.folder
    headline, plan, graded = evidence["headline"], evidence.get("plan"), evidence.get("grade")
    if plan and plan["status"] != "none":
        typer.echo("\n".join([plan["text"], *(f"  - {line}" for line in (*plan["differences"], *plan["notes"]))]))
        typer.echo("")
    lines = [headline.get("override"), *(headline[key] for key in ("sentence", "answer", "why"))]
    typer.echo("\n".join(line for line in lines if line))
    if graded:
        action = evidence["decision"]["recommendation"]
        typer.echo(f"\n{action['action'].capitalize()}: {action['reasons'][0]}")
        typer.echo(f"Grade {graded['grade']}, {graded['meaning']}.")
        typer.echo(f"\nDecision: {folder / 'decision.html'}\nReport:   {folder / 'report.html'}")
    else:
        typer.echo(f"\nReport:   {folder / 'report.html'}")
    typer.echo(f"Notebook: {folder / 'notebook.ipynb'}\nEvidence: {folder / 'evidence.json'}")
    if published.seal:
        typer.echo(f"Manifest: {folder / MANIFEST}, sealed with {published.seal}")
