"""Problems of a study file as sentences with table, key and line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from causalbench.catalogue import Catalogue
from causalbench.errors import StudyError, nearest
from causalbench.study.tables import Key


def shape_of_method(name: Any) -> str | None:
    """Return which data a method takes, ``panel`` or ``cross-section``; None for what is no method's name."""
    estimators = Catalogue("causalbench.estimators", "method")
    return str(estimators.load(name).requires.shape) if name in estimators.names() else None


AUTO = "auto"
"""A method's name that stands for the advised one."""


def method_problems(
    method: Mapping[str, Any], text: str, *, shape: str = "panel", advised: bool = False
) -> Iterator[str]:
    """Check names and options of the method, which only the method itself knows; imports nothing but that method.

    ``shape`` is that of the study's data, see :class:`causalbench.protocols.Requirements`; ``advised``: whether the name may
    be ``auto``.
    """
    estimators = Catalogue("causalbench.estimators", "method")
    inferences = Catalogue("causalbench.inference", "inference", "[method.inference_options]")
    name, inference = method.get("name"), method.get("inference")
    if not isinstance(name, str):
        return
    line = at(text, ("method", "name"))
    if name == AUTO:
        yield from _auto_problems(method, text, advised=advised)
        return
    if name not in estimators.names():
        hint = nearest(name, estimators.names())
        yield f"[method] name{line} = {name!r} doesn't exist{hint}; there are: {', '.join(estimators.names())}"
        return
    if shape_of_method(name) != shape:
        wrong = "compares units at one time: leave out [data] period" if shape == "panel" else "needs [data] period"
        yield f"[method] name{line} = {name!r} {wrong}"
        return
    allowed = estimators.load(name).inferences
    if isinstance(inference, str) and inference not in allowed:
        kind = "doesn't go with" if inference in inferences.names() else "doesn't exist for"
        place = at(text, ("method", "inference"))
        hint = f"{nearest(inference, allowed)}; allowed: {', '.join(allowed)}"
        yield f"[method] inference{place} = {inference!r} {kind} {name}{hint}"
    elif isinstance(inference, str):
        yield from option_problems(inferences, inference, method.get("inference_options", {}), text)
    elif method.get("inference_options"):
        place = at(text, ("method.inference_options",))
        yield f"[method.inference_options]{place}: options of an inference need its name: set inference under [method]"
    yield from option_problems(estimators, name, method.get("options", {}), text)


def _auto_problems(method: Mapping[str, Any], text: str, *, advised: bool) -> Iterator[str]:
    """Refuse what the advice chooses itself, and ``auto`` where nothing is advised."""
    if not advised:
        line = at(text, ("method", "name"))
        yield f'[method] name{line} = "auto" is for launches and comparisons; here name a method'
    for key in ("inference", "options", "inference_options"):
        if method.get(key):
            place = at(text, ("method", key) if key == "inference" else (f"method.{key}",))
            yield f'[method] {key}{place}: name = "auto" chooses it too; leave it out, or name a method'


def option_problems(room: Catalogue, name: str, options: Any, text: str) -> Iterator[str]:
    """Check the name and the options of one member of a room."""
    if isinstance(options, Mapping):
        try:
            room.create(name, options)
        except StudyError as error:
            place = at(text, (room.options_key.strip("[]"),))
            yield from (f"{room.options_key}{place}: {problem}" for problem in error.problems)


def relevant(errors: Iterable[Mapping[str, Any]], values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Leave out what is wrong with a value read in a way that it isn't written in: a list read as a table, or the reverse."""
    for error in errors:
        location = error["loc"]
        branch = next((i for i, part in enumerate(location) if _is_branch(part)), None)
        if branch is None or isinstance(_value(values, location[:branch]), Mapping) == _reads_table(location[branch]):
            yield {**error, "loc": tuple(part for part in location if not _is_branch(part))}


def _is_branch(part: object) -> bool:
    """Tell whether part of a location names a reading and no key: keys are words."""
    return isinstance(part, str) and bool(re.match(r"(tuple|dict)\[|(constrained|function)-", part))


def _reads_table(branch: str) -> bool:
    return branch.startswith("dict[")


def _value(values: Any, location: Sequence[Any]) -> Any:
    for part in location:
        values = values[part]
    return values


def problem_of(error: Mapping[str, Any], text: str, tables: Mapping[str, type[BaseModel]]) -> str:
    """Write one validation error as a sentence with its table, key and line."""
    location = error["loc"]
    keys = tuple(str(part) for part in location if not isinstance(part, int))
    depth, several, model = _table_of(location, tables)
    head = ".".join(keys[:depth])
    plain = tables.get(head) is Key
    table = head if plain else f"[[{head}]]" if several else f"[{head}]" if keys else "study"
    key = f"{table} {'.'.join(keys[depth:])}" if keys[depth:] else table
    occurrence = next((part for part in location if isinstance(part, int)), 0) if several else 0
    line = at(text, keys, occurrence)
    kind = error["type"]
    if kind == "extra_forbidden":
        allowed = set(tables if model is None else model.model_fields)
        other = "; a study with [geo] is for causalbench geo" if keys == ("geo",) else ""
        return (
            f"{key}{line} is not a key{nearest(keys[-1], allowed)}; allowed here: {', '.join(sorted(allowed))}{other}"
        )
    if kind == "missing":
        return f"{key} is missing{line}"
    message = str(error["msg"]).removeprefix("Value error, ").replace("a valid tuple", "an array")
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a table", message)
    found = "" if isinstance(error.get("input"), Mapping) else f", found {error.get('input')!r}"
    return f"{key}{line}: {message}{found}"


_ARRAYS = ("metric", "trade")
"""Tables of which there may be several."""


def _table_of(
    location: Sequence[Any], tables: Mapping[str, type[BaseModel]]
) -> tuple[int, bool, type[BaseModel] | None]:
    """Return how many keys of a location name its table, whether there may be several of that, and its model."""
    keys = [part for part in location if not isinstance(part, int)]
    if not keys or keys[0] not in tables:
        return 1, False, None
    model, depth, several = tables[keys[0]], 1, keys[0] in _ARRAYS
    while len(keys) > depth and keys[depth] in model.model_fields:
        inner, many = _table_in(model.model_fields[keys[depth]].annotation)
        if inner is None or (len(keys) == depth + 1 and not many):
            break
        model, depth, several = inner, depth + 1, many
    return depth, several, model if len(keys) > depth else None


def _table_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the table that a key holds, None where it holds none, and whether it may hold several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    found = [_table_in(part) for part in get_args(annotation)]
    inner = next((pair for pair in found if pair[0] is not None), (None, False))
    return inner[0], inner[1] or (inner[0] is not None and get_origin(annotation) is tuple)


def at(text: str, keys: Sequence[str], occurrence: int = 0) -> str:
    """Return `` (line N)`` of a key, of its table where the key isn't there, or nothing."""
    line = _line(text, keys, occurrence)
    return f" (line {line})" if line else ""


def _line(text: str, keys: Sequence[str], occurrence: int) -> int | None:
    """Locate a key, or the nearest table around it."""
    found = list(_entries(text))
    for depth in range(len(keys), 0, -1):
        path = ".".join(keys[:depth])
        for number, name, nth in found:
            if name == path and nth in (None, occurrence):
                return number
    return None


def _entries(text: str) -> Iterator[tuple[int, str, int | None]]:
    """Yield line, dotted name and place among tables of that name of every table and key.

    A small reader, as the TOML parser doesn't keep lines; the place is None in a table that there is only one of.
    """
    table, nth, seen = "", None, Counter[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*(\[{1,2})\s*([\w.\-]+)\s*\]{1,2}", line):
            table = match[2]
            nth = seen[table] if match[1] == "[[" else None
            seen[table] += 1
            yield number, table, nth
        elif match := re.match(r"\s*[\"']?([\w.\-]+)[\"']?\s*=", line):
            yield number, f"{table}.{match[1]}" if table else match[1], nth
