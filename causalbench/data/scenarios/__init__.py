"""Launches with a known truth as whole study folders: one function per question that a readout must answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from causalbench.data.scenarios.comparisons import self_selected_adopters
from causalbench.data.scenarios.geo_tests import (
    four_weekly_looks,
    leaked_controls,
    random_markets,
    two_changes_at_once,
)
from causalbench.data.scenarios.launches import (
    global_launch,
    logging_change,
    novelty,
    one_country,
    opposite_segments,
    worth_it,
)
from causalbench.data.scenarios.rollouts import phased_rollout, safety_filter
from causalbench.data.scenarios.scenario import Scenario
from causalbench.errors import StudyError, listing, nearest

_DRAWS: dict[str, Callable[..., Scenario]] = {
    "A1": one_country,
    "A2": random_markets,
    "A3": safety_filter,
    "A5": phased_rollout,
    "A6": novelty,
    "A7": logging_change,
    "A8": opposite_segments,
    "A9": self_selected_adopters,
    "A10": leaked_controls,
    "A11": four_weekly_looks,
    "A12": worth_it,
    "A13": two_changes_at_once,
    "A15": global_launch,
}

NAMES = tuple(_DRAWS)
"""The scenarios that can be drawn."""


def draw(name: str, *, seed: int, effect: bool = True) -> Scenario:
    """Draw a scenario, or with ``effect=False`` its twin in which nothing happened.

    Parameters
    ----------
    name
        One of :data:`NAMES`.
    seed
        Equal seeds give equal studies.
    effect
        Whether the launch does anything.

    Returns
    -------
    Scenario
        Study file, tables and the truth.

    Raises
    ------
    StudyError
        For an unknown name.

    Examples
    --------
    >>> drawn = draw("A1", seed=0)
    >>> drawn.truth["relative"], sorted(drawn.files)
    (0.04, ['study.toml', 'table.csv'])
    """
    if name not in _DRAWS:
        known = ", ".join(NAMES)
        raise StudyError([f"no scenario {name!r}{nearest(name, NAMES)}; there are {known}"], where="--scenario")
    return _DRAWS[name](seed=seed, effect=effect)


def write(name: str, folder: Path, *, seed: int, effect: bool = True) -> Path:
    """Write a scenario's files into a folder that is new, empty or holds just these, and return the path of its study file.

    Raises
    ------
    StudyError
        For an unknown name, or a folder that holds anything else.
    """
    files = draw(name, seed=seed, effect=effect).files
    held = {path.name: path for path in folder.iterdir()} if folder.exists() else {}
    other = sorted(
        file for file, path in held.items() if file not in files or path.read_bytes() != files[file].encode()
    )
    if other:
        raise StudyError([f"{folder} holds something else: {listing(other)}; name a new folder"], where="scenario")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_bytes(text.encode())
    return folder / "study.toml"
