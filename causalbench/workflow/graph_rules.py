"""What a causal graph allows a study to adjust for, and what it refuses, with the path that shows why."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from causalbench.dag import Graph, is_adjustment_set, minimal_adjustment_set, optimal_adjustment_set
from causalbench.dag.adjustment import forbidden_nodes, question
from causalbench.dag.files import read_graph
from causalbench.dag.roles import Advice, Audit, Repair, audit, require_effect
from causalbench.dag.separation import open_path
from causalbench.errors import GraphError, RefusalError, listing
from causalbench.study import Study


def ends_of(graph: Graph, *, exposure: Iterable[str | None], outcome: Iterable[str | None]) -> tuple[str, str]:
    """Return exposure and outcome: as the graph marks them, or else the first of the given names that it has.

    Raises
    ------
    GraphError
        Where the graph marks none and has none of the names.
    """
    return (
        named_node(graph, graph.exposure, exposure, what="exposure"),
        named_node(graph, graph.outcome, outcome, what="outcome"),
    )


def named_node(graph: Graph, marked: str | None, candidates: Iterable[str | None], *, what: str) -> str:
    """Return the node that the graph marks, or the first of some names that it has; neither is an error."""
    if marked is not None:
        return marked
    names = [name for name in candidates if name]
    found = next((name for name in names if name in graph.number), None)
    if found is None:
        looked = f", and has none of {listing(map(repr, names))}" if names else ""
        raise GraphError(f"the graph marks no {what}{looked}", remedy=f'mark it in the graph: "name [{what}]"')
    return found


def refuse_descendants(graph: Graph, exposure: str, covariates: Collection[str]) -> None:
    """Refuse covariates that follow from the launch: no panel design may hold them, whatever else it does.

    Raises
    ------
    GraphError
        For covariates that the graph doesn't know, or calls latent.
    RefusalError
        With the directed path from the launch to each covariate.

    Examples
    --------
    >>> graph = Graph.parse("launch -> visits -> sales ; launch -> sales ; income -> sales")
    >>> refuse_descendants(graph, "launch", ["income"])
    >>> refuse_descendants(graph, "launch", ["visits"])
    Traceback (most recent call last):
    causalbench.errors.RefusalError: 1 covariate follows from the launch: visits (launch -> visits)
      To mend it: take visits out of covariates: it takes away part of the effect, or lets the effect in by another door
    """
    require_covariates(graph, covariates)
    (x,) = graph.require((exposure,), what="exposure")
    after = graph.names(i for i in graph.descendants({x}) if i < len(graph.nodes)) & frozenset(covariates)
    if not after:
        return
    wrong = [name for name in covariates if name in after]
    shown = "; ".join(
        f"{name} ({graph.directed_path(x, graph.number[name])})" if name != exposure else f"{name} (the launch itself)"
        for name in wrong
    )
    count = "1 covariate follows" if len(wrong) == 1 else f"{len(wrong)} covariates follow"
    harm = (
        "it takes away part of the effect, or lets the effect"
        if len(wrong) == 1
        else "they take away part of the effect, or let the effect"
    )
    raise RefusalError(
        f"{count} from the launch: {shown}",
        remedy=f"take {', '.join(wrong)} out of covariates: {harm} in by another door",
    )


def require_covariates(graph: Graph, covariates: Iterable[str]) -> None:
    """Refuse covariates that aren't nodes of the graph, or that it calls latent although there is a column of them."""
    chosen = tuple(covariates)
    graph.require(chosen, what="covariate")
    hidden = sorted(graph.latents & frozenset(chosen))
    if hidden:
        raise GraphError(
            f"the graph calls covariates latent: {', '.join(hidden)}",
            remedy="if they are measured, take the mark out of the graph; if not, out of covariates",
        )


def check_covariates(graph: Graph, exposure: str, outcome: str, covariates: Collection[str]) -> Audit:
    """Refuse covariates that don't identify the effect in a comparison at one time; return the graph's audit.

    Any valid adjustment set passes, also one that is larger than it need be.

    Raises
    ------
    GraphError
        For unknown or latent covariates, and for exposure and outcome that make no question.
    RefusalError
        Where a covariate may not be adjusted for, where a path stays open, or where no set of measured nodes does: with the
        path, and with what would help.

    Examples
    --------
    >>> graph = Graph.parse("age -> d ; age -> y ; d -> m -> y")
    >>> check_covariates(graph, "d", "y", ["age"]).answer
    'adjust'
    >>> check_covariates(graph, "d", "y", ["age", "m"])
    Traceback (most recent call last):
    causalbench.errors.RefusalError: the graph forbids adjusting for m (mediator): it carries part of the effect, which \
adjusting would take away: d -> m -> y
      To mend it: take m out of covariates; this set is enough: age
    """
    require_covariates(graph, covariates)
    found = audit(graph, exposure, outcome)
    if is_adjustment_set(graph, exposure, outcome, covariates):
        return found
    if found.minimal is None:
        raise RefusalError(impossible(found), remedy=remedy_of(found.repair))
    enough = f"this set is enough: {', '.join(sorted(found.minimal)) or 'none at all'}"
    wrong = _biasing(graph, found, covariates)
    if wrong:
        reasons = "; ".join(
            f"{v.node} ({v.role.value}): {v.reason}{': ' + v.path if v.path else ''}"
            for v in found.verdicts
            if v.node in wrong
        )
        names = ", ".join(v.node for v in found.verdicts if v.node in wrong)
        raise RefusalError(
            f"the graph forbids adjusting for {reasons}", remedy=f"take {names} out of covariates; {enough}"
        )
    missing = minimal_adjustment_set(graph, exposure, outcome, include=tuple(covariates))
    add = "" if missing is None else f"add {', '.join(sorted(missing - frozenset(covariates)))}, or: "
    raise RefusalError(
        f"given {', '.join(covariates) or 'nothing'}, this path stays open: {_left_open(graph, found, covariates)}",
        remedy=f"{add}{enough}",
    )


def _biasing(graph: Graph, found: Audit, covariates: Collection[str]) -> frozenset[str]:
    """Return the chosen covariates that no set may hold, or else those that open a path."""
    chosen = frozenset(covariates)
    never = forbidden_nodes(graph, found.exposure, found.outcome) | {found.exposure, found.outcome}
    return chosen & never or chosen & {v.node for v in found.verdicts if v.advice is Advice.MUST_NOT}


def _left_open(graph: Graph, found: Audit, covariates: Collection[str]) -> str:
    asked = question(graph, found.exposure, found.outcome)
    return open_path(graph, asked.x, asked.y, graph.group(covariates) | asked.include, cut=asked.cut) or ""


def choose_covariates(graph: Graph, exposure: str, outcome: str, *, columns: Collection[str]) -> tuple[str, ...]:
    """Return the covariates that the graph asks for: the set of smallest variance, or else a minimal one, sorted.

    Parameters
    ----------
    graph, exposure, outcome
        What is asked.
    columns
        Columns of the table: a node that isn't among them counts as not measured.

    Raises
    ------
    RefusalError
        Where no set of the table's columns identifies the effect: with the open path, or the columns that are missing.

    Examples
    --------
    >>> graph = Graph.parse("age -> d ; age -> y ; d -> y ; income -> y")
    >>> choose_covariates(graph, "d", "y", columns=["age", "income", "d", "y"])
    ('age', 'income')
    """
    require_effect(graph, exposure, outcome)
    smallest = minimal_adjustment_set(graph, exposure, outcome)
    if smallest is None:
        found = audit(graph, exposure, outcome)
        raise RefusalError(impossible(found), remedy=remedy_of(found.repair))
    best = optimal_adjustment_set(graph, exposure, outcome)
    if best is not None and best <= frozenset(columns):
        return tuple(sorted(best))
    absent = [name for name in graph.nodes if name not in columns and name not in (exposure, outcome)]
    held = [name for name in absent if name not in graph.selected]
    chosen = minimal_adjustment_set(graph, exposure, outcome, exclude=held)
    if chosen is None:
        needed = ", ".join(sorted(smallest - frozenset(columns)))
        raise RefusalError(
            f"the graph asks for covariates that the table doesn't have: {needed}",
            remedy=f"add {'these columns' if ',' in needed else 'this column'}, or mark "
            f"{'them' if ',' in needed else 'it'} [latent] in the graph to see what can be done without",
        )
    return tuple(sorted(chosen))


def impossible(found: Audit) -> str:
    """Say that no set of measured nodes identifies an effect, and which path stays open."""
    sample = () if found.repair is None else found.repair.sample
    if sample:
        path = f": the sample was selected on {' and '.join(sample)}, where the effect leads: {found.open_path}"
    else:
        path = (
            f": adjusted for everything measured that may be, this path is open: {found.open_path}"
            if found.open_path
            else ""
        )
    return f"no set of measured nodes identifies the effect of {found.exposure} on {found.outcome}{path}"


def remedy_of(repair: Repair | None) -> str:
    """Say what would make an impossible adjustment possible, the cheapest first."""
    if repair is None:
        return ""
    ways = []
    if repair.sample:
        ways.append(f"take a sample that wasn't selected on {' or '.join(repair.sample)}")
    if repair.measure:
        ways.append(f"measure {' and '.join(repair.measure)}")
    if repair.instruments:
        ways.append(f"use {' or '.join(repair.instruments)} as an instrument")
    if repair.front_door:
        ways.append(f"go through the front door of {' and '.join(repair.front_door)}")
    return ", or ".join(ways) or "randomize: in this graph nothing else identifies the effect"


def check_launch_study(study: Study) -> None:
    """Refuse covariates of a launch study that descend from its launch, where the study has a graph.

    The launch is the node that the graph marks as exposure, or else the one named like the treatment or cohort column, or
    ``launch``. Outcomes that ``match = "shared"`` matches on are no covariates: only their past enters.

    Raises
    ------
    GraphError
        For a graph that can't be read, lacks a covariate, or names no launch.
    RefusalError
        With the directed path from the launch to each covariate that follows from it.
    """
    if study.dag is None:
        return
    graph = read_graph(study.folder / study.dag)
    shared = {metric.column for metric in study.metric} if study.method.options.get("match") == "shared" else set()
    covariates = [name for name in study.data.covariates if name not in shared]
    launch = study.launch
    exposure = named_node(graph, graph.exposure, (launch.treatment, launch.cohort, "launch"), what="exposure")
    refuse_descendants(graph, exposure, covariates)


def graph_section(graph: Graph, found: Audit, covariates: Collection[str] | None = None) -> dict[str, Any]:
    """Return a graph and its audit as plain values: what the drawing and the pages read.

    Parameters
    ----------
    graph, found
        A graph, and its audit for one effect.
    covariates
        What the study adjusts for; by default the audit's own choice.
    """
    chosen = found.optimal or found.minimal or () if covariates is None else covariates
    verdict = {v.node: v for v in found.verdicts}
    nodes = []
    for name in graph.nodes:
        end = "exposure" if name == found.exposure else "outcome" if name == found.outcome else None
        v = verdict.get(name)
        nodes.append(
            {
                "name": name,
                "role": end or (v.role.value if v else ""),
                "advice": None if v is None else v.advice.value,
                "reason": "" if v is None else v.reason,
                "path": "" if v is None else v.path,
                "adjusted": name in chosen,
                "latent": name in graph.latents,
            }
        )
    repair = found.repair
    return {
        "exposure": found.exposure,
        "outcome": found.outcome,
        "answer": found.answer,
        "sentence": sentence_of(found),
        "minimal": None if found.minimal is None else sorted(found.minimal),
        "optimal": None if found.optimal is None else sorted(found.optimal),
        "covariates": sorted(chosen),
        "nodes": nodes,
        "edges": [list(edge) for edge in graph.edges],
        "bidirected": [list(pair) for pair in graph.bidirected],
        "open_path": found.open_path,
        "repair": None
        if repair is None
        else {
            "measure": list(repair.measure),
            "instruments": list(repair.instruments),
            "front_door": None if repair.front_door is None else list(repair.front_door),
            "sample": list(repair.sample),
        },
    }


def sentence_of(found: Audit) -> str:
    """Answer in one sentence: nothing needed, adjust for these, or impossible and what would help."""
    if found.minimal is None:
        return f"Impossible: {impossible(found)}. What would help: {remedy_of(found.repair)}."
    if not found.minimal:
        return f"Nothing needed: no path confounds {found.exposure} and {found.outcome}."
    return f"Adjust for {', '.join(sorted(found.minimal))}."
