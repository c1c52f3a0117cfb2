"""Causal graphs: directed edges, bidirected ones for unmeasured common causes, latent and selected nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from causalbench.errors import GraphError, listing, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

Nodes = str | Iterable[str]
_MOST_SHOWN = 20
"""Nodes of a cycle that a message prints."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """An acyclic causal graph.

    Attributes
    ----------
    edges
        ``(cause, effect)`` pairs.
    nodes
        Nodes in the order they are to be listed; those that only edges name follow.
    bidirected
        Pairs with an unmeasured common cause.
    latents
        Nodes that weren't measured: no set ever holds them.
    selected
        Nodes that the sample was selected on: always given.
    exposure, outcome
        Where the text names them.
    tiers
        When nodes happen, for those where it is known: nothing leads from a tier to an earlier one. In text ``[tier=2]``, or
        ``[before_launch]`` for tier 0 where the exposure is in tier 1.

    Raises
    ------
    GraphError
        For a cycle (printed), a self-loop, a latent or selected node that isn't in the graph, or a path into an earlier tier.

    Notes
    -----
    Every bidirected edge counts as a latent parent of both its ends (the canonical graph), so that one algorithm serves
    graphs with and without them.

    Examples
    --------
    >>> graph = Graph(edges=[("z", "x"), ("z", "y"), ("x", "y")])
    >>> graph.nodes, sorted(graph.parents_of("y"))
    (('z', 'x', 'y'), ['x', 'z'])
    """

    edges: tuple[tuple[str, str], ...]
    nodes: tuple[str, ...] = ()
    bidirected: tuple[tuple[str, str], ...] = ()
    latents: frozenset[str] = frozenset()
    selected: frozenset[str] = frozenset()
    exposure: str | None = None
    outcome: str | None = None
    tiers: Mapping[str, int] = field(default_factory=dict)
    number: Mapping[str, int] = field(init=False, repr=False)
    parents: Sequence[Sequence[int]] = field(init=False, repr=False)
    children: Sequence[Sequence[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        place = object.__setattr__
        edges = tuple(dict.fromkeys((cause, effect) for cause, effect in self.edges))
        pairs = tuple(dict.fromkeys(tuple(sorted(pair)) for pair in self.bidirected))
        named = dict.fromkeys(self.nodes)
        for pair in (*edges, *pairs):
            named[pair[0]] = named[pair[1]] = None
        number = {name: i for i, name in enumerate(named)}
        parents: list[list[int]] = [[] for _ in range(len(number) + len(pairs))]
        children: list[list[int]] = [[] for _ in range(len(parents))]
        for cause, effect in edges:
            i, j = number[cause], number[effect]
            children[i].append(j)
            parents[j].append(i)
        for k, (one, other) in enumerate(pairs, start=len(number)):
            for end in (number[one], number[other]):
                children[k].append(end)
                parents[end].append(k)
        for name, value in (
            ("edges", edges),
            ("bidirected", pairs),
            ("nodes", tuple(named)),
            ("latents", frozenset(self.latents)),
            ("selected", frozenset(self.selected)),
            ("number", number),
            ("parents", parents),
            ("children", children),
        ):
            place(self, name, value)
        loops = [cause for cause, effect in (*edges, *pairs) if cause == effect]
        if loops:
            raise GraphError(f"{loops[0]!r} points to itself", remedy="take the edge out")
        for what, group in (
            ("latent", self.latents),
            ("selected", self.selected),
            ("node with a tier", self.tiers),
            ("exposure", () if self.exposure is None else (self.exposure,)),
            ("outcome", () if self.outcome is None else (self.outcome,)),
        ):
            self.require(group, what=what)
        _refuse_cycle(self)
        if self.tiers:
            _refuse_backwards(self)

    @classmethod
    def parse(cls, text: str) -> Graph:
        """Read a graph from dagitty text, DOT, GML or an edge list in CSV.

        Nodes are marked ``latent``, ``selected``, ``exposure``, ``outcome``, ``before_launch`` or ``tier=1``. dagitty's
        ``adjusted`` says what somebody chose, not what causes what, and counts for nothing, as do marks with a value that only
        draw. The third column of an edge list may say ``bidirected``.

        Raises
        ------
        GraphError
            With line and column of what can't be read, a mark that means nothing, or an edge without direction.

        Examples
        --------
        >>> graph = Graph.parse("dag { z -> x -> y ; z -> y ; u [latent] ; u -> x ; x [exposure] ; y [outcome] }")
        >>> graph.exposure, graph.outcome, sorted(graph.latents)
        ('x', 'y', ['u'])
        """
        from causalbench.dag.parsing import parse

        return cls(**parse(text))

    @classmethod
    def from_networkx(cls, graph: Any) -> Graph:
        """Read a networkx DiGraph; attributes ``latent`` (or ``observed="no"``, as in dowhy), ``selected`` and ``tier`` count.

        Raises
        ------
        GraphError
            For an undirected graph, and for two nodes that are written alike.
        """
        if not graph.is_directed():
            raise GraphError("the networkx graph is undirected", remedy="make it a DiGraph of causes and effects")
        if len({str(node) for node in graph}) < len(graph):
            raise GraphError("two nodes of the networkx graph are written alike", remedy="give them names of their own")
        hidden = [
            n for n, a in graph.nodes(data=True) if a.get("latent") or str(a.get("observed", "yes")).lower() == "no"
        ]
        chosen = [str(n) for n, a in graph.nodes(data=True) if a.get("selected")]
        return cls(
            edges=tuple((str(a), str(b)) for a, b in graph.edges()),
            nodes=tuple(map(str, graph.nodes())),
            latents=frozenset(map(str, hidden)),
            selected=frozenset(chosen),
            tiers={str(n): int(a["tier"]) for n, a in graph.nodes(data=True) if "tier" in a},
        )

    from_dowhy = from_networkx

    def to_dowhy(self) -> Any:
        """Return the canonical graph as a networkx DiGraph, unmeasured nodes marked ``observed="no"`` as dowhy wants it."""
        import networkx as nx

        graph = nx.DiGraph()
        for name in self.nodes:
            more: dict[str, Any] = {"selected": True} if name in self.selected else {}
            if name in self.tiers:
                more["tier"] = self.tiers[name]
            graph.add_node(name, observed="no" if name in self.latents else "yes", **more)
        graph.add_edges_from(self.edges)
        for one, other in self.bidirected:
            common = f"U({one},{other})"
            graph.add_node(common, observed="no")
            graph.add_edges_from([(common, one), (common, other)])
        return graph

    def require(self, names: Iterable[str], *, what: str = "node") -> frozenset[int]:
        """Return the numbers of named nodes; an unknown name is refused with the nearest one."""
        unknown = [name for name in names if name not in self.number]
        if unknown:
            found = listing(f"{name!r}{nearest(name, self.nodes)}" for name in unknown)
            raise GraphError(f"{what} not in the graph: {found}", remedy=f"it has {listing(self.nodes)}")
        return frozenset(self.number[name] for name in names)

    def group(self, nodes: Nodes) -> frozenset[int]:
        """Return the numbers of one node or several."""
        return self.require((nodes,) if isinstance(nodes, str) else tuple(nodes))

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of nodes by number."""
        return frozenset(self.nodes[i] for i in numbers)

    @property
    def measurable(self) -> frozenset[int]:
        """Numbers of the nodes that a set may hold: neither latent nor the common cause of a bidirected edge."""
        return frozenset(range(len(self.nodes))) - frozenset(self.number[name] for name in self.latents)

    def parents_of(self, name: str) -> frozenset[str]:
        """Return the direct causes of a node."""
        (node,) = self.require((name,))
        return self.names(i for i in self.parents[node] if i < len(self.nodes))

    def ancestors(self, nodes: Iterable[int]) -> set[int]:
        """Return nodes and everything that points to them over any number of steps."""
        return _closure(nodes, self.parents)

    def descendants(self, nodes: Iterable[int]) -> set[int]:
        """Return nodes and everything that they point to over any number of steps."""
        return _closure(nodes, self.children)

    def without_edges(self, drop: Iterable[tuple[int, int]]) -> Graph:
        """Return the graph less some directed edges, given by numbers."""
        gone = {(self.nodes[i], self.nodes[j]) for i, j in drop}
        return Graph(
            edges=tuple(edge for edge in self.edges if edge not in gone),
            nodes=self.nodes,
            bidirected=self.bidirected,
            latents=self.latents,
            selected=self.selected,
            exposure=self.exposure,
            outcome=self.outcome,
            tiers=self.tiers,
        )

    def require_before(self, names: Iterable[str], node: str) -> None:
        """Refuse a graph in which nodes that come before another one follow from it, printing the path.

        Raises
        ------
        GraphError
            For such a path, and for unknown nodes.

        Examples
        --------
        >>> Graph.parse("launch -> visits -> sales").require_before(["visits"], "launch")
        Traceback (most recent call last):
        causalbench.errors.GraphError: visits comes before launch, but the graph has launch -> visits
          To mend it: turn the edge around, take it out, or correct what comes before
        """
        (start,) = self.require((node,))
        early = self.require(names, what="node before it")
        after = sorted(early & self.descendants({start}) - {start})
        if after:
            raise GraphError(
                f"{self.nodes[after[0]]} comes before {node}, but the graph has {self.directed_path(start, after[0])}",
                remedy="turn the edge around, take it out, or correct what comes before",
            )

    def directed_path(self, start: int, end: int) -> str:
        """Write a shortest directed path between two nodes, the second of which descends from the first."""
        before: dict[int, int | None] = {start: None}
        waiting = [start]
        for node in waiting:
            if node == end:
                break
            for child in self.children[node]:
                if child not in before:
                    before[child] = node
                    waiting.append(child)
        path = [end]
        while (earlier := before[path[-1]]) is not None:
            path.append(earlier)
        return " -> ".join(self.nodes[i] for i in reversed(path))


def _refuse_backwards(graph: Graph) -> None:
    """Refuse a directed path from a node into an earlier tier, whatever nodes without a tier lie between."""
    placed: dict[int, list[int]] = {}
    for name, tier in graph.tiers.items():
        placed.setdefault(tier, []).append(graph.number[name])
    for tier in sorted(placed, reverse=True):
        after = graph.descendants(placed[tier])
        wrong = [(node, early) for early in placed if early < tier for node in placed[early] if node in after]
        if wrong:
            end, early = min(wrong)
            start = next(node for node in placed[tier] if end in graph.descendants({node}))
            raise GraphError(
                f"the graph goes back in time: {graph.directed_path(start, end)}, from tier {tier} to tier {early}",
                remedy="turn an edge around, take it out, or correct the tiers",
            )


def _closure(nodes: Iterable[int], neighbours: Sequence[Sequence[int]]) -> set[int]:
    seen = set(nodes)
    waiting = list(seen)
    while waiting:
        for node in neighbours[waiting.pop()]:
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return seen


def _refuse_cycle(graph: Graph) -> None:
    """Refuse a graph with a cycle, printing one (Kahn's algorithm finds the nodes on cycles and behind them)."""
    left = [len(causes) for causes in graph.parents]
    ready = [i for i, count in enumerate(left) if not count]
    done = 0
    while ready:
        done += 1
        for node in graph.children[ready.pop()]:
            left[node] -= 1
            if not left[node]:
                ready.append(node)
    if done == len(left):
        return
    node = next(i for i, count in enumerate(left) if count)
    path: dict[int, None] = {}
    while node not in path:
        path[node] = None
        node = next(i for i in graph.parents[node] if left[i])
    visited = list(path)
    cycle = [graph.nodes[i] for i in [*visited[visited.index(node) :], node][::-1]]
    if len(cycle) > _MOST_SHOWN:
        cycle = [*cycle[: _MOST_SHOWN - 2], f"... {len(cycle) - _MOST_SHOWN} more ...", *cycle[-2:]]
    raise GraphError(
        f"the graph has a cycle: {' -> '.join(cycle)}",
        remedy="a cause can't follow its effect; take one of these edges out",
    )
