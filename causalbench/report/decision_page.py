"""The page for the person who decides: one screen of at most 400 words, from the evidence alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from causalbench.report.language import kept, overclaims
from causalbench.wording import counted, number, percent

MOST_WORDS = 400

_ACTIONS = {
    "ship": "Ship",
    "hold": "Hold",
    "revise": "Revise",
    "stop": "Stop",
}
_EXPLORATORY = "EXPLORATORY: what was run differs from the sealed plan."
_CLAIM_FREE = "D"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A heading and its sentences.

    Attributes
    ----------
    name
        Stable name, for the page's styles.
    rank
        Higher ones give way first where the page would be too long.
    """

    name: str
    heading: str
    sentences: tuple[str, ...]
    rank: int
    listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPage:
    """What the page says, in order.

    Attributes
    ----------
    question, decision
        The study's own words.
    banner
        Says that the run is exploratory; empty where it kept its plan.
    action, grade, meaning
        What to do in one word; the letter, and what it means.
    tone
        Colour of the card: the headline's verdict.
    """

    name: str
    question: str
    decision: str
    banner: str
    action: str
    tone: str
    grade: str
    meaning: str
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """The whole page as plain text."""
        lines = [self.banner, self.question, f"{self.action}. Grade {self.grade}, {self.meaning}."]
        lines.append(f"Decision it informs: {self.decision}" if self.decision else "")
        for block in self.blocks:
            lines += ["", block.heading, *(f"- {text}" if block.listed else text for text in block.sentences)]
        return "\n".join(lines).strip("\n")

    @property
    def n_words(self) -> int:
        """Number of words on the page."""
        return len(re.findall(r"\S+", self.text.replace("\n- ", "\n")))


def compose(evidence: Mapping[str, Any]) -> DecisionPage | None:
    """Write the page of a readout; None where the evidence holds no grade.

    Every sentence is judged by :mod:`causalbench.report.language`, and blocks give way from the last rank on until the page has
    at most :data:`MOST_WORDS` words.
    """
    graded, found = evidence.get("grade"), evidence.get("decision")
    if graded is None or found is None:
        return None
    about, letter = evidence["study"]["study"], graded["grade"]
    quoted = _own_words(evidence)
    blocks = [
        Block(
            name=block.name,
            heading=block.heading,
            sentences=kept(block.sentences, grade=letter, quoted=quoted),
            rank=block.rank,
            listed=block.listed,
        )
        for block in _blocks(evidence)
        if block.sentences
    ]
    page = DecisionPage(
        name=about["name"],
        question=_short(about["question"], 60),
        decision=_short(about.get("decision") or "", 45),
        banner=_EXPLORATORY if evidence.get("plan", {}).get("status") == "changed" else "",
        action=_ACTIONS[found["recommendation"]["action"]],
        tone=evidence["headline"]["verdict"].replace(" ", "-"),
        grade=letter,
        meaning=graded["meaning"],
        blocks=tuple(blocks),
    )
    return _fitted(page)


def judged(evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sentences that the page's writer proposed and the grade doesn't allow; a test wants none."""
    letter, quoted = evidence["grade"]["grade"], _own_words(evidence)
    texts = [text for block in _blocks(evidence) for text in block.sentences]
    texts += [str(evidence["headline"][key]) for key in ("sentence", "answer", "why")]
    return tuple(text for text in dict.fromkeys(texts) if overclaims(text, grade=letter, quoted=quoted))


def _blocks(evidence: Mapping[str, Any]) -> Iterator[Block]:
    graded, found = evidence["grade"], evidence["decision"]
    silent = graded["grade"] == _CLAIM_FREE
    yield Block(name="action", heading="What to do", sentences=(found["recommendation"]["reasons"][0],), rank=0)
    yield Block(name="answer", heading="What was found", sentences=tuple(_answer(evidence)), rank=0)
    yield Block(name="grade", heading=f"Why grade {graded['grade']}", sentences=_reasons(graded), rank=2, listed=True)
    yield _guardrails(graded["grade"], found)
    if not silent:
        yield Block(name="trades", heading="What for what", sentences=_sentences(found, "trades"), rank=1)
        yield Block(name="value", heading="Is it worth it?", sentences=_sentences(found, "value"), rank=1)
        yield Block(name="segments", heading="For whom?", sentences=_sentences(found, "segments"), rank=1)
        if evidence["headline"]["verdict"] in ("shown", "suggested"):
            yield Block(name="dynamics", heading="Will it last?", sentences=_sentences(found, "dynamics"), rank=4)
        yield Block(name="trust", heading="How wrong could it be?", sentences=tuple(_trust(evidence)), rank=5)
    yield Block(name="donors", heading="Who was left out?", sentences=_sentences(found, "left_out"), rank=3)
    changes = tuple(_short(text, 32) for text in graded["would_change"][:3])
    yield Block(name="change", heading="What would change this", sentences=changes, rank=6, listed=True)


def _guardrails(letter: str, found: Mapping[str, Any]) -> Block:
    """Tell the guardrails at the strength of the grade; that one failed is told at every grade."""
    told = [one for one in found["guardrails"] if letter != _CLAIM_FREE or one["verdict"] != "pass"]
    heading = "Guardrails, at grade C a hint" if letter == "C" else "Guardrails"
    sentences = tuple(one["sentence"] for one in told)
    return Block(name="guardrails", heading=heading, sentences=sentences, rank=1, listed=True)


def _answer(evidence: Mapping[str, Any]) -> Iterator[str]:
    headline = evidence["headline"]
    yield headline["sentence"]
    yield headline["answer"]
    if headline.get("calibrated"):
        yield headline["calibrated"]
    if headline["verdict"] not in ("no claim", "suggested"):
        yield headline["why"]


def _reasons(graded: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the reasons for this letter; at B and C no more than three."""
    worst = [cap for cap in graded["caps"] if cap["cap"] == graded["grade"]]
    told = tuple(_short(cap["reason"], 34) for cap in worst[:3])
    more = len(worst) - len(told)
    return (*told, f"And {counted(more, 'more reason')} in the report.") if more > 0 else told


def _trust(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Say what the history taught about the method, and whether methods agree."""
    past = evidence.get("backtest") or {}
    row = next((row for row in past.get("table", ()) if row["method"] == past["main"]), None)
    if row is not None:
        text = f"In {row['n_placebos']} rehearsals before the launch, when nothing had happened, the method was off by"
        estimate = next(item for item in evidence["estimates"] if item["metric"] == past["metric"])
        text += f" {number(row['rmse'], digits=3)} {estimate['estimand']['units']} (root mean square)"
        covered = row["coverage"]
        yield text + (
            "." if covered is None else f"; its own interval was right in {percent(covered)} of {row['n_intervals']}."
        )
        if row["rel_mde"] is not None:
            yield f"Effects below about {percent(row['rel_mde'])} would mostly stay unseen."
    elif past.get("problem"):
        yield f"How wrong the method is on this history is not known: {past['problem']}."
    agreement = evidence.get("triangulation") or {}
    if agreement.get("consistent") is not None:
        n = len(agreement["weights"])
        yield (
            f"{n} methods agree within their errors."
            if agreement["consistent"]
            else f"{n} methods disagree beyond their errors."
        )


def _sentences(found: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return what a part of the decision says: one part, several, or none."""
    part = found.get(key)
    if not part:
        return ()
    parts: Sequence[Mapping[str, Any]] = [part] if isinstance(part, Mapping) else part
    return tuple(item["sentence"] for item in parts if item.get("sentence"))


def _own_words(evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the study's own words, which nobody has to judge."""
    study = evidence["study"]
    metrics = [item["name"] for item in study["metric"]]
    units = [unit for audit in evidence["audits"].values() for unit in audit["treated"]]
    return (study["study"]["question"], study["study"].get("decision") or "", *metrics, *map(str, units))


def _short(text: str, most: int) -> str:
    """Cut a text after whole sentences, or after a clause where the first sentence is too long."""
    if len(text.split()) <= most:
        return text
    for mark in (r"(?<=[.!?])\s+", r"(?<=[;:,])\s+", r"\s+"):
        told, count = [], 0
        for part in re.split(mark, text):
            count += len(part.split())
            if count > most:
                break
            told.append(part)
        if told:
            found = " ".join(told)
            return found if found.endswith((".", "!", "?")) else found.rstrip(";:,") + " …"
    return text


def _fitted(page: DecisionPage) -> DecisionPage:
    """Shorten the blocks of the last ranks until the page is short enough."""
    while page.n_words > MOST_WORDS:
        last = max(page.blocks, key=lambda block: (block.rank, len(block.sentences)))
        if last.rank == 0:
            break
        page = _without_last_sentence(page, last)
    return page


def _without_last_sentence(page: DecisionPage, target: Block) -> DecisionPage:
    shorter = replace(target, sentences=target.sentences[:-1])
    blocks = tuple(shorter if block is target else block for block in page.blocks)
    return replace(page, blocks=tuple(block for block in blocks if block.sentences))
