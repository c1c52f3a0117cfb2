"""GeoLift's published market selection beside ours, every column.

``python benchmarks/geo_parity.py`` reads ``geo/geolift_pretest.csv`` below the folder that CAUSALBENCH_REFERENCE names and
writes ``benchmarks/results/geo_parity.md``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from causalbench.data.panel import Panel
from causalbench.geo.geolift import FAULTS, parity_rows


def main() -> None:
    """Compare and write."""
    file = Path(os.environ.get("CAUSALBENCH_REFERENCE", "")) / "geo" / "geolift_pretest.csv"
    wide = pd.read_csv(file).pivot(index="location", columns="date", values="Y").astype(float)
    outcome = wide.to_numpy()
    history = Panel(
        outcome=outcome,
        treated=np.zeros(outcome.shape, dtype=bool),
        units=tuple(wide.index),
        periods=tuple(range(outcome.shape[1])),
    )
    rows = parity_rows(history)
    lines = [
        "# Market selection beside GeoLift 2.7.5",
        "",
        f"Largest relative difference {max(row['rel_difference'] for row in rows):.1e}: published numbers are rounded.",
        "",
        "| markets | days | effect | column | ours | published | relative difference |",
        "|---|---:|---:|---|---:|---:|---:|",
        *(
            f"| {', '.join(row['markets'])} | {row['duration']} | {row['effect']} | {row['column']} | {row['ours']:.8g} "
            f"| {row['published']:.8g} | {row['rel_difference']:.1e} |"
            for row in rows
        ),
        "",
        "What these columns carry over from that program:",
        "",
        *(f"- {fault}" for fault in FAULTS),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "geo_parity.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
