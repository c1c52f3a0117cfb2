"""A room lists its modules by file name without importing them: a new method is one file."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing
from collections.abc import Mapping
from typing import Any

from causalbench.errors import StudyError, nearest


@dataclasses.dataclass(frozen=True, slots=True)
class Catalogue:
    """The methods of one room.

    ``synthetic_control.py``, the name ``synthetic-control`` and the class ``SyntheticControl`` are one thing.

    Parameters
    ----------
    package
        Dotted name of the room.
    kind
        What a member is called in messages, such as ``estimator``.
    options_key
        Where a study file has a member's options.
    """

    package: str
    kind: str
    options_key: str = "[method.options]"

    def names(self) -> tuple[str, ...]:
        """Return every name in the room, sorted, importing none of them."""
        path = importlib.import_module(self.package).__path__
        return tuple(sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(path) if not m.name.startswith("_")))

    def load(self, name: str) -> type[Any]:
        """Import one module and return its class; an unknown name raises :class:`StudyError` with the nearest."""
        if name not in self.names():
            allowed = ", ".join(self.names())
            raise StudyError(
                [f"{self.kind} {name!r} doesn't exist{nearest(name, self.names())}; there are: {allowed}"],
                where=self.kind,
            )
        module = importlib.import_module(f"{self.package}.{name.replace('-', '_')}")
        member: type[Any] = getattr(module, _class_name(name))
        return member

    def create(self, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """Build a member from options as a study file or a command line gives them.

        Unknown options, wrong types and impossible values raise :class:`StudyError`.
        """
        import pydantic

        member = self.load(name)
        fields = {field.name: field for field in dataclasses.fields(member)}
        options = dict(options or {})
        problems = [
            f"option {key!r} doesn't exist for {name}{nearest(key, fields)}; "
            + (f"allowed: {', '.join(fields)}" if fields else f"{name} takes no options")
            for key in options
            if key not in fields
        ]
        hints = typing.get_type_hints(member)
        given = {key: _split(value, hints[key]) for key, value in options.items() if key in fields}
        try:
            made: Any = pydantic.TypeAdapter(member).validate_python(given)
        except pydantic.ValidationError as error:
            problems += [_problem(name, e) for e in error.errors()]
        if problems:
            raise StudyError(problems, where=self.options_key)
        return made

    def attribute(self, name: str) -> type[Any]:
        """Resolve a class name for ``from room import ClassName``."""
        for module in self.names():
            if _class_name(module) == name:
                return self.load(module)
        raise AttributeError(f"{self.package} has no {name!r}")


def _problem(name: str, error: Mapping[str, Any]) -> str:
    """Say what is wrong with an option, or with several together, which an error without a place is about."""
    place, message = ".".join(map(str, error["loc"])), str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"option {place} is missing; {name} needs it"
    return f"option {place}: {message}, found {error['input']!r}" if place else f"options of {name}: {message}"


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def _split(value: Any, hint: Any) -> Any:
    """Read ``a,b`` as a tuple where the option is one; arrays of a study file pass through."""
    if typing.get_origin(hint) is tuple and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value
