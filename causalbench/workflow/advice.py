"""Advice on a study, and the method that ``auto`` stands for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from causalbench.catalogue import Catalogue
from causalbench.errors import RefusalError
from causalbench.plan.advise import Advice, Profile, Screened, advise, screened
from causalbench.study import AUTO, AnyStudy, ComparisonStudy, GeoStudy, Study
from causalbench.values import CheckResult
from causalbench.workflow.profile import profile_study

__all__ = ["advise_study", "profile_study", "resolve", "without_suspects"]

S = TypeVar("S", Study, ComparisonStudy)


def advise_study(study: AnyStudy, *, profile: Profile | None = None) -> Advice:
    """Say which method may answer a study, which may not, and why; no outcome from the launch on has a part in it.

    ``profile`` are its facts, where they are known already.

    Raises
    ------
    DataError, GraphError
        When the table or the graph can't be read.

    Examples
    --------
    >>> from causalbench.data.datasets import study_path
    >>> from causalbench.study import load_study
    >>> found = advise_study(load_study(study_path("castle")))
    >>> found.primary, found.inference, found.row
    ('group-time', 'cluster', '5')
    """
    level = study.geo.level if isinstance(study, GeoStudy) else study.method.level
    return advise(profile or profile_study(study), level=level)


def resolve(study: S) -> tuple[S, Advice | None]:
    """Return a study with a method in place of ``auto``, and the advice it follows; None where the study names its method.

    Raises
    ------
    RefusalError
        Where nothing can be fitted.
    """
    if study.method.name != AUTO:
        return study, None
    advice = advise_study(study)
    chosen = advice.chosen
    if chosen is None:
        reasons = "; ".join(f"{refusal.label}: {refusal.condition}" for refusal in advice.refused)
        remedies = "; or ".join(dict.fromkeys(refusal.remedy for refusal in advice.refused))
        raise RefusalError(f'method "auto" finds no method for these data. {reasons}', remedy=remedies)
    named = {"name": chosen.method, "inference": chosen.inference, "options": dict(chosen.options)}
    return study.model_copy(update={"method": study.method.model_copy(update=named)}), advice


def without_suspects(study: Study, checks: Iterable[CheckResult]) -> tuple[Study, Screened] | None:
    """Row x: return the study without the controls that the screen suspects, and what follows; None where it suspects nobody.

    The study comes back as it is where its method can't leave out controls.
    """
    screen = next((check for check in checks if check.name == "contamination-screen"), None)
    if screen is None:
        return None
    weight = float(screen.table.get("weight_on_suspects") or 0.0)
    found = screened(screen.table.get("suspects", ()), weight=weight)
    if found is None:
        return None
    fields = Catalogue("causalbench.estimators", "method").load(study.method.name).__dataclass_fields__
    if "exclude" not in fields:
        return study, found
    given = study.method.options.get("exclude", ())
    named = [given] if isinstance(given, str) else list(given)
    options = {**study.method.options, "exclude": (*named, *(name for name in found.suspects if name not in named))}
    return study.model_copy(update={"method": study.method.model_copy(update={"options": options})}), found
