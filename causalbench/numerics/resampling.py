"""Drawing groups of units: all of them where that is feasible, a random sample else."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


def subsets(n: int, k: int, *, limit: int, n_drawn: int, rng: Generator) -> tuple[NDArray[np.bool_], bool]:
    """Return groups of ``k`` out of ``n`` as rows of a mask, and whether they are all there are.

    Parameters
    ----------
    n, k
        Number of units and size of a group.
    limit
        Up to this many groups all are enumerated, in lexicographic order.
    n_drawn
        How many are drawn, independently and uniformly, where there are more.
    rng
        Source of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> rows, exact = subsets(4, 2, limit=10, n_drawn=5, rng=np.random.default_rng(0))
    >>> rows.shape, exact
    ((6, 4), True)
    """
    exact = math.comb(n, k) <= limit
    if exact:
        chosen = np.array(list(itertools.combinations(range(n), k)), dtype=np.int64)
    else:
        chosen = np.argsort(rng.random((n_drawn, n)), axis=1)[:, :k]
    rows = np.zeros((len(chosen), n), dtype=bool)
    np.put_along_axis(rows, chosen, values=True, axis=1)
    return rows, exact
