"""The latent projection: what a graph says about its measured nodes alone."""

from __future__ import annotations

from dataclasses import dataclass

from causalbench.dag.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixed:
    """A graph of measured nodes with directed and bidirected edges, by number; order is topological.

    Attributes
    ----------
    order
        Nodes, causes before effects.
    parents
        Direct causes of each.
    siblings
        Nodes that share an unmeasured cause with each.
    """

    order: tuple[int, ...]
    parents: dict[int, frozenset[int]]
    siblings: dict[int, frozenset[int]]

    @property
    def nodes(self) -> frozenset[int]:
        """All nodes."""
        return frozenset(self.order)

    def only(self, nodes: frozenset[int]) -> Mixed:
        """Return the part of the graph on some nodes."""
        return Mixed(
            order=tuple(node for node in self.order if node in nodes),
            parents={node: self.parents[node] & nodes for node in nodes},
            siblings={node: self.siblings[node] & nodes for node in nodes},
        )

    def cut_into(self, nodes: frozenset[int]) -> Mixed:
        """Return the graph without the edges into some nodes."""
        return Mixed(
            order=self.order,
            parents={node: frozenset() if node in nodes else self.parents[node] for node in self.order},
            siblings={n: frozenset() if n in nodes else self.siblings[n] - nodes for n in self.order},
        )

    def ancestors(self, nodes: frozenset[int]) -> frozenset[int]:
        """Return nodes with all their causes."""
        seen = set(nodes)
        for node in reversed(self.order):
            if node in seen:
                seen |= self.parents[node]
        return frozenset(seen)

    def districts(self) -> tuple[frozenset[int], ...]:
        """Return the groups that bidirected edges connect, by their first node in order."""
        left, found = set(self.order), []
        for node in self.order:
            if node not in left:
                continue
            group, waiting = {node}, [node]
            while waiting:
                for other in self.siblings[waiting.pop()] - group:
                    group.add(other)
                    waiting.append(other)
            left -= group
            found.append(frozenset(group))
        return tuple(found)


def project(graph: Graph) -> Mixed:
    """Return the latent projection (Verma 1993; Richardson, Evans, Robins, Shpitser 2023, section 2.3).

    a is a parent of b where a directed path of unmeasured nodes leads from a to b; they are siblings where such paths lead from
    one unmeasured node to both.
    """
    measured = graph.measurable
    reached: list[frozenset[int]] = [frozenset()] * len(graph.parents)
    topological = _topological(graph)
    for node in reversed(topological):
        found: set[int] = set()
        for child in graph.children[node]:
            found |= {child} if child in measured else reached[child]
        reached[node] = frozenset(found)
    parents: dict[int, set[int]] = {node: set() for node in measured}
    siblings: dict[int, set[int]] = {node: set() for node in measured}
    for node, ends in enumerate(reached):
        for end in ends:
            if node in measured:
                parents[end].add(node)
            else:
                siblings[end] |= ends - {end}
    return Mixed(
        order=tuple(node for node in topological if node in measured),
        parents={node: frozenset(found) for node, found in parents.items()},
        siblings={node: frozenset(found) for node, found in siblings.items()},
    )


def _topological(graph: Graph) -> list[int]:
    left = [len(causes) for causes in graph.parents]
    ready = [i for i, count in enumerate(left) if not count][::-1]
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for child in graph.children[node]:
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    return order
