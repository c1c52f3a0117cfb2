"""A switchback as a design to seal: the schedule that was drawn, and what it could detect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from causalbench.artifacts import digest, plain
from causalbench.geo.ledger import Ledger
from causalbench.study import GeoStudy
from causalbench.values import SCHEMA
from causalbench.wording import counted, percent
from causalbench.workflow.geo_switchback import design_switchback, schedule_csv
from causalbench.workflow.provenance import python_version, versions

SCHEDULE = "schedule.csv"


def switchback(study: GeoStudy, *, tell: Callable[[str], None] = lambda _: None) -> tuple[dict[str, Any], Ledger]:
    """Return the evidence of a switchback design and its ledger.

    Raises
    ------
    CausalbenchError
        When the data can't be used, or no plan admits enough schedules.
    """
    found = design_switchback(study, tell=tell)
    evidence = {
        "schema": SCHEMA,
        "study": study.to_dict(),
        **found,
        "provenance": {
            "study_digest": study.digest,
            "seed": study.run.seed,
            "versions": versions(),
            "python": python_version(),
        },
    }
    ledger = _ledger(study, evidence)
    evidence["seal"] = ledger.seal
    evidence["headline"] = _headline(evidence)
    plained: dict[str, Any] = plain(evidence)
    return plained, ledger


def _headline(evidence: Mapping[str, Any]) -> dict[str, Any]:
    chosen = evidence["chosen"]
    mde, reached = chosen.get("mde"), chosen.get("power")
    effect = evidence["effect"]
    if mde is None:
        answer = "No effect that was tried is detected with the wanted power."
    else:
        answer = f"An effect of {percent(mde)} is detected with power {evidence['wanted_power']:g}."
    if effect is not None and reached is not None:
        answer += f" At {percent(effect)}, the smallest worthwhile effect, the power is {percent(reached)}."
    blocks = counted(chosen["n_blocks"], "block")
    return {
        "verdict": "powered" if mde is not None and (effect is None or mde <= effect) else "not powered",
        "metric": evidence["metric"],
        "sentence": f"Switch {counted(len(evidence['markets']), 'market')} over {blocks} of {chosen['block']} periods each.",
        "answer": answer,
        "why": str(evidence["reason"]),
    }


def _ledger(study: GeoStudy, evidence: Mapping[str, Any]) -> Ledger:
    chosen = evidence["chosen"]
    return Ledger(
        content={
            "study": {"name": study.study.name, "question": study.study.question, "digest": study.digest},
            "data": {
                "metric": evidence["metric"],
                "units": evidence["markets"],
                "periods": [],
                "n_searched": evidence["n_history"],
                "fingerprint": evidence["history_digest"],
            },
            "seed": study.run.seed,
            "constraints": {"geo": study.to_dict()["geo"], "rules": [], "markets": None, "near": None},
            "selector": {"name": "switchback", "options": {}, "randomized": True, "n_admissible": None},
            "assignment": {"schedule_digest": evidence["schedule_digest"], "cells": None},
            "planned_analysis": {
                "metric": evidence["metric"],
                "inference": "randomization over the admissible schedules",
                "level": evidence["level"],
                "power": evidence["wanted_power"],
                "block": chosen["block"],
                "n_blocks": chosen["n_blocks"],
                "washout": chosen["washout"],
            },
            "files": {SCHEDULE: digest(schedule_csv(evidence["schedule"]).encode())},
            "versions": evidence["provenance"]["versions"],
        }
    )
