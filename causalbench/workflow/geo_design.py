"""The design of a geo experiment: which markets, for how long, and what such a test could detect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalbench.artifacts import canonical_json, digest, plain
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, StudyError
from causalbench.geo.constraints import Constraints
from causalbench.geo.ledger import ASSIGNMENT, SELECTORS, Ledger, assignment_csv, pairs_of
from causalbench.geo.monitoring import even_looks, require_looks
from causalbench.geo.power import Power, power_of
from causalbench.geo.result import RANDOMIZATION
from causalbench.geo.selection import Proposal, Selector, balance, n_admissible
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.study import GeoStudy
from causalbench.study.geo_study import CONTROL as CONTROL_NAME
from causalbench.study.geo_study import Geo
from causalbench.values import SCHEMA, IntArray
from causalbench.workflow import geo_candidates as candidates
from causalbench.workflow.estimate import create_estimator, generator
from causalbench.workflow.geo_ground import Ground, ground
from causalbench.workflow.geo_headline import headline, warnings_of
from causalbench.workflow.geo_map import map_of
from causalbench.workflow.geo_own_split import own_split, sealed_design
from causalbench.workflow.provenance import python_version, versions

Tell = Callable[[str], None]
Powers = tuple[tuple[Power, ...], tuple[Power, ...]]

OWN = "own split"
_DRAWS = 200
"""So many draws of a randomised design carry its power."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """What a design found: the evidence that pages and figures are written from, and the ledger to seal.

    Attributes
    ----------
    evidence
        Plain JSON values, ``"schema": 1``.
    ledger
        What was decided.
    """

    evidence: dict[str, Any]
    ledger: Ledger

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence."""
        return self.evidence

    def to_json(self) -> str:
        """Return the bytes of ``evidence.json``."""
        return canonical_json(self.evidence, indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical evidence."""
        return digest(self.evidence)


def design(study: GeoStudy, *, tell: Tell = lambda _: None) -> Design:
    """Design a geo experiment, or judge the split that ``[geo.test] cells`` names.

    The selector and the choice among its proposals see the earlier part of the history only. Power of the chosen design is
    measured on later windows, whose outcomes nothing was chosen by, so that it doesn't inherit the luck of the search.

    Parameters
    ----------
    study
        A study with ``[geo]``.
    tell
        Called with one line at the start of every stage.

    Returns
    -------
    Design
        Also where no design reaches the wanted power: the verdict is then ``not powered``, with what would help.

    Raises
    ------
    CausalbenchError
        When the data can't be used, rules contradict each other, or the history is too short.

    Examples
    --------
    >>> from causalbench.data.datasets import study_path
    >>> found = design(GeoStudy.load(study_path("geolift_pretest")))
    >>> found.evidence["headline"]["verdict"], "chicago" in found.evidence["chosen"]["cells"]["treated"]
    ('powered', True)
    """
    tell(f"{study.study.name}: reading the history and compiling the constraints")
    base = ground(study)
    own = own_split(base)
    selector: Selector | None = None
    if own is None:
        base.constraints.require_feasible()
        selector = SELECTORS.create(study.geo.selector, study.geo.options)
        tell(
            f"searching {len(base.history.units)} markets with {study.geo.selector!r}, on {base.periods.first_unseen} periods"
        )
        proposals = _proposals(base, selector)
    else:
        proposals = (Proposal(split=own, score=0.0),)
    return _designed(base, selector, proposals, tell=tell)


def _proposals(base: Ground, selector: Selector) -> tuple[Proposal, ...]:
    """Ask the selector; where markets are chosen, for every number of them apart, since scores favour large sets."""
    geo, asked = base.study.geo, [base.constraints]
    if not selector.randomized and len(geo.cells) == 1 and len(set(geo.market_counts or ())) > 1:
        asked = [_with_count(base, count) for count in sorted(set(geo.market_counts or ()))]
    found: dict[bytes, Proposal] = {}
    refused: RefusalError | None = None
    for constraints in asked:
        try:
            proposals = selector.propose(
                base.searched,
                constraints,
                durations=geo.durations,
                rng=generator(base.study.run.seed, "geo", "propose"),
            )
        except RefusalError as refusal:
            refused = refusal
            continue
        found |= {proposal.split.cells.tobytes(): proposal for proposal in proposals}
    if not found and refused is not None:
        raise refused
    return tuple(sorted(found.values(), key=lambda proposal: proposal.score))


def _with_count(base: Ground, count: int) -> Constraints:
    geo = base.study.geo.model_copy(update={"market_counts": (count,)})
    return Constraints.compile(geo, base.searched, markets=base.markets, near=base.near)


def evaluate(study: GeoStudy, *, tell: Tell = lambda _: None) -> Design:
    """Judge the study's own split: power, balance, broken rules.

    Raises
    ------
    StudyError
        When the study names no split.
    """
    if study.geo.test is None:
        raise StudyError(
            ['[geo.test] is missing: name the treated markets as cells, such as cells = {treated = ["chicago"]}'],
            where=study.study.name,
        )
    return design(study, tell=tell)


def _randomized(base: Ground, selector: Selector | None) -> bool:
    """Tell whether the markets were drawn: by the selector, or by that of the ledger that is judged."""
    sealed = sealed_design(base) if selector is None else None
    return selector.randomized if selector is not None else sealed is not None and sealed.randomized


def _designed(base: Ground, selector: Selector | None, proposals: tuple[Proposal, ...], *, tell: Tell) -> Design:
    geo = base.study.geo
    randomized = selector is not None and selector.randomized
    pool = proposals[:1] if randomized else candidates.shortlist(proposals)
    additive = base.history.additive
    several = len(pool) > 1
    rows = []
    for place, proposal in enumerate(pool if several else ()):
        tell(f"power of candidate {place + 1} of {len(pool)}, on windows of the periods that the search has seen")
        powers = _seen_power(base, selector, proposal.split)
        rows.append(_row(base, place, proposal, candidates.power_rows(*powers, geo, additive=additive, compare=True)))
    best = candidates.best_candidate(rows, geo) if several else 0
    chosen = pool[best]
    tell("power of the chosen design, on windows that nothing was chosen by")
    powers = _claimed_power(base, selector, chosen.split)
    claimed = candidates.power_rows(*powers, geo, additive=additive, compare=False)
    rows = rows or [_row(base, 0, chosen, claimed)]
    rows[best]["chosen"] = True
    evidence = _evidence(base, selector, rows, best, chosen, claimed, n_proposals=len(proposals))
    ledger = _ledger(base, chosen.split, evidence)
    evidence["seal"] = ledger.seal
    return Design(evidence=evidence, ledger=ledger)


def _row(base: Ground, place: int, proposal: Proposal, powers: list[dict[str, Any]]) -> dict[str, Any]:
    row = candidates.candidate_row(
        place,
        proposal,
        powers,
        history=base.history,
        geo=base.study.geo,
        violations=base.constraints.violations,
    )
    return row | {"power": powers}


def _seen_power(base: Ground, selector: Selector | None, split: Split) -> Powers:
    return _power(base, selector, split, history=base.searched, first=base.periods.first_choice, task="seen")


def _claimed_power(base: Ground, selector: Selector | None, split: Split) -> Powers:
    return _power(base, selector, split, history=base.history, first=base.periods.first_unseen, task="claimed")


def _power(base: Ground, selector: Selector | None, split: Split, *, history: Panel, first: int, task: str) -> Powers:
    """Measure power for effects of the expected sign, and of the other."""
    study, geo = base.study, base.study.geo
    draws = _draws(base, selector, split)
    ahead, against = (
        power_of(
            split,
            history,
            estimator=create_estimator(study.method.name, study.method.options, seed=study.run.seed),
            inference=inference_of(study),
            durations=geo.durations,
            level=geo.level,
            target=geo.power,
            n_windows=base.periods.n_windows,
            first_window=first,
            sign=sign,
            rng=generator(study.run.seed, "geo", "power", task),
            draws=draws,
        )
        for sign in (base.constraints.sign, -base.constraints.sign)
    )
    return ahead, against


def _draws(base: Ground, selector: Selector | None, split: Split) -> IntArray | None:
    """Return draws of a randomised design; None where power can't be counted over them and is measured along time.

    Those of a ledger need the whole history that it was drawn from.
    """
    if not _randomized(base, selector):
        return None
    rng, sealed = generator(base.study.run.seed, "geo", "power draws"), sealed_design(base)
    if selector is not None:
        draws = selector.draws(base.searched, base.constraints, split, n_draws=_DRAWS, rng=rng)
    elif sealed is not None and sealed.units == base.history.units:
        draws = sealed.draws(base.history, _DRAWS, rng=rng)
    else:
        return None
    apart = (draws != draws[:1]).any(axis=0) & (draws < CONTROL).any(axis=0)
    return None if split.n_cells > 1 or apart.any() else draws


def inference_of(study: GeoStudy) -> str:
    """Return the inference of the planned analysis: the study's, or conformal, which needs nothing but time."""
    return study.method.inference or "conformal"


def _evidence(
    base: Ground,
    selector: Selector | None,
    rows: list[dict[str, Any]],
    best: int,
    chosen: Proposal,
    claimed: list[dict[str, Any]],
    *,
    n_proposals: int,
) -> dict[str, Any]:
    study, geo, split = base.study, base.study.geo, chosen.split
    durations = candidates.by_duration(claimed, geo)
    duration = candidates.best_duration(durations, geo)
    randomized = _randomized(base, selector)
    drawn_by = _selector(base, selector, split, n_proposals)
    if geo.looks > 1 and selector is not None:
        _require_looks(geo, int(duration["duration"]), drawn_by)
    evidence = {
        "schema": SCHEMA,
        "kind": "geo-design",
        "study": study.to_dict(),
        "history": _history(base),
        "constraints": _constraints(base),
        "selector": drawn_by,
        "periods": _periods(base),
        "candidates": rows,
        "chosen": _chosen(base, rows[best], chosen, duration, own=selector is None, randomized=randomized),
        "power": claimed,
        "power_over": "time" if _draws(base, selector, split) is None else "draws",
        "durations": durations,
        "balance": _balance(base, split),
        "paths": _paths(base, split),
        "left_out": _left_out(base, split),
        "map": map_of(base.geography, base.markets, split, geo.cells, base.history.units),
        "planned_analysis": _planned(base, int(duration["duration"]), randomized=randomized),
        "provenance": {
            "study_digest": study.digest,
            "seed": study.run.seed,
            "versions": versions(),
            "python": python_version(),
        },
    }
    plained: dict[str, Any] = plain(evidence)
    plained["warnings"] = warnings_of(plained)
    plained["headline"] = headline(plained)
    return plained


def _require_looks(geo: Geo, duration: int, drawn_by: Mapping[str, Any]) -> None:
    """Refuse interim looks that the readout couldn't give: they count the design's own draws, and need enough of them."""
    if not drawn_by["randomized"]:
        raise RefusalError(
            f"{geo.looks} looks need a design that is drawn at random, {drawn_by['name']} isn't",
            remedy="choose another selector, such as rerandomized, or leave looks out of [geo]",
        )
    count = drawn_by["n_admissible"]
    if count is not None:
        require_looks(even_looks(geo.looks, duration), level=geo.level, n_admissible=count["value"])


def _chosen(
    base: Ground,
    row: Mapping[str, Any],
    proposal: Proposal,
    duration: Mapping[str, Any],
    *,
    own: bool,
    randomized: bool,
) -> dict[str, Any]:
    """Write the chosen design: its candidate's markets, at the chosen duration, as claimed."""
    return {
        "candidate": row["rank"],
        "rule": candidates.rule_in_words(base.study.geo, randomized=randomized, own=own),
        **duration,
        "cells": row["cells"],
        "controls": _members(base, proposal.split, CONTROL),
        "scaled_l2": proposal.scaled_l2,
        "detail": dict(proposal.detail),
        "shares": row["shares"],
        "violations": row["violations"],
    }


def _history(base: Ground) -> dict[str, Any]:
    history = base.history
    return {
        "metric": history.metric,
        "unit_name": history.unit_name,
        "frequency": history.frequency,
        "n_markets": len(history.units),
        "n_periods": len(history.periods),
        "first": history.periods[0],
        "last": history.periods[-1],
        "fingerprint": history.fingerprint,
        "findings": base.findings,
    }


def _constraints(base: Ground) -> dict[str, Any]:
    eligible = base.constraints.eligible
    names = (CONTROL_NAME, *base.study.geo.cells)
    return {
        "rules": [rule.name for rule in base.constraints.rules],
        "eligible": {name: int(eligible[cell].sum()) for cell, name in enumerate(names)},
    }


def _selector(base: Ground, selector: Selector | None, split: Split, n_proposals: int) -> dict[str, Any]:
    geo = base.study.geo
    if selector is None:
        sealed = sealed_design(base)
        drawn = {"randomized": False, "n_admissible": None} if sealed is None else sealed.content["selector"]
        return {
            "name": OWN,
            "summary": "the study names its markets itself, nothing is searched",
            "randomized": drawn["randomized"],
            "options": {},
            "n_proposals": 1,
            "n_admissible": drawn["n_admissible"],
        }
    count = n_admissible(
        selector, base.searched, base.constraints, split, rng=generator(base.study.run.seed, "geo", "count")
    )
    return {
        "name": geo.selector,
        "summary": selector.summary,
        "randomized": selector.randomized,
        "options": plain(selector),
        "n_proposals": n_proposals,
        "n_admissible": plain(count) if selector.randomized else None,
    }


def _periods(base: Ground) -> dict[str, Any]:
    labels, used = base.history.periods, base.periods
    return {
        "searched": {"first": labels[0], "last": labels[used.first_unseen - 1], "n": used.first_unseen},
        "unseen": {"first": labels[used.first_unseen], "last": labels[-1], "n": len(labels) - used.first_unseen},
        "n_windows": used.n_windows,
        "n_windows_wanted": base.study.geo.windows,
    }


def _members(base: Ground, split: Split, cell: int) -> list[str]:
    return [base.history.units[i] for i in np.flatnonzero(split.cells == cell)]


def _balance(base: Ground, split: Split) -> dict[str, Any]:
    found = balance(base.history, split)
    names = base.study.geo.cells
    return {**found, "cells": [{"cell": name, **row} for name, row in zip(names, found["cells"], strict=False)]}


def _paths(base: Ground, split: Split) -> dict[str, Any]:
    """Return the mean path of every cell and of the controls."""
    outcome, names = base.history.outcome, base.study.geo.cells
    return {
        "periods": base.history.periods,
        "control": outcome[split.control].mean(axis=0),
        "cells": {name: outcome[split.cells == cell].mean(axis=0) for cell, name in enumerate(names, start=1)},
    }


def _left_out(base: Ground, split: Split) -> list[dict[str, str]]:
    """Say of every market in no cell why it isn't."""
    near = set(base.constraints.buffered(split))
    busy = set(base.study.geo.busy)
    found = []
    for place in np.flatnonzero(split.cells == LEFT_OUT):
        unit = base.history.units[place]
        if unit in busy:
            why = "in another test"
        elif unit in near:
            why = "too near to a treated market to be its control"
        elif not base.constraints.eligible[CONTROL, place]:
            why = "excluded from the controls by the study"
        else:
            why = "not needed as a control"
        found.append({"market": unit, "reason": why})
    return found


def _planned(base: Ground, duration: int, *, randomized: bool) -> dict[str, Any]:
    study, geo, method = base.study, base.study.geo, base.study.method
    return {
        "metric": base.metric.name,
        "estimator": method.name,
        "options": dict(method.options),
        "inference": RANDOMIZATION if randomized else inference_of(study),
        "inference_options": dict(method.inference_options),
        "level": geo.level,
        "power": geo.power,
        "duration": duration,
        "cooldown": geo.cooldown,
        "looks": geo.looks,
        "cells": list(geo.cells),
        "direction": base.constraints.sign,
        "smallest_worthwhile_effect": geo.smallest_worthwhile_effect,
    }


def _ledger(base: Ground, split: Split, evidence: dict[str, Any]) -> Ledger:
    study, history = base.study, base.history
    columns = None if base.markets is None else base.markets.columns
    table = assignment_csv(split, history.units, study.geo.cells)
    sealed = sealed_design(base)
    selector = evidence["selector"] if sealed is None else sealed.content["selector"]
    return Ledger(
        content={
            "study": {"name": study.study.name, "question": study.study.question, "digest": study.digest},
            "data": {
                "metric": history.metric,
                "units": history.units,
                "periods": history.periods,
                "n_searched": base.periods.first_unseen,
                "fingerprint": history.fingerprint,
            },
            "seed": study.run.seed,
            "constraints": {
                "geo": study.to_dict()["geo"],
                "rules": evidence["constraints"]["rules"],
                "markets": columns,
                "near": pairs_of(base.near),
            },
            "selector": {key: selector[key] for key in ("name", "options", "randomized", "n_admissible")},
            "assignment": {
                "cells": split.cells,
                "strata": split.strata,
                "unit_weights": split.unit_weights,
            },
            "planned_analysis": evidence["planned_analysis"],
            "files": {ASSIGNMENT: digest(table.encode())},
            "versions": evidence["provenance"]["versions"],
        }
    )
