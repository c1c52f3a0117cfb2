"""Numbers written for people, such as ``1,234.5``: read in the table's engine when the study says how they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, get_args

import narwhals as nw

from causalbench.data.sources import MISSING_TOKENS
from causalbench.errors import DataError, require_one_of

Decimal = Literal[".", ","]
Thousands = Literal[",", ".", " ", "'"]

# How each mark may look in a text; patterns must mean the same in every engine, so no look-around and no \d.
_MARKS = {".": "[.]", ",": "[,]", " ": "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}
_BLANKS = " \t\r\n\u00a0\u2009\u202f"
_TEXTS = (nw.String, nw.Categorical, nw.Enum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerals:
    """How numbers are written in text columns.

    Attributes
    ----------
    decimal
        Mark before the fraction; a point unless ``thousands`` is one.
    thousands
        Mark between groups of three digits; None: no grouping.

    Examples
    --------
    >>> Numerals(thousands=".").read("1.234,5"), Numerals(thousands=",").read("1,5") is None
    (1234.5, True)
    """

    decimal: Decimal | None = None
    thousands: Thousands | None = None

    def __post_init__(self) -> None:
        if self.decimal is None:
            object.__setattr__(self, "decimal", "," if self.thousands == "." else ".")
        require_one_of("decimal", self.decimal, get_args(Decimal))
        if self.thousands is not None:
            require_one_of("thousands", self.thousands, get_args(Thousands))
        if self.decimal == self.thousands:
            raise DataError(
                f"decimal and thousands are both {self.decimal!r}", code="CB-D020", remedy="name two different marks"
            )

    @property
    def pattern(self) -> str:
        """Regular expression of a whole number text: groups hold exactly three digits."""
        point = _MARKS[str(self.decimal)]
        grouped = "" if self.thousands is None else rf"[0-9]{{1,3}}(?:{_MARKS[self.thousands]}[0-9]{{3}})+|"
        return rf"^[+-]?(?:(?:{grouped}[0-9]+)(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?$"

    def read(self, text: str) -> float | None:
        """Read one text; None where it isn't written this way."""
        bare = text.strip(_BLANKS)
        if not re.search(self.pattern, bare):
            return None
        return float(re.sub(_MARKS[str(self.decimal)], ".", self._without_groups(bare)))

    def _without_groups(self, text: str) -> str:
        return text if self.thousands is None else re.sub(_MARKS[self.thousands], "", text)

    def written(self) -> str:
        """Return the keys of the study file that stand for this way of writing."""
        return f'decimal = "{self.decimal}"' + (f' and thousands = "{self.thousands}"' if self.thousands else "")


def is_text(dtype: nw.dtypes.DType) -> bool:
    """Tell whether a column holds text."""
    return dtype in _TEXTS


def as_numbers(frame: nw.LazyFrame[Any], name: str, numerals: Numerals) -> nw.LazyFrame[Any]:
    """Replace a text column by its numbers, and mark in ``<name>_unread`` texts that are neither a number nor missing."""
    text = nw.col(name)
    frame = frame.with_columns(text.cast(nw.String).str.strip_chars(_BLANKS).alias(name))
    frame = frame.with_columns(nw.when(~text.is_in(["", *MISSING_TOKENS])).then(text).alias(name))
    fits = text.str.contains(numerals.pattern).fill_null(value=False)
    frame = frame.with_columns((~text.is_null() & ~fits).cast(nw.Int64).alias(f"{name}_unread"))
    plain = text if numerals.thousands is None else text.str.replace_all(_MARKS[numerals.thousands], "")
    if numerals.decimal == ",":
        plain = plain.str.replace_all(",", ".", literal=True)
    frame = frame.with_columns(nw.when(nw.col(f"{name}_unread") == 0).then(plain).alias(name))
    return frame.with_columns(text.cast(nw.Float64).alias(name))


def refuse_text(frame: nw.LazyFrame[Any], what: str, numerals: Numerals | None) -> NoReturn:
    """Refuse the text of the column ``text``, or those that aren't written as the study says.

    Raises
    ------
    DataError
        With how many texts, the first three of them, and the keys that read them.
    """
    text = nw.col("text")
    texts = frame.select(text.cast(nw.String).str.strip_chars(_BLANKS))
    texts = texts.filter(~text.is_null() & ~text.is_in(["", *MISSING_TOKENS]))
    unread = texts.filter(~text.str.contains((numerals or Numerals()).pattern))
    count = len(unread.collect(backend="pandas").to_pandas())
    known = _sample(texts)
    if not known:
        raise DataError(f"{what} holds no number", code="CB-D004", remedy="check the column's name")
    found = _sample(unread) if count else known
    how = f"aren't numbers written with {numerals.written()}" if numerals else "aren't plain numbers"
    raise DataError(
        f"{what} holds {f'{count} texts that {how}' if count else 'numbers stored as text'}, "
        f"for example {', '.join(map(repr, found[:3]))}",
        code="CB-D020",
        remedy=_remedy(list(dict.fromkeys([*found, *known])), covariate=what.startswith("covariate")),
    )


def _sample(texts: nw.LazyFrame[Any]) -> list[str]:
    table = texts.head(1000).collect(backend="pandas").to_pandas()
    return list(dict.fromkeys(table["text"].astype(str)))


def _remedy(texts: list[str], *, covariate: bool) -> str:
    """Name the ways of writing that read every text, with what they make of the first one; else say what to do by hand."""
    readings = list(_readings(texts))
    if readings:
        return f"say under [data] how numbers are written: {'; or '.join(readings)}"
    if any("%" in text for text in texts) or any(re.search(r"[$\u00a3\u00a5\u20ac]", text) for text in texts):
        return (
            "take signs of currency out and divide percentages by 100 first; separators may stay, see [data] thousands"
        )
    if covariate and not any(re.search("[0-9]", text) for text in texts):
        return "turn a column of categories into columns of 0 and 1, one for each category but one"
    return (
        "store plain numbers; for separators and decimal commas there are the keys thousands and decimal under [data]"
    )


def _readings(texts: list[str]) -> Iterator[str]:
    ways = [Numerals(), Numerals(decimal=",")]
    ways += [Numerals(decimal=d, thousands=t) for d in get_args(Decimal) for t in get_args(Thousands) if d != t]
    seen = set()
    for way in ways:
        values = [way.read(text) for text in texts]
        if None not in values and tuple(values) not in seen:
            seen.add(tuple(values))
            yield f"{way.written()} reads {texts[0]!r} as {values[0]:.15g}"
