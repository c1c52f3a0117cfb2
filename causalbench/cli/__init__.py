"""Command line: ``main`` runs one command and leaves with a documented exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from causalbench.cli import commands, dag, demo, geo
from causalbench.errors import CausalbenchError, StudyError

app = typer.Typer(
    name="causalbench",
    help="It went out without an A/B test: what did it do, and can we believe it?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        from causalbench import __version__

        typer.echo(__version__)
        raise typer.Exit


app.command("demo")(demo.demo)
app.command("new")(commands.new)
app.command("check")(commands.check)
app.command("advise")(commands.advise)
app.command("lock")(commands.lock)
app.command("run")(commands.run)
app.command("verify")(commands.verify)
app.command("estimate")(commands.estimate)
app.command("doctor")(commands.doctor)
app.add_typer(geo.app)
app.add_typer(dag.app)


def main() -> NoReturn:
    """Run the command line and leave with a documented exit code; a traceback never reaches the user."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        _refuse_repeated_flags(sys.argv[1:])
        app()
    except CausalbenchError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug is reported in one line
        if os.environ.get("CAUSALBENCH_TRACEBACK"):
            traceback.print_exc()
        typer.echo(
            f"internal error: {type(error).__name__}: {error}\n  To mend it: this is a bug in causalbench; please report "
            "it with the output of the same command under CAUSALBENCH_TRACEBACK=1",
            err=True,
        )
    sys.exit(1)


def _stop(*_: object) -> NoReturn:
    """Leave on SIGTERM like on any exception, so that nothing half written stays."""
    sys.exit(143)


def _refuse_repeated_flags(words: list[str]) -> None:
    """Refuse a flag given twice, of which only the last would count; those that take key=value may be repeated."""
    flags = [word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2]
    twice = sorted({flag for flag in flags if flags.count(flag) > 1} - {"--option", "--inference-option"})
    if twice:
        raise StudyError(
            [f"{flag} is given twice; give it once, several names with commas" for flag in twice], where="command line"
        )
