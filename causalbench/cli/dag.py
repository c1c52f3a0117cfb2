"""Commands on causal graphs: a verdict on every node, sets to adjust for, identification, and what the graph claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from causalbench.cli.console import AsJson, names, options, print_json
from causalbench.errors import OutputError, RefusalError, StudyError, listing, require_one_of

if TYPE_CHECKING:
    from causalbench.dag import Graph
    from causalbench.dag.roles import Audit
    from causalbench.workflow.graph_test import GraphTest

app = typer.Typer(
    name="dag",
    help="Causal graphs: what to adjust for and why, what can be identified, and what the graph claims about data. Leaves with 3 "
    "where the answer is no.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

GraphPath = Annotated[
    Path, typer.Argument(metavar="GRAPH", help="File with dagitty text, DOT, GML or an edge list in CSV.")
]
Exposure = Annotated[
    str | None, typer.Option(help="Node whose effect is asked for; default: the one marked [exposure].")
]
Outcome = Annotated[str | None, typer.Option(help="Node it has an effect on; default: the one marked [outcome].")]
Table = Annotated[
    Path | None, typer.Option("--data", help="CSV or Parquet file; nodes without a column count as latent.")
]
Before = Annotated[
    str | None, typer.Option(help="Nodes that come before the exposure; a path from it to them is an error.")
]
Limit = Annotated[int, typer.Option(min=1, help="Most sets or claims that are listed.")]
Seconds = Annotated[float, typer.Option(min=0, help="Time after which no further piece of work begins.")]
_MOST_DRAWN = 200
_LARGE = 20_000
"""Nodes above which one set is listed, as all of them together would need too much memory."""


@app.command("audit")
def audit(
    graph: GraphPath,
    exposure: Exposure = None,
    outcome: Outcome = None,
    data: Table = None,
    before: Before = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the graph into this SVG file.")] = None,
    seconds: Seconds = 20,
    as_json: AsJson = False,
) -> None:
    """Say of every node whether to adjust for it, with the path that shows why."""
    from causalbench.dag.roles import audit as audited
    from causalbench.workflow.graph_rules import graph_section

    asked = _ask(graph, exposure, outcome, data, before)
    if draw is not None:
        _require_drawable(asked.graph, draw)
    found = audited(asked.graph, asked.exposure, asked.outcome, seconds=seconds)
    section = graph_section(asked.graph, found)
    if draw is not None:
        _draw(section, draw)
    if as_json:
        print_json({**section, "absent": asked.absent, "complete": found.complete})
    else:
        _say_audit(asked, found, section["sentence"], seconds)
    _leave(possible=found.minimal is not None)


def _say_audit(asked: _Asked, found: Audit, sentence: str, seconds: float) -> None:
    typer.echo(sentence)
    if found.optimal and found.optimal != found.minimal:
        typer.echo(f"Smallest variance: {', '.join(sorted(found.optimal))}.")
    for verdict in found.verdicts:
        path = f": {verdict.path}" if verdict.path else ""
        typer.echo(f"  {verdict.advice.value:<8}  {verdict.node} ({verdict.role.value}): {verdict.reason}{path}")
    _say_absent(asked.absent)
    if not found.complete:
        judged, unsought = len(found.verdicts), found.repair is not None and not found.repair.complete
        more = "; there may be a cheaper way out, or another" if unsought else ""
        typer.echo(
            f"Incomplete: {judged} of {len(asked.graph.nodes) - 2} nodes judged in {seconds:g} seconds (--seconds){more}."
        )


@app.command("adjust")
def adjust(
    graph: GraphPath,
    exposure: Exposure = None,
    outcome: Outcome = None,
    data: Table = None,
    before: Before = None,
    effect: Annotated[str, typer.Option(help="total, or direct: not through other nodes.")] = "total",
    include: Annotated[str | None, typer.Option(help="Nodes that every set must hold, comma separated.")] = None,
    exclude: Annotated[str | None, typer.Option(help="Nodes that no set may hold, comma separated.")] = None,
    costs: Annotated[
        str | None, typer.Option(help="What measuring costs, as a=3,b=0.5; 1 where it isn't said.")
    ] = None,
    limit: Limit = 100,
    seconds: Seconds = 20,
    as_json: AsJson = False,
) -> None:
    """List the minimal sets to adjust for, a cheapest one, and the one with the smallest variance."""
    asked = _ask(graph, exposure, outcome, data, before)
    found = _sets(asked, effect, names(include) or [], names(exclude) or [], _costs(costs), limit, seconds)
    if as_json:
        print_json({**found, "absent": asked.absent})
    else:
        _say_sets(asked, found, priced=costs is not None)
    _leave(possible=found["answer"] != "impossible")


def _say_sets(asked: _Asked, found: Mapping[str, Any], *, priced: bool) -> None:
    typer.echo(found["sentence"])
    for one in found["minimal_sets"]:
        typer.echo(f"  {{{', '.join(one)}}}")
    if found["cheapest"] is not None and priced:
        typer.echo(f"Cheapest: {{{', '.join(found['cheapest'])}}}.")
    if found["optimal"] is not None:
        typer.echo(f"Smallest variance: {{{', '.join(found['optimal'])}}}.")
    _say_absent(asked.absent)
    if not found["complete"]:
        listed = len(found["minimal_sets"])
        why = f"graphs over {_LARGE:,} nodes get one" if len(asked.graph.nodes) > _LARGE else "--limit, --seconds"
        typer.echo(f"Incomplete: {listed} {'set' if listed == 1 else 'sets'} listed; there may be more ({why}).")


@app.command("identify")
def identify(
    graph: GraphPath,
    exposure: Exposure = None,
    outcome: Outcome = None,
    data: Table = None,
    before: Before = None,
    limit: Limit = 100,
    seconds: Seconds = 20,
    as_json: AsJson = False,
) -> None:
    """Decide whether the effect can be written in what is measured: by adjustment, front door, instrument or at all."""
    asked = _ask(graph, exposure, outcome, data, before)
    found = _identified(asked, limit, seconds)
    if as_json:
        print_json({**found, "absent": asked.absent})
    else:
        _say_identified(asked, found)
    _leave(possible=found["identified"] is not False)


def _say_identified(asked: _Asked, found: Mapping[str, Any]) -> None:
    typer.echo(found["sentence"])
    if found["functional"]:
        typer.echo(f"P({asked.outcome} | do({asked.exposure})) = {found['functional']}")
    if found["whatever"]:
        typer.echo(f"  whatever the value of {' and '.join(found['whatever'])}")
    if found["front_door_sets"]:
        typer.echo(f"Front door: {_braces(found['front_door_sets'])}")
    for instrument in found["instruments"]:
        given = f" given {', '.join(instrument['given'])}" if instrument["given"] else ""
        typer.echo(f"Instrument: {instrument['node']}{given}")
    _say_absent(asked.absent)
    if not found["complete"]:
        typer.echo("Incomplete: the search ended before it was through (--limit, --seconds).")


@app.command("implications")
def implications(
    graph: GraphPath,
    data: Table = None,
    permutations: Annotated[
        int, typer.Option(min=0, help="Relabelings of the nodes to compare the graph with.")
    ] = 1000,
    level: Annotated[float, typer.Option(help="Confidence level of the tests.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the relabelings.")] = 0,
    limit: Limit = 100,
    seconds: Seconds = 20,
    as_json: AsJson = False,
) -> None:
    """List the independences that the graph implies; with --data test them, one for every missing edge."""
    from causalbench.dag.budget import Deadline, take
    from causalbench.dag.files import read_graph
    from causalbench.dag.implications import implied_independences

    read = read_graph(graph)
    if data is not None:
        tested = _test(read, data, permutations=permutations, level=level, seed=seed, seconds=seconds)
        _say_test(tested, limit=limit, as_json=as_json)
        return
    deadline = Deadline.after(seconds)
    taken = take(implied_independences(read, deadline=deadline), limit=limit, deadline=deadline)
    claims = [{"x": c.x, "y": c.y, "given": sorted(c.given), "sentence": str(c)} for c in taken.items]
    if as_json:
        print_json({"claims": claims, "complete": taken.complete})
        return
    for claim in claims:
        typer.echo(claim["sentence"])
    if not claims and taken.complete:
        typer.echo("The graph implies no independence between measured nodes.")
    if not taken.complete:
        typer.echo(f"Incomplete: {len(claims)} listed; there may be more (--limit, --seconds).")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A graph with its question; ``absent`` nodes have no column in the table."""

    graph: Graph
    exposure: str
    outcome: str
    absent: tuple[str, ...]


def _ask(path: Path, exposure: str | None, outcome: str | None, data: Path | None, before: str | None) -> _Asked:
    """Read graph and question; a question without sense is bad input (exit code 2)."""
    from causalbench.dag.files import read_graph
    from causalbench.dag.roles import require_effect

    graph = read_graph(path)
    missing = [
        what
        for what, name in (("exposure", exposure or graph.exposure), ("outcome", outcome or graph.outcome))
        if not name
    ]
    if missing:
        raise StudyError(
            [f'--{what} is missing, and the graph marks none: give it, or write "name [{what}]"' for what in missing],
            where="command line",
        )
    x, y = str(exposure or graph.exposure), str(outcome or graph.outcome)
    require_effect(graph, x, y)
    graph.require_before(names(before) or [], x)
    absent: tuple[str, ...] = ()
    if data is not None:
        graph, absent = _measured_in(graph, data, (x, y))
    return _Asked(graph=graph, exposure=x, outcome=y, absent=absent)


def _measured_in(graph: Graph, data: Path, ends: tuple[str, str]) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph with nodes that the table lacks marked latent, and their names."""
    from causalbench.errors import DataError, nearest
    from causalbench.workflow.graph_data import open_table, replace_latents

    source = open_table(data)
    columns = list(source.frame.collect_schema())
    lacking = [name for name in ends if name not in columns]
    if lacking:
        found = listing(f"{name!r}{nearest(name, columns)}" for name in lacking)
        raise DataError(f"{source.origin} lacks {found}", remedy="name nodes as the table's columns are named")
    absent = tuple(name for name in graph.nodes if name not in columns and name not in graph.latents | graph.selected)
    return replace_latents(graph, absent), absent


def _sets(
    asked: _Asked,
    effect: str,
    include: list[str],
    exclude: list[str],
    costs: Mapping[str, float] | None,
    limit: int,
    seconds: float,
) -> dict[str, Any]:
    from causalbench.dag import minimal_adjustment_set, minimal_adjustment_sets, optimal_adjustment_set
    from causalbench.dag.budget import Deadline, Taken, take

    kind = _effect(effect)
    question = (asked.graph, asked.exposure, asked.outcome, kind)
    one = minimal_adjustment_set(*question, include=include, exclude=exclude)
    if one is None or len(asked.graph.nodes) > _LARGE:
        taken = Taken(items=() if one is None else (one,), complete=one is None)
    else:
        deadline = Deadline.after(seconds)
        sets = minimal_adjustment_sets(*question, include=include, exclude=exclude, deadline=deadline)
        taken = take(sets, limit=limit, deadline=deadline)
    cheapest = (
        one if costs is None else minimal_adjustment_set(*question, include=include, exclude=exclude, costs=costs)
    )
    optimal = None
    if kind == "total" and not include and not exclude:
        optimal = optimal_adjustment_set(asked.graph, asked.exposure, asked.outcome)
    answer, sentence, more = _answered(asked, one, kind, restricted=bool(include or exclude), seconds=seconds)
    return {
        "exposure": asked.exposure,
        "outcome": asked.outcome,
        "effect": kind,
        "answer": answer,
        "sentence": sentence,
        "minimal_sets": [sorted(found) for found in taken.items],
        "cheapest": None if cheapest is None else sorted(cheapest),
        "optimal": None if optimal is None else sorted(optimal),
        "complete": taken.complete,
        **more,
    }


def _answered(
    asked: _Asked, one: frozenset[str] | None, kind: str, *, restricted: bool, seconds: float
) -> tuple[str, str, dict[str, Any]]:
    """Return the answer, its sentence, and for an impossible one the open path and the repair."""
    from causalbench.dag import minimal_adjustment_set
    from causalbench.dag.roles import audit as audited
    from causalbench.workflow.graph_rules import graph_section

    nothing: dict[str, Any] = {"open_path": None, "repair": None}
    if one is not None:
        if one:
            return (
                "adjust",
                f"Adjust for one of these sets ({kind} effect of {asked.exposure} on {asked.outcome}):",
                nothing,
            )
        return "nothing needed", f"Nothing needed: the {kind} effect is what the data show without adjustment.", nothing
    if restricted or kind == "direct":
        under = " under --include and --exclude" if restricted else ""
        free = minimal_adjustment_set(asked.graph, asked.exposure, asked.outcome, _effect(kind)) if restricted else None
        more = "" if free is None else f" Without them this set is enough: {', '.join(sorted(free)) or 'none at all'}."
        return "impossible", f"Impossible: no set of measured nodes identifies the {kind} effect{under}.{more}", nothing
    section = graph_section(asked.graph, audited(asked.graph, asked.exposure, asked.outcome, seconds=seconds))
    return "impossible", section["sentence"], {"open_path": section["open_path"], "repair": section["repair"]}


def _identified(asked: _Asked, limit: int, seconds: float) -> dict[str, Any]:
    from causalbench.dag import front_door_sets, minimal_adjustment_set
    from causalbench.dag import identify as identified
    from causalbench.dag.budget import Deadline, take
    from causalbench.dag.identification import free_names
    from causalbench.dag.instruments import each_instrument

    graph, x, y = asked.graph, asked.exposure, asked.outcome
    adjustment = minimal_adjustment_set(graph, x, y)
    found = identified(graph, x, y, seconds=seconds / 2)
    deadline = Deadline.after(seconds / 4)
    doors = take(front_door_sets(graph, x, y, deadline=deadline), limit=limit, deadline=deadline)
    deadline = Deadline.after(seconds / 4)
    moving = take(each_instrument(graph, x, y, deadline=deadline), limit=limit, deadline=deadline)
    functional, whatever = None, list[str]()
    if found.functional is not None and not graph.selected:
        printed = len(graph.nodes) <= 500
        functional = str(found.functional) if printed else "too long to print"
        whatever = sorted(free_names(found.functional) - {x, y}) if printed else []
    if adjustment is None and graph.selected:
        sentence = (
            f"Not identified by adjustment; whether otherwise isn't decided for a sample selected on "
            f"{listing(sorted(graph.selected))}."
        )
    elif adjustment is not None:
        by = f"by adjustment for {', '.join(sorted(adjustment))}" if adjustment else "without adjustment"
        sentence = f"Identified {by}."
    elif found.identified:
        sentence = "Identified, though not by adjustment."
    elif found.hedge is not None:
        sentence = f"Not identified: {found.hedge}."
    else:
        sentence = f"Undecided: the search ended before it was through ({seconds:g} seconds allowed)."
    return {
        "exposure": x,
        "outcome": y,
        "identified": True
        if adjustment is not None or (found.identified and not graph.selected)
        else False
        if found.hedge
        else None,
        "sentence": sentence,
        "adjustment": None if adjustment is None else sorted(adjustment),
        "functional": functional,
        "whatever": whatever,
        "hedge": None
        if found.hedge is None
        else {"larger": sorted(found.hedge.larger), "smaller": sorted(found.hedge.smaller)},
        "front_door_sets": [sorted(door) for door in doors.items],
        "instruments": [{"node": z.node, "given": sorted(z.given)} for z in moving.items],
        "complete": found.complete and doors.complete and moving.complete,
    }


def _test(graph: Graph, data: Path, *, permutations: int, level: float, seed: int, seconds: float) -> GraphTest:
    from causalbench.study.tables import LEVEL_RULE
    from causalbench.workflow.estimate import generator
    from causalbench.workflow.graph_data import open_table
    from causalbench.workflow.graph_test import hold_against

    if not 0.5 < level < 1:
        raise StudyError([f"--level: {LEVEL_RULE}, found {level:g}"], where="command line")
    rng = generator(seed, "graph", "relabelings")
    return hold_against(graph, open_table(data), rng=rng, level=level, n_permutations=permutations, seconds=seconds)


def _say_test(found: GraphTest, *, limit: int, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
        return
    typer.echo(f"{found.verdict}: {found.sentence}")
    _lines((f"  {suspect}" for suspect in found.suspects), limit)
    for note in found.notes:
        typer.echo(f"Note: {note}.")
    if found.falsification is not None and not found.falsification.complete:
        typer.echo(f"Incomplete: {found.falsification.n_permutations} relabelings were tried.")


def _lines(lines: Iterable[str], limit: int) -> None:
    shown = list(lines)
    for line in shown[:limit]:
        typer.echo(line)
    if len(shown) > limit:
        typer.echo(f"  and {len(shown) - limit} more (--limit)")


def _leave(*, possible: bool) -> None:
    """Leave with the code of what isn't identified where the answer is no."""
    if not possible:
        raise typer.Exit(RefusalError.exit_code)


def _effect(effect: str) -> Literal["total", "direct"]:
    require_one_of("--effect", effect, ("total", "direct"))
    return "direct" if effect == "direct" else "total"


def _costs(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    found = {}
    for name, value in options(names(text) or [], flag="--costs").items():
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise StudyError([f"--costs {name}={value!r} isn't a number"], where="command line") from None
    return found


def _braces(sets: Iterable[Iterable[str]]) -> str:
    return ", ".join(f"{{{', '.join(one)}}}" for one in sets)


def _say_absent(absent: tuple[str, ...]) -> None:
    if absent:
        typer.echo(f"Note: no column in the table, so taken as latent: {listing(absent, limit=20)}.")


def _require_drawable(graph: Graph, path: Path) -> None:
    """Refuse a drawing before anything is computed: one with another ending than SVG's, or of too many nodes to read."""
    if path.suffix.lower() != ".svg":
        raise OutputError(
            f"--draw writes SVG, not {path.suffix or 'a file without ending'}", remedy="end its name in .svg"
        )
    if len(graph.nodes) > _MOST_DRAWN:
        raise OutputError(
            f"a graph of {len(graph.nodes):,} nodes is too large to draw: the most is {_MOST_DRAWN}",
            remedy="draw the part around exposure and outcome",
        )


def _draw(section: Mapping[str, Any], path: Path) -> None:
    from causalbench.report.dag_drawing import draw

    try:
        path.write_text(draw(section).svg, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error}", remedy="name a file in a folder that exists") from None
