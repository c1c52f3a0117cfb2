"""Problems of a study file as sentences with table, key and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from causalbench.catalogue import Catalogue
from causalbench.errors import StudyError, nearest


def method_problems(method: Mapping[str, Any], text: str) -> Iterator[str]:
    """Check names and options of the method, which only the method itself knows; imports nothing but that method."""
    estimators = Catalogue("causalbench.estimators", "method")
    inferences = Catalogue("causalbench.inference", "inference", "[method.inference_options]")
    name, inference = method.get("name"), method.get("inference")
    if not isinstance(name, str):
        return
    line = at(text, ("method", "name"))
    if name == "auto":
        yield f'[method] name{line} = "auto" can\'t choose yet; name one of: {", ".join(estimators.names())}'
        return
    if name not in estimators.names():
        hint = nearest(name, estimators.names())
        yield f"[method] name{line} = {name!r} doesn't exist{hint}; there are: {', '.join(estimators.names())}"
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


def option_problems(room: Catalogue, name: str, options: Any, text: str) -> Iterator[str]:
    """Check the name and the options of one member of a room."""
    if isinstance(options, Mapping):
        try:
            room.create(name, options)
        except StudyError as error:
            place = at(text, (room.options_key.strip("[]"),))
            yield from (f"{room.options_key}{place}: {problem}" for problem in error.problems)


def problem_of(error: Mapping[str, Any], text: str, tables: Mapping[str, type[BaseModel]]) -> str:
    """Write one validation error as a sentence with its table, key and line."""
    location = error["loc"]
    keys = tuple(str(part) for part in location if not isinstance(part, int))
    table = f"[[{keys[0]}]]" if keys[:1] == ("metric",) else f"[{keys[0]}]" if len(keys) > 1 or keys[:1] else "study"
    key = f"{table} {keys[1]}" if len(keys) > 1 else table
    occurrence = next((part for part in location if isinstance(part, int)), 0) if keys[:1] == ("metric",) else 0
    line = at(text, keys, occurrence)
    kind = error["type"]
    if kind == "extra_forbidden":
        allowed = _allowed(keys, tables)
        return f"{key}{line} is not a key{nearest(keys[-1], allowed)}; allowed here: {', '.join(sorted(allowed))}"
    if kind == "missing":
        return f"{key} is missing{line}"
    message = str(error["msg"]).removeprefix("Value error, ").replace("a valid tuple", "an array")
    found = "" if isinstance(error.get("input"), Mapping) else f", found {error.get('input')!r}"
    return f"{key}{line}: {message}{found}"


def _allowed(keys: tuple[str, ...], tables: Mapping[str, type[BaseModel]]) -> set[str]:
    return set(tables[keys[0]].model_fields) if len(keys) > 1 and keys[0] in tables else set(tables)


def at(text: str, keys: tuple[str, ...], occurrence: int = 0) -> str:
    """Return `` (line N)`` of a key, of its table where the key isn't there, or nothing."""
    line = _line(text, keys, occurrence)
    return f" (line {line})" if line else ""


def _line(text: str, keys: tuple[str, ...], occurrence: int) -> int | None:
    """Locate a key: a small reader of table headers and keys, which the TOML parser doesn't keep."""
    table, seen, header = "", -1, None
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[{1,2}\s*([\w.\-]+)\s*\]{1,2}", line):
            table = match[1]
            seen += bool(keys) and table == keys[0]
            if keys and table == keys[0] and seen == occurrence:
                header = number
        elif match := re.match(r"\s*[\"']?([\w.\-]+)[\"']?\s*=", line):
            here = (table, match[1]) if table else (match[1],)
            if here == keys[:2] and (not table or seen == occurrence):
                return number
    return header
