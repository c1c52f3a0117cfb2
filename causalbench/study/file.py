"""A study file: TOML in, a validated value out; what all kinds of study share."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, ValidationError

from causalbench.artifacts import digest, plain
from causalbench.errors import DataError, StudyError, nearest
from causalbench.study.problems import at, problem_of, relevant
from causalbench.study.tables import About, Contradiction, Metric, Run, Table, some


class StudyFile(Table):
    """What every study has: a question, a table, and metrics in it."""

    tables: ClassVar[Mapping[str, type[BaseModel]]]

    study: About
    data: Table
    metric: Annotated[tuple[Metric, ...], AfterValidator(some)]
    run: Run = Run()
    folder: Path = Field(default=Path(), exclude=True)
    _file: str = PrivateAttr(default="study.toml")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a study file.

        Raises
        ------
        StudyError
            With every problem at once: key, line, what is allowed, and the nearest match.
        """
        path = Path(path)
        path = path / "study.toml" if path.is_dir() else path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            siblings = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
            raise StudyError([f"there is no file {path}{nearest(path.name, siblings)}"], where=str(path)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError([f"the file can't be read: {error}"], where=str(path)) from None
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise StudyError([f"not valid TOML: {error}"], where=str(path)) from None
        study = cls.from_mapping(values, folder=path.parent, text=text, where=str(path))
        study._file = path.name  # noqa: SLF001 - its own
        return study

    @classmethod
    def from_mapping(
        cls, values: Mapping[str, Any], *, folder: Path | None = None, text: str = "", where: str = "study"
    ) -> Self:
        """Validate a mapping with the keys of a study file; ``text`` lets problems name their line."""
        problems: list[str] = []
        given = {key: value for key, value in values.items() if key != "folder"} | {"folder": folder or Path()}
        if "folder" in values:
            problems.append(
                problem_of({"type": "extra_forbidden", "loc": ("folder",), "input": "", "msg": ""}, text, cls.tables)
            )
        study = None
        try:
            study = cls.model_validate(given)
        except ValidationError as error:
            problems += [problem_of(item, text, cls.tables) for item in relevant(map(dict, error.errors()), values)]
        problems += [f"{table}{at(text, keys)}: {problem}" for table, keys, problem in cls.contradictions(values)]
        problems += list(cls.deeper_problems(values, text))
        if problems or study is None:
            raise StudyError(problems, where=where)
        return study

    @classmethod
    def restored(cls, values: Mapping[str, Any], *, path: Path) -> Self:
        """Return a study from its values as :meth:`to_dict` writes them, as if it were loaded from ``path``.

        Raises
        ------
        StudyError
            When the values are no study's, for example those of another version.
        """
        try:
            study = cls.model_validate({**_stated(values), "folder": path.parent})
        except ValidationError as error:
            places = sorted({".".join(map(str, item["loc"])) for item in error.errors()})
            raise StudyError(
                [f"{place} isn't as this version writes it" for place in places], where=str(path)
            ) from None
        study._file = path.name  # noqa: SLF001 - its own
        return study

    def beside(self, name: str) -> Path:
        """Return the path of a file that the study names, which lies in its folder or below.

        Raises
        ------
        DataError
            When it lies elsewhere, also behind a link.
        """
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(f"{name} lies outside the study's folder", remedy="put the file beside the study file")
        return path

    @property
    def path(self) -> Path:
        """Where the study file is, or would be."""
        return self.folder / self._file

    def to_dict(self) -> dict[str, Any]:
        """Return the study's values as plain JSON; the folder isn't part of it."""
        result: dict[str, Any] = plain(self.model_dump())
        return result

    @property
    def digest(self) -> str:
        """SHA-256 of the study's values."""
        return digest(self.to_dict())

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Find keys that are right by themselves and wrong together; yields table, place and problem."""
        raise NotImplementedError

    @classmethod
    def deeper_problems(cls, values: Mapping[str, Any], text: str) -> Iterator[str]:
        """Find what only a method itself knows to be wrong."""
        raise NotImplementedError


def _stated(value: Any) -> Any:
    """Leave out keys without a value."""
    if isinstance(value, Mapping):
        return {key: _stated(item) for key, item in value.items() if item is not None}
    return [_stated(item) for item in value] if isinstance(value, list) else value
