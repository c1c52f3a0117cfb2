"""The verbs of a page at the strength that its grade allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_STRENGTH = {"A": 4, "B": 3, "C": 2, "D": 1}

_NEVER, _EXPERIMENT, _GOOD, _HINT = 5, 4, 3, 2

_PROOF = (
    "prove[sdn]?|proven|proving|proof|conclusive(?:ly)?|the truth",
    "definite(?:ly)?|certain(?:ly)?|undoubtedly|guarantee[sd]?|(?:beyond|without) doubt",
)
_ABSENCE = (
    "(?:had|has|have|made|makes?|was|were|is|are) (?:no|zero) (?:effect|impact|difference)",
    "did nothing|does nothing|changed nothing|(?:was|is) harmless",
)
_CAUSE = (
    "caus(?:ed|es)|drove|drives|led to|leads to|result(?:ed|s) in|worked|works",
    "rais(?:ed|es)|lower(?:ed|s)|increas(?:ed|es)|decreas(?:ed|es)|reduc(?:ed|es)|lift(?:ed|s)|boost(?:ed|s)",
    "improv(?:ed|es)|harm(?:ed|s)|hurts?|grew|gained|lost|(?:because of|thanks to|due to) the launch",
)
_FINDING = (
    "(?:is|are|was|were) (?:clearly )?(?:shown|established|demonstrated|confirmed|better|worse)",
    r"shows? (?:an? |that |the )?(?:\w+ )?effect|demonstrates?|establish(?:es)?|confirms|significant(?:ly)?",
)
_SUGGESTION = (
    "suggests?|hints?|points? to|indicates?|supports?|likely|probably",
    "(?:best|combined) estimate (?:is|was)",
)
_RULES: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (_PROOF, _NEVER, "no data prove an effect"),
    (_ABSENCE, _NEVER, "an effect that isn't shown isn't shown to be absent"),
    (_CAUSE, _EXPERIMENT, "only a random assignment that was carried out lets a page say what the launch did"),
    (_FINDING, _GOOD, "below grade B nothing is shown"),
    (_SUGGESTION, _HINT, "at grade D nothing is claimed, not even a hint"),
)

# Words that take an assertion back: a negation, a condition, a question, the plan of an action.
_HEDGE = re.compile(
    r"\b(?:not|no|nor|never|neither|nobody|none|nothing|can't|cannot|couldn't|don't|doesn't|didn't|isn't|aren't|wasn't|without|"
    r"if|whether|may|might|would|could|unless|until|should|were it)\b|\?",
    re.IGNORECASE,
)
_NO_PROOF = re.compile(r"\b(?:no|not|isn't|can't|cannot|doesn't|never)\b[^.;:]{0,30}$", re.IGNORECASE)
_ASKED = re.compile(r"\b(?:whether|if|that|compatible with)\b", re.IGNORECASE)
_WHOLE = re.compile(r"(?<=[.!?])\s+")
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\n+")
_PATTERNS = tuple(
    (re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE), words, need, why) for words, need, why in _RULES
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overclaim:
    """A sentence that says more than the grade allows.

    Attributes
    ----------
    sentence, words
        The sentence, and the words in it that claim too much.
    why
        The rule.
    """

    sentence: str
    words: str
    why: str


def overclaims(text: str, *, grade: str, quoted: Iterable[str] = ()) -> tuple[Overclaim, ...]:
    """Find the sentences of a page that claim more than its grade allows.

    Parameters
    ----------
    text
        Sentences of the page.
    grade
        ``A`` to ``D``.
    quoted
        The study's own words, such as its question and names: they aren't judged.

    Examples
    --------
    >>> [found.words for found in overclaims("The campaign raised sales. An effect is shown.", grade="B")]
    ['raised']
    >>> overclaims("An effect on sales is not shown.", grade="D")
    ()
    >>> overclaims("The data prove it.", grade="A")[0].why
    'no data prove an effect'
    """
    for words in sorted({word for word in quoted if word}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(words)}(?!\w)", "…", text)
    return tuple(found for sentence in _SENTENCE.split(text) for found in _judge(sentence, _STRENGTH[grade]))


def kept(texts: Iterable[str], *, grade: str, quoted: Iterable[str] = ()) -> tuple[str, ...]:
    """Return texts without the sentences that the grade doesn't allow; that one was left out is said in its place.

    Examples
    --------
    >>> kept(["The launch raised sales. Read on."], grade="C")
    ('Read on. A sentence was left out here: it said more than grade C allows.',)
    """
    words = tuple(quoted)
    note = f"A sentence was left out here: it said more than grade {grade} allows."
    found = []
    for text in texts:
        whole = _WHOLE.split(text)
        allowed = [sentence for sentence in whole if not overclaims(sentence, grade=grade, quoted=words)]
        found.append(text if len(allowed) == len(whole) else " ".join([*allowed, note]))
    return tuple(found)


def _judge(sentence: str, strength: int) -> Iterator[Overclaim]:
    for pattern, words, need, why in _PATTERNS:
        if need <= strength:
            continue
        for match in pattern.finditer(sentence):
            before = sentence[: match.start()]
            if not sentence.rstrip().endswith("?") and not _hedge_of(words).search(before):
                yield Overclaim(sentence=sentence.strip(), words=match[0], why=why)
                return


def _hedge_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Return what takes such words back where it stands before them: proof needs a denial close by."""
    return _NO_PROOF if words is _PROOF else _ASKED if words is _ABSENCE else _HEDGE
