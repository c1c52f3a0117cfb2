"""dowhy's own falsification and refuters beside ours; dowhy is imported when one of them is called, and only then.

What goes wrong when they are called plainly (dowhy 0.14), and what is done about it here:

- Causes of the outcome alone are taken for effect modifiers, which adds interactions nobody asked for to the regression and
  makes every interval a bootstrap of many seconds. Here there are no effect modifiers and no intervals.
- A whole number as ``random_state`` gives every simulation the same draw, so that subsets vary by nothing and are always
  "significant". Here every simulation draws on from one stream.
- Propensities are kept in a column of the data and used again under the placebo. Here the estimator is a regression.
- Identification may search for hours. Here the covariates are given, and the graph has been searched before.
- Its kernel test starts processes of its own whatever ``n_jobs`` says. Here it stays in this one.
- The random state of the whole program is set anew. Here it is put back.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from causalbench.dag import Graph
from causalbench.data.sources import Source
from causalbench.errors import RefusalError, StudyError
from causalbench.numerics.independence import residuals
from causalbench.values import FloatArray
from causalbench.workflow.graph_data import node_data
from causalbench.workflow.graph_rules import check_covariates

Refuter = Literal["random_common_cause", "placebo_treatment", "data_subset"]
REFUTERS: tuple[Refuter, ...] = ("random_common_cause", "placebo_treatment", "data_subset")
_OPTIONS: dict[str, dict[str, Any]] = {
    "placebo_treatment": {"placebo_type": "permute"},
    "data_subset": {"subset_fraction": 0.8},
}
_METHODS = {"placebo_treatment": "placebo_treatment_refuter", "data_subset": "data_subset_refuter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DowhyFalsification:
    """What ``dowhy.gcm.falsify.falsify_graph`` says.

    Attributes
    ----------
    n_tests, n_violated
        Local independences tested and rejected.
    p_value
        Share of relabelings that violate as large a share or a smaller one.
    equivalent
        Share of relabelings that imply the same independences.
    falsifiable, falsified
        dowhy's verdicts; None where it can't say.
    """

    n_tests: int
    n_violated: int
    p_value: float
    equivalent: float
    falsifiable: bool | None
    falsified: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DowhyRefutation:
    """What one of dowhy's refuters says: the estimate, its mean over simulations, and dowhy's p-value."""

    refuter: Refuter
    estimate: float
    refuted: float
    p_value: float


def falsify(
    graph: Graph,
    source: Source,
    *,
    n_permutations: int = 20,
    level: float = 0.95,
    seed: int = 0,
    test: Literal["kernel", "partial-correlation"] = "kernel",
) -> DowhyFalsification:
    """Call dowhy's falsification by relabeling (Eulig et al. 2023).

    Parameters
    ----------
    graph, source
        A graph without unmeasured causes, and a table with a column of numbers for every node.
    n_permutations
        Relabelings; with dowhy's kernel test each takes seconds at 8 nodes and 500 rows.
    level
        Confidence level of the tests and of the verdict.
    seed
        Seed of relabelings and kernels.
    test
        dowhy's own kernel test, or the partial correlation of :func:`causalbench.workflow.graph_test.falsify`.

    Raises
    ------
    RefusalError
        For nodes without a column, unmeasured causes or selection: the local Markov condition doesn't hold with them, and dowhy
        would skip claims silently.
    DataError
        For a table that can't be used.
    """
    data = node_data(graph, source)
    if data.absent or graph.latents or graph.bidirected or graph.selected:
        raise RefusalError(
            "dowhy's falsification needs a column for every node, no unmeasured common cause and no selection",
            remedy="use causalbench dag implications --data, which takes them",
        )
    if any(block.shape[1] > 1 for block in data.blocks.values()):
        raise RefusalError("dowhy's falsification takes numbers", remedy="leave text columns out")
    table = pd.DataFrame({name: block[:, 0] for name, block in data.blocks.items()})
    with _undisturbed(seed):
        from dowhy.gcm import config
        from dowhy.gcm import falsify as module

        options: dict[str, Any] = {}
        if test == "partial-correlation":
            options = {"independence_test": _unconditional, "conditional_independence_test": _conditional}
        processes = config.default_n_jobs
        config.set_default_n_jobs(1)
        try:
            found = module.falsify_graph(
                graph.to_dowhy(),
                table,
                n_permutations=n_permutations,
                significance_level=1 - level,
                significance_ci=1 - level,
                n_jobs=1,
                show_progress_bar=False,
                **options,
            )
        finally:
            config.set_default_n_jobs(processes)
        key = module.FalsifyConst
        local, same = found.summary[key.VALIDATE_LMC], found.summary[key.VALIDATE_TPA]
        return DowhyFalsification(
            n_tests=int(local[key.N_TESTS]),
            n_violated=int(local[key.GIVEN_VIOLATIONS]),
            p_value=float(local[key.P_VALUE]),
            equivalent=float(same[key.P_VALUE]),
            falsifiable=found.falsifiable,
            falsified=found.falsified,
        )


def refute(
    graph: Graph,
    source: Source,
    *,
    exposure: str,
    outcome: str,
    covariates: Collection[str],
    n_simulations: int = 100,
    seed: int = 0,
    refuters: Collection[Refuter] = REFUTERS,
) -> tuple[DowhyRefutation, ...]:
    """Call dowhy's refuters on a linear regression of the outcome on exposure and covariates.

    Raises
    ------
    RefusalError
        For covariates that the graph forbids, or that leave a path open.
    StudyError
        For refuters that aren't wrapped.
    """
    unknown = sorted(set(refuters) - set(REFUTERS))
    if unknown:
        raise StudyError([f"refuter {name!r} isn't one of {', '.join(REFUTERS)}" for name in unknown], where="refute")
    check_covariates(graph, exposure, outcome, covariates)
    data = node_data(graph, source)
    names = {exposure: "exposure", outcome: "outcome"} | {name: f"covariate_{i}" for i, name in enumerate(covariates)}
    columns: dict[str, FloatArray] = {}
    for name, plain in names.items():
        block = data.blocks.get(name)
        if block is None or (block.shape[1] > 1 and name in (exposure, outcome)):
            raise RefusalError(f"{name} has no usable column of numbers", remedy="code it as one number")
        columns |= {plain if not k else f"{plain}_{k}": block[:, k] for k in range(block.shape[1])}
    table = pd.DataFrame(columns)
    with _undisturbed(seed):
        from dowhy import CausalModel

        causes = [name for name in columns if name.startswith("covariate_")]
        model = CausalModel(table, "exposure", "outcome", common_causes=causes, effect_modifiers=[])
        estimand = model.identify_effect(proceed_when_unidentifiable=True, method_name="maximal-adjustment")
        estimate = model.estimate_effect(
            estimand, method_name="backdoor.linear_regression", effect_modifiers=[], confidence_intervals=False
        )
        found = []
        for name in refuters:
            result = model.refute_estimate(
                estimand,
                estimate,
                method_name=_METHODS.get(name, name),
                num_simulations=n_simulations,
                random_state=np.random.RandomState(seed),
                **_OPTIONS.get(name, {}),
            )
            found.append(
                DowhyRefutation(
                    refuter=name,
                    estimate=float(estimate.value),
                    refuted=float(result.new_effect),
                    p_value=float(np.squeeze(result.refutation_result["p_value"])),
                )
            )
    return tuple(found)


def _unconditional(x: FloatArray, y: FloatArray) -> float:
    return _conditional(x, y, np.empty((len(np.ravel(x)), 0)))


def _conditional(x: FloatArray, y: FloatArray, given: FloatArray) -> float:
    """Return the p-value of a partial correlation, in the shape that dowhy asks for."""
    from scipy import stats

    left, right = np.ravel(x), np.ravel(y)
    design = np.column_stack([np.ones(len(left)), np.reshape(given, (len(left), -1))])
    r = float(np.corrcoef(residuals(left, design), residuals(right, design))[0, 1])
    freedom = len(left) - design.shape[1] - 2
    return float(2 * stats.norm.sf(np.sqrt(freedom) * abs(np.arctanh(r))))


@contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """Seed the random state that dowhy draws from, keep it quiet, and put everything back."""
    numbers, words = np.random.get_state(), random.getstate()  # noqa: NPY002 - it is what dowhy draws from
    disabled = logging.root.manager.disable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(words)
        logging.disable(disabled)
