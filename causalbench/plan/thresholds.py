"""Every number that a rule of the advice compares with, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A number that a rule compares with, and where it comes from."""

    value: float
    source: str


_TABLE = "the project's table of methods, row"
_SET = "benchmarks/results/method_thresholds.md"
THRESHOLDS: Mapping[str, Threshold] = {
    "hours after": Threshold(value=24, source=f"one day, by {_TABLE} 0"),
    "days after": Threshold(value=7, source=f"one week, by {_TABLE} 0"),
    "units per cell": Threshold(
        value=2, source=f"GeoX: at least two markets per cell and for the controls; {_TABLE} 1"
    ),
    "better units": Threshold(value=20, source=f"GeoX: more than twenty markets are better; {_TABLE} 1"),
    "history": Threshold(value=3, source=f"GeoX: a history of three times the duration; {_TABLE} 1"),
    "cohort": Threshold(value=10, source=f"{_TABLE} 5"),
    "did treated": Threshold(value=5, source=f"{_TABLE} 6"),
    "did controls": Threshold(
        value=10,
        source=f"{_TABLE} 6, proposed; {_SET}: at nominal 5% DiD rejects 3 to 7% from five controls up, so ten are safe",
    ),
    "did history": Threshold(value=3, source=f"{_TABLE} 6"),
    "few treated": Threshold(
        value=9,
        source=f"{_TABLE} 7, proposed; {_SET}: where DiD is right, weights err at most 1.3 times as much from ten periods up "
        "with nine treated units, 1.5 times with fifteen",
    ),
    "donor history": Threshold(
        value=10,
        source=f"{_TABLE} 7, proposed; {_SET}: where DiD is right, weights fitted to five periods err up to 1.8 times as much, "
        "to ten up to 1.3 times",
    ),
    "series history": Threshold(
        value=60,
        source=f"{_TABLE} 9, proposed; {_SET}: 95% intervals hold the effect in 82 to 92% with 15 periods, in 97 to 98% with 60",
    ),
    "series seasons": Threshold(value=2, source=f"{_TABLE} 9"),
    "most seasons": Threshold(
        value=24, source="a day of hours; longer seasons ask for more states than two of them can tell"
    ),
    "extreme": Threshold(value=0.95, source=f"{_TABLE} 11"),
    "share extreme": Threshold(value=0.01, source="convention of the check overlap"),
    "effective": Threshold(
        value=30,
        source=f"{_TABLE} 11, proposed; {_SET}: 95% intervals hold the effect in 74 to 88% below, in 91% up to 50",
    ),
    "effective enough": Threshold(value=50, source=f"{_SET}: 95% intervals hold the effect in 96% from here up"),
    "balance": Threshold(value=0.1, source=f"{_TABLE} 11"),
    "suspects": Threshold(value=0.3, source=f"{_TABLE} x, proposed; the check contamination-screen fails there"),
    "demoting error": Threshold(value=1.25, source="the project's table of methods, last paragraph"),
    "long panel": Threshold(value=40, source="benchmarks/results/inference_sizes.md"),
    "power": Threshold(value=0.8, source=f"{_TABLE} 1"),
}
"""Every number that a rule compares with."""


def limit(name: str) -> float:
    """Return one of :data:`THRESHOLDS`."""
    return THRESHOLDS[name].value
