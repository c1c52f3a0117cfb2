"""What can be known of a launch before its outcome is looked at, and the advice that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from causalbench.artifacts import plain

Shape = Literal["panel", "cross-section", "experiment"]
Assignment = Literal["random", "rule", "opt-in", "chosen"]
Grade = Literal["A", "B", "C", "D"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Why a method can't take the data, whatever the row says: what was found, and what would mend it."""

    found: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Facts of a launch, of a comparison at one time, or of an experiment that is planned; no outcome after the launch.

    Methods are named as by :func:`labelled`.

    Attributes
    ----------
    shape
        ``panel``: units over periods; ``cross-section``: units once; ``experiment``: a study with ``[geo]``.
    launched
        Whether the table holds periods from the launch on.
    assignment, as_planned
        How units were chosen, as the study says; whether the list of treated units is the one planned, None where nobody
        compared.
    metric, frequency, season
        Name of the outcome, spacing of periods, and how many make a season (1: none).
    n_treated, n_control, n_treated_clusters, n_control_clusters
        Units treated at some time and never; clusters of them, of units where there is no cluster column.
    n_pre, n_post
        Periods before the first launch less anticipation, and from it on.
    n_cohorts, fewest_cohort
        Launch dates, and units of the smallest.
    maturity
        Periods that a value of the metric needs until it is final.
    n_covariates
        Covariates that the study names.
    has_before, has_cost
        Whether the study names the outcome before the treatment (without periods), and a cost.
    inside_hull
        Whether the treated units' path before the launch lies within what mixtures of controls reach, as by the check
        ``donor-hull``; None where it wasn't measured.
    perfect_fit
        Whether some mixture of controls hits the history exactly.
    unfit, inferences
        By method: why it can't take these data; the inference that its own rule names for them.
    held_out
        By method: error in stretches of the history that it hadn't seen, over that of repeating the last season.
    placebo_errors
        By method: root mean square error of the average effect of mock launches in controls, in units of the metric.
    typical
        Mean outcome of the treated units before the launch.
    effect_sought
        Smallest effect worth acting on, in units of the metric per unit and period; None where the study names none.
    adjustment, adjustment_problem
        Where covariates of a comparison come from: ``graph``: a set that its graph shows to suffice; ``named``: the study's word
        for it; ``none``; ``refused``: the graph says that no set will do, or forbids one named, and why.
    effective_controls, share_extreme, largest_difference
        Given the covariates: effective number of units to compare with, share of those the effect is about with a probability
        of treatment above .95, and largest standardized difference left after weighting; None where there are no covariates.
    placebo_p
        p-value of no effect on the outcome before the treatment; None where it can't be asked.
    n_cells, duration, switches, leaks
        Of an experiment: treated cells, longest duration in periods, whether the treatment may be switched on and off in a
        unit, and whether the study says that neighbours react.
    """

    shape: Shape = "panel"
    launched: bool = True
    assignment: Assignment = "chosen"
    as_planned: bool | None = None
    metric: str = "the outcome"
    frequency: str = "number"
    season: int = 1
    n_treated: int
    n_control: int
    n_treated_clusters: int = -1
    n_control_clusters: int = -1
    n_pre: int = 0
    n_post: int = 0
    n_cohorts: int = 1
    fewest_cohort: int = -1
    maturity: int = 0
    n_covariates: int = 0
    has_before: bool = False
    has_cost: bool = False
    inside_hull: bool | None = None
    perfect_fit: bool = False
    unfit: Mapping[str, Unfit] = field(default_factory=dict)
    inferences: Mapping[str, str] = field(default_factory=dict)
    held_out: Mapping[str, float] = field(default_factory=dict)
    placebo_errors: Mapping[str, float] = field(default_factory=dict)
    typical: float | None = None
    effect_sought: float | None = None
    adjustment: Literal["graph", "named", "none", "refused"] = "none"
    adjustment_problem: str = ""
    effective_controls: float | None = None
    share_extreme: float | None = None
    largest_difference: float | None = None
    placebo_p: float | None = None
    n_cells: int = 1
    duration: int | None = None
    switches: bool = False
    leaks: bool = False

    def __post_init__(self) -> None:
        same = {
            "n_treated_clusters": self.n_treated,
            "n_control_clusters": self.n_control,
            "fewest_cohort": self.n_treated,
        }
        for name, value in same.items():
            if getattr(self, name) < 0:
                object.__setattr__(self, name, value)

    @property
    def n_seasons_pre(self) -> float:
        """Number of seasons before the launch."""
        return self.n_pre / self.season

    @property
    def smallest_p(self) -> float:
        """Smallest p-value of a rank among all controls and the treated."""
        return 1 / (self.n_control + 1)

    @property
    def fewest_clusters(self) -> int:
        """Number of clusters of the smaller arm."""
        return min(self.n_treated_clusters, self.n_control_clusters)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain JSON values."""
        found: dict[str, Any] = plain(self)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A method that the data allow.

    Attributes
    ----------
    method, inference, options
        As a study names them; inference None: the method's own rule, once the outcome is there.
    row
        Of the table of methods.
    condition
        What was measured.
    remedy
        What would make it better, empty where nothing is missing.
    leads
        Whether the row may make it the primary method; if not, it serves to hold the primary against.
    cap, because
        Best grade that it allows, before downgrades, and why.
    downgrades
        What lowers the grade by one each.
    cautions
        What the reader must know, without a change of grade.
    at_readout
        What only the outcome after the launch can decide.
    """

    method: str
    inference: str | None
    row: str
    condition: str
    options: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""
    leads: bool = True
    cap: Grade = "B"
    because: str = "No draw decided who got it."
    downgrades: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    at_readout: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Method with its options."""
        return labelled(self.method, self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A method that the data don't allow: the measured condition, and what would lift the refusal."""

    method: str
    inference: str | None
    row: str
    condition: str
    remedy: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Method with its options."""
        return labelled(self.method, self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Which method may answer, which others are held against it, which may not, and how far the answer may be believed.

    Attributes
    ----------
    primary, inference, options, row
        The method of the first row that matches; primary None and row "" where none does.
    eligible
        Every method that the data allow, the primary first.
    sensitivity
        Where no row matches: what can be fitted all the same, as a sensitivity only.
    refused
        Methods of the other rows, with the measured condition and what would lift it.
    grade_cap
        Best grade that a readout may get, before its checks.
    claim_allowed, wait
        Whether an effect may be claimed yet; if not, how long to wait.
    cap_reasons, cautions
        Why the grade is capped, and what else the reader must know.
    at_readout
        What only the outcome after the launch can decide.
    instead
        What could still be done where nothing may have gone out yet.
    """

    primary: str | None
    inference: str | None
    options: Mapping[str, Any]
    row: str
    eligible: tuple[Suggestion, ...]
    refused: tuple[Refusal, ...]
    grade_cap: Grade
    claim_allowed: bool
    wait: str | None
    sensitivity: tuple[Suggestion, ...] = ()
    cap_reasons: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    at_readout: tuple[str, ...] = ()
    instead: str | None = None

    @property
    def chosen(self) -> Suggestion | None:
        """What ``method = "auto"`` runs: the primary, else the first sensitivity; None where nothing can be fitted."""
        return next(iter((*self.eligible, *self.sensitivity)), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the advice as plain JSON values."""
        found: dict[str, Any] = plain(self)
        return found


def labelled(method: str, options: Mapping[str, Any] | None = None) -> str:
    """Return a method's name with its options.

    Examples
    --------
    >>> labelled("synthetic-control", {"fixed_effects": "unit"}), labelled("did")
    ('synthetic-control (fixed_effects = unit)', 'did')
    """
    told = ", ".join(f"{key} = {value}" for key, value in (options or {}).items())
    return f"{method} ({told})" if told else method
