"""Holds a cross-section against what an estimator needs."""

from __future__ import annotations

from causalbench.data.cross_section import CrossSection
from causalbench.errors import RefusalError
from causalbench.protocols import Requirements
from causalbench.values import Audit


def audit_cross_section(read: CrossSection, used: CrossSection, requires: Requirements, *, method: str) -> Audit:
    """Return the record of what was read and what the estimator may use of it.

    Parameters
    ----------
    read, used
        The table's units, and those left by the estimator's options.

    Raises
    ------
    RefusalError
        If there are columns that the method doesn't look at, or too few units of a group.
    """
    for given, uses, what in (
        (used.weights is not None, requires.weights, "weights"),
        (used.cluster is not None, requires.clusters, "clusters"),
    ):
        if given and not uses:
            raise RefusalError(
                f"{method} uses no {what}", remedy=f"leave {what} out, or choose a method that uses them"
            )
    for count, group in ((used.n_treated, "treated"), (used.n_control, "control")):
        least = max(requires.min_control, 1) if group == "control" else 1
        if count < least:
            raise RefusalError(
                f"{method} needs at least {least} {group} units, the data have {count}",
                code="CB-D024",
                remedy=f"add {group} units",
            )
    dropped = _dropped(read)
    return Audit(
        findings=used.findings,
        treated=(),
        launches=(),
        coverage={
            "treated_units_before": read.n_treated,
            "control_units_before": read.n_control,
            "incomplete_units_before": dropped,
            "treated_units_used": used.n_treated,
            "control_units_used": used.n_control,
            "incomplete_units_used": 0,
        },
        fingerprint=used.fingerprint,
    )


def _dropped(read: CrossSection) -> int:
    """Count rows that were left out for an empty cell, whose treatment may be what is missing."""
    return sum(finding.count for finding in read.findings if finding.code == "CB-D004")
