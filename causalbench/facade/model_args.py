"""``model_args`` of R's CausalImpact and of its Python ports, as options of the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from causalbench.errors import StudyError, nearest, require_one_of
from causalbench.estimators.causal_impact import CausalImpact

Compat = Literal["none", "r"]

NAMES = (
    "niter",
    "ndraws",
    "nseasons",
    "season_duration",
    "dynamic_regression",
    "prior_level_sd",
    "standardize_data",
    "standardize",
    "max_flips",
    "nburn",
    "fit_method",
)
"""What may be given, in Python's spelling; R's dots are read as underscores."""

_IDLE = {
    "max_flips": "every draw may turn every control on or off",
    "nburn": "draws come from the posterior itself, none has to be burnt",
    "fit_method": "there is one way to fit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """An engine, and what was said about the arguments that led to it."""

    engine: CausalImpact
    notes: tuple[str, ...]


def read_model_args(model_args: Any, *, compat: Compat | None, seed: int) -> Settings:
    """Build the engine from ``model_args``.

    Raises
    ------
    StudyError
        For unknown names, with the nearest; for impossible values; and where R's priors are asked for and refused at once.
    """
    if compat is not None:
        require_one_of("compat", compat, get_args(Compat))
    given = _given(model_args)
    problems: list[str] = []
    notes: list[str] = []
    options: dict[str, Any] = {}
    for key, value in given.items():
        if key not in NAMES:
            problems.append(f"{key!r} doesn't exist{nearest(key, NAMES)}; there are: {', '.join(NAMES)}")
        elif key in _IDLE:
            notes.append(f"{key} plays no part: {_IDLE[key]}")
        else:
            try:
                options |= _READERS[key](key, value)
            except ValueError as error:
                problems.append(str(error))
    problems += _contradictions(given, options, compat)
    if problems:
        raise StudyError(problems, where="model_args")
    chosen: Compat = compat or ("r" if "level_sd" in options else "none")
    try:
        engine = CausalImpact(compat=chosen, seed=seed, **options)
    except ValueError as error:
        raise StudyError([str(error)], where="model_args") from error
    return Settings(engine=engine, notes=tuple(notes))


def _given(model_args: Any) -> dict[str, Any]:
    if model_args is None:
        return {}
    if not isinstance(model_args, Mapping):
        raise StudyError(
            [
                f"found a {type(model_args).__name__}, not a mapping; models built with other programs can't be run, leave it out"
            ],
            where="model_args",
        )
    given = {str(key).replace(".", "_"): value for key, value in model_args.items()}
    if len(given) < len(model_args):
        raise StudyError(["a name is given twice, with dots and with underscores; give it once"], where="model_args")
    return given


def _contradictions(given: Mapping[str, Any], options: Mapping[str, Any], compat: str | None) -> list[str]:
    problems = []
    for one, other in (("niter", "ndraws"), ("standardize", "standardize_data")):
        if one in given and other in given:
            problems.append(f"{one} and {other} mean the same; give one of them")
    if options.get("season_duration", 1) > 1 and options.get("seasons", 1) == 1:
        problems.append("season_duration needs nseasons: how many seasons make a cycle?")
    if "level_sd" in options and compat == "none":
        problems.append("prior_level_sd belongs to R's priors; leave it out or choose compat='r'")
    priors = "prior_level_sd" if "level_sd" in options else "compat='r'" if compat == "r" else None
    if priors and options.get("regression") == "dynamic":
        problems.append(
            f"{priors} asks for R's priors, which are offered with static regression only; "
            f"leave {priors} or dynamic_regression out"
        )
    return problems


def _whole(option: str, *, least: int) -> Callable[[str, Any], dict[str, Any]]:
    def read(key: str, value: Any) -> dict[str, Any]:
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not least <= value < np.inf or value != int(value):
            raise ValueError(f"{key} is {value!r}, it must be a whole number of at least {least}")
        return {option: int(value)}

    return read


def _seasons(key: str, value: Any) -> dict[str, Any]:
    """Read a number, or the list of one dictionary that pycausalimpact takes."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        cycles = list(value)
        if not cycles:
            return {}
        if len(cycles) > 1 or not isinstance(cycles[0], Mapping) or set(cycles[0]) != {"period"}:
            raise ValueError(
                f"{key} is {value!r}; one cycle is modelled, without harmonics: give its number of seasons"
            )
        value = cycles[0]["period"]
    return _whole("seasons", least=1)(key, value)


def _level_sd(key: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 < value < np.inf:
        raise ValueError(f"{key} is {value!r}, it must be a positive number, or None to learn it")
    return {"level_sd": float(value)}


def _dynamic(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{key} is {value!r}, it must be True or False")
    return {"regression": "dynamic" if value else "static"}


def _standardised(key: str, value: Any) -> dict[str, Any]:
    """Nothing to set: every series is measured in its own standard deviations, which changes no answer."""
    if not isinstance(value, (bool, np.bool_)) or not value:
        raise ValueError(
            f"{key} is {value!r}; series are always standardised and answers given in their own units: leave it out"
        )
    return {}


_READERS: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    "niter": _whole("draws", least=2),
    "ndraws": _whole("draws", least=2),
    "nseasons": _seasons,
    "season_duration": _whole("season_duration", least=1),
    "dynamic_regression": _dynamic,
    "prior_level_sd": _level_sd,
    "standardize_data": _standardised,
    "standardize": _standardised,
}
