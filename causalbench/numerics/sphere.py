r"""Distances and centres of regions on a sphere, from longitudes and latitudes in degrees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EARTH_RADIUS = 6371.0088
"""Mean radius of the earth in kilometres (International Union of Geodesy and Geophysics)."""


def distances(points: FloatArray) -> FloatArray:
    r"""Return great-circle distances in kilometres between all points.

    .. math:: d = 2 R \arcsin \sqrt{\sin^2 \tfrac{\phi_i - \phi_j}{2}
        + \cos\phi_i \cos\phi_j \sin^2 \tfrac{\lambda_i - \lambda_j}{2}}

    (the haversine formula, exact on a sphere and stable for neighbours; the earth's flattening makes up to .6%).

    Parameters
    ----------
    points
        Longitude and latitude, shape (n, 2), in degrees.

    Examples
    --------
    >>> import numpy as np
    >>> distances(np.array([[0.0, 0.0], [90.0, 0.0]])).round(1).tolist()
    [[0.0, 10007.6], [10007.6, 0.0]]
    """
    longitude, latitude = np.radians(points[:, 0]), np.radians(points[:, 1])
    rise = np.sin((latitude[:, None] - latitude) / 2) ** 2
    turn = np.sin((longitude[:, None] - longitude) / 2) ** 2
    squared = rise + np.cos(latitude)[:, None] * np.cos(latitude) * turn
    between: FloatArray = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.minimum(squared, 1.0)))
    return between


def centroid(rings: Sequence[FloatArray]) -> FloatArray:
    r"""Return longitude and latitude of a region's centre of area.

    A region of the unit sphere and the plane sectors from its edges to the centre close a surface, whose vector area is zero;
    on the sphere the normal is the position, and an edge's sector has half its length as area. So

    .. math:: \int_S r \, dA = \tfrac12 \sum_e \theta_e n_e

    with :math:`\theta_e` the length of an edge and :math:`n_e` the normal of its plane. Holes run the other way and so
    count negative, and nothing happens at the date line.

    A region without area has the mean of its corners.

    Parameters
    ----------
    rings
        Closed rings, each of shape (k, 2), outer ones in one direction, holes in the other.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[9.0, -1.0], [11.0, -1.0], [11.0, 1.0], [9.0, 1.0], [9.0, -1.0]])
    >>> (centroid([square]).round(6) + 0.0).tolist()
    [10.0, 0.0]
    """
    total, middle = np.zeros(3), np.zeros(3)
    for ring in rings:
        longitude, latitude = np.radians(ring[:, 0]), np.radians(ring[:, 1])
        corners = np.column_stack(
            [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
        )
        normal = np.cross(corners[:-1], corners[1:])
        sine = np.linalg.norm(normal, axis=1)
        length = np.arctan2(sine, (corners[:-1] * corners[1:]).sum(axis=1))
        # Edges of no length have no plane; theta / sin(theta) tends to one.
        total += (normal * np.divide(length, sine, out=np.ones_like(sine), where=sine > 0)[:, None]).sum(axis=0)
        middle += corners.sum(axis=0)
    direction = total if total @ middle >= 0 else -total
    if not np.linalg.norm(direction) > 0:
        direction = middle
    x, y, z = direction / np.linalg.norm(direction)
    centre: FloatArray = np.degrees(np.array([np.arctan2(y, x), np.arcsin(z)]))
    return centre
