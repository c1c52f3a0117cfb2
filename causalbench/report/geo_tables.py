"""Plain-text tables of the geo commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causalbench.report.geo_design_page import balance_rows
from causalbench.wording import number, percent


def power_text(evidence: Mapping[str, Any]) -> str:
    """Write power by cell and duration, balance, and broken rules as aligned lines."""
    head = ["cell", "periods", "detectable", "cost", "A/A size", "+-", "windows worth", "A/A gate"]
    rows = [
        [
            row["cell"],
            str(row["duration"]),
            "none" if row["mde"] is None else percent(row["mde"]),
            "" if row["investment"] is None else number(row["investment"]),
            percent(row["size"]),
            percent(row["size_mc_error"]),
            f"{row['n_effective']:.1f}",
            row["size_verdict"].replace("_", " "),
        ]
        for row in evidence["power"]
    ]
    balance = [["cell", "markets", "mean", "share", "trend", "correlation", "of changes"]]
    broken = evidence["chosen"]["violations"]
    parts = [aligned([head, *rows]), aligned([*balance, *balance_rows(evidence["balance"])])]
    parts.append("\n".join(["Broken rules:", *(f"  {rule}" for rule in broken)]) if broken else "No rule is broken.")
    return "\n\n".join(parts)


def parity_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write ours next to the published numbers."""
    head = ["markets", "periods", "effect", "column", "ours", "published", "relative difference"]
    body = [
        [
            ", ".join(row["markets"]),
            str(row["duration"]),
            f"{row['effect']:g}",
            row["column"],
            "no such row" if row["ours"] is None else f"{row['ours']:.8g}",
            f"{float(row['published']):.8g}",
            "" if row["rel_difference"] is None else f"{row['rel_difference']:.1e}",
        ]
        for row in rows
    ]
    return aligned([head, *body])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Write rows of text as columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
