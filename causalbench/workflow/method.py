"""An estimator, its inference and its random numbers, as a study or a caller names them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from causalbench.errors import StudyError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator, Inference
from causalbench.study import LEVEL_RULE


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """An inference with its name."""

    name: str
    member: Inference[Any]


def require_level(level: float) -> None:
    """Refuse what is no confidence level."""
    if not 0.5 < level < 1:
        raise StudyError([f"level: {LEVEL_RULE}, found {level}"], where="estimate")


def create_estimator(method: str, options: Mapping[str, Any] | None, *, seed: int) -> Estimator[Any]:
    """Build an estimator from its options; one that draws gets the run's seed, which is no option of its own."""
    if "seed" in (options or {}):
        raise StudyError(["option 'seed' belongs to the run: set seed under [run], or --seed"], where="estimate")
    made: Any = ESTIMATORS.create(method, options)
    estimator: Estimator[Any] = replace(made, seed=seed) if hasattr(made, "seed") else made
    return estimator


def require_shape(estimator: Estimator[Any], shape: str, *, method: str) -> None:
    """Refuse a method that takes data of another shape."""
    if estimator.requires.shape == shape:
        return
    if shape == "panel":
        problem = f"{method} compares units at one time: pass a CrossSection, or a study without [data] period"
    else:
        problem = f"{method} needs periods: pass a Panel, or a study with [data] period"
    raise StudyError([problem], where="estimate")


def choose_inference(
    estimator: Estimator[Any], data: Any, method: str, name: str | None, options: Mapping[str, Any] | None
) -> Chosen:
    """Build the inference that was asked for, or the one that the estimator's rule names."""
    if options and name is None:
        raise StudyError(["options of an inference need its name: set inference"], where="estimate")
    chosen, allowed = name or estimator.default_inference(data), estimator.inferences
    member = INFERENCES.create(chosen, options)
    if chosen not in allowed:
        raise StudyError(
            [f"inference {chosen!r} doesn't go with {method}; allowed: {', '.join(allowed)}"], where="estimate"
        )
    return Chosen(name=chosen, member=member)


def generator(seed: int, *task: str) -> np.random.Generator:
    """Return the random generator of one task: the same whichever worker runs it and in which order."""
    key = hashlib.sha256("\x1f".join(task).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(key[:8], "big")])
