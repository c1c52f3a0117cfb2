"""Maps read by hand: neighbours, unions, centres, and the buffers built on them."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from causalbench.artifacts import shipped
from causalbench.data.datasets import names
from causalbench.errors import DataError
from causalbench.geo.buffers import near
from causalbench.geo.geography import Geography, from_county_map
from causalbench.geo.markets import Markets
from causalbench.geo.topology import Topology
from causalbench.numerics.sphere import centroid, distances
from causalbench.study.geo_study import Buffer, GeoStudy, Map

HERE = Path()

# Six unit squares in two rows, with a hole in the last one; quantized steps of .5, the origin at (10, 20).
SQUARES = {
    "type": "Topology",
    "transform": {"scale": [0.5, 0.5], "translate": [10, 20]},
    "objects": {
        "states": {
            "type": "GeometryCollection",
            "geometries": [
                {"type": "Polygon", "id": "01", "properties": {"name": "West"}, "arcs": [[0, 1]]},
                {"type": "MultiPolygon", "id": "02", "properties": {"name": "East"}, "arcs": [[[~0, 2]], [[3]]]},
                {"type": "Polygon", "id": "04", "properties": {"name": "Ring"}, "arcs": [[4], [5]]},
            ],
        }
    },
    "arcs": [
        [[2, 0], [0, 2]],
        [[2, 2], [-2, 0], [0, -2], [2, 0]],
        [[2, 0], [2, 0], [0, 2], [-2, 0]],
        [[10, 0], [2, 0], [0, 2], [-2, 0], [0, -2]],
        [[20, 0], [6, 0], [0, 6], [-6, 0], [0, -6]],
        [[22, 2], [0, 2], [2, 0], [0, -2], [-2, 0]],
    ],
}


@pytest.fixture
def squares(tmp_path):
    # Arc 2 runs from the shared border's foot around the east, so that East is arc 0 backwards and then arc 2.
    (tmp_path / "map.json").write_text(json.dumps(SQUARES))
    return tmp_path


def shoelace(ring):
    x, y = ring[:-1].T
    return 0.5 * abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def inside(point, rings):
    """Count crossings of a ray to the east: the even-odd rule, written out."""
    crossings = 0
    for ring in rings:
        for (x1, y1), (x2, y2) in itertools.pairwise(ring):
            if (y1 > point[1]) != (y2 > point[1]) and point[0] < x1 + (point[1] - y1) / (y2 - y1) * (x2 - x1):
                crossings += 1
    return crossings % 2 == 1


def test_quantized_arcs_are_decoded(squares):
    topology = Topology.read(squares / "map.json", "states")
    np.testing.assert_array_equal(topology.arcs[1], [[11, 21], [10, 21], [10, 20], [11, 20]])
    assert topology.names == ("West", "East", "Ring")
    assert topology.ids == ("01", "02", "04")


def test_rings_are_stitched_and_holes_stay(squares):
    topology = Topology.read(squares / "map.json", "states")
    west, east, ring = (topology.union(np.arange(3) == i) for i in range(3))
    assert [shoelace(r) for r in west] == [1.0]
    assert [shoelace(r) for r in east] == [1.0, 1.0]
    assert [shoelace(r) for r in ring] == [9.0, 1.0]
    assert inside((20.5, 20.5), ring)
    assert not inside((21.5, 21.5), ring)


def test_union_drops_what_is_inside(squares):
    topology = Topology.read(squares / "map.json", "states")
    both = topology.union(np.array([True, True, False]))
    assert sorted(shoelace(r) for r in both) == [1.0, 2.0]
    assert all(np.array_equal(r[0], r[-1]) for r in both)


def test_border_that_doubles_back_is_no_outline():
    """A spike, once there and once back, is left out (simplified county borders have such)."""
    arcs = tuple(
        np.array(points, dtype=float) for points in ([(0, 0), (1, 0), (1, 1)], [(1, 1), (2, 2)], [(1, 1), (0, 0)])
    )
    topology = Topology(arcs=arcs, names=("a",), ids=("1",), rings=(((0, 1, ~1, 2),),))
    (ring,) = topology.union(np.array([True]))
    np.testing.assert_array_equal(ring, [[0, 0], [1, 0], [1, 1], [0, 0]])


def test_only_shared_arcs_make_neighbours(squares):
    topology = Topology.read(squares / "map.json", "states")
    assert topology.adjacent(np.arange(3), 3).tolist() == [[False, True, False], [True, False, False], [False] * 3]
    assert topology.adjacent(np.array([0, 0, 1]), 2).tolist() == [[False, False], [False, False]]
    assert topology.adjacent(np.array([-1, 0, 1]), 2).sum() == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "isn't TopoJSON"),
        ('{"type": "FeatureCollection", "features": []}', "no objects and arcs"),
        (json.dumps({**SQUARES, "objects": {"stats": {}}}), "no layer 'states' .did you mean 'stats'"),
        (json.dumps({**SQUARES, "arcs": [["x"]]}), "isn't whole TopoJSON"),
        (json.dumps({**SQUARES, "arcs": SQUARES["arcs"][:2]}), "isn't whole TopoJSON"),
    ],
)
def test_broken_maps_are_refused(tmp_path, content, said):
    (tmp_path / "map.json").write_text(content)
    with pytest.raises(DataError, match=said):
        Geography.read(Map(kind="us-states", file="map.json"), ("West",), tmp_path)


def test_missing_map_is_refused(tmp_path):
    with pytest.raises(DataError, match="can't be read"):
        Geography.read(Map(kind="us-states", file="map.json"), ("West",), tmp_path)
    with pytest.raises(DataError, match="outside the study's folder"):
        Geography.read(Map(kind="us-states", file="../map.json"), ("West",), tmp_path)


def test_neighbours_of_the_48_states_are_those_of_knuths_graph():
    """107 borders of 48 states and DC: Knuth, The Stanford GraphBase (1993), contiguous-usa.dat."""
    topology = Topology.read(shipped("data", "maps", "us-states-10m.json"), "states")
    states = Geography.read(Map(kind="us-states"), topology.names, HERE)
    assert int(states.adjacent.sum()) == 2 * 107
    at = states.units.index
    assert states.adjacent[at("Michigan"), at("Wisconsin")]
    # They meet in a point.
    assert not states.adjacent[at("Utah"), at("New Mexico")]
    assert not states.adjacent[at("Hawaii")].any()
    assert states.unmatched == ()
    assert len(states.outlines) == 56


def test_colorado_is_where_it_is():
    """Between 37 and 41 degrees north, 102.05 and 109.05 west: Colorado's borders as its law has them, to .01 degrees."""
    states = Geography.read(Map(kind="us-states"), ("Colorado",), HERE)
    (ring,) = states.outlines["Colorado"]
    np.testing.assert_allclose(ring.min(axis=0), [-109.06, 36.99], atol=0.02)
    np.testing.assert_allclose(ring.max(axis=0), [-102.04, 41.0], atol=0.02)
    np.testing.assert_allclose(states.centroids[0], [-105.55, 39.0], atol=0.02)
    assert len(states.background) > 50


def test_states_are_found_by_name_postal_code_and_id():
    states = Geography.read(Map(kind="us-states"), ("new  york", "IL", "06", "Ilinois", "48"), HERE)
    assert states.unmatched == ("Ilinois",)
    assert np.isnan(states.centroids[3]).all()
    with pytest.raises(DataError, match=r"1 of 5 aren't: 'Ilinois' \(did you mean 'Illinois'\?\)"):
        states.require_matched("adjacency")


def test_two_spellings_of_a_state_are_no_two_markets():
    states = Geography.read(Map(kind="us-states"), ("IL", "Illinois"), HERE)
    with pytest.raises(DataError, match=r"'Illinois' .a market before it has this region"):
        states.require_matched("adjacency")


def test_counties_are_found_by_id_and_by_name_with_state():
    counties = Geography.read(Map(kind="us-counties"), ("17031", "1001", "Orange, CA", "Washington"), HERE)
    assert counties.unmatched == ("Washington",)
    # Cook County holds Chicago, at 41.9 north and 87.6 west.
    np.testing.assert_allclose(counties.centroids[0], [-87.8, 41.8], atol=0.2)
    with pytest.raises(DataError, match="31 regions have this name"):
        counties.require_matched("adjacency")


def test_countries_have_neighbours():
    """Switzerland has five neighbours, of which Liechtenstein is too small for this map."""
    units = ("Switzerland", "Germany", "Austria", "Italy", "France", "Spain")
    countries = Geography.read(Map(kind="world-countries"), units, HERE)
    assert countries.adjacent[0].tolist() == [False, True, True, True, True, False]


def test_own_regions_are_unions_of_counties(tmp_path):
    """The two parts of Delaware: New Castle, then Kent and Sussex; codes as a spreadsheet leaves those of Alabama."""
    table = "county,market\n10003,north\n10001,South \n10005,south\n1001,alabama\n1021,alabama\n"
    (tmp_path / "regions.csv").write_text(table)
    regions = from_county_map(tmp_path / "regions.csv", ("North", "south", "alabama", "west"))
    assert regions.unmatched == ("west",)
    assert regions.adjacent.tolist() == [[False, True, False, False], [True] + [False] * 3, [False] * 4, [False] * 4]
    counties = Geography.read(Map(kind="us-counties"), ("10001", "10005"), HERE)
    kent, sussex = (sum(map(shoelace, counties.outlines[code])) for code in counties.units)
    assert sum(map(shoelace, regions.outlines["south"])) == pytest.approx(kent + sussex, rel=1e-9)
    points = sum(len(ring) for ring in regions.outlines["south"])
    assert points < sum(len(ring) for code in counties.units for ring in counties.outlines[code])
    same = Geography.read(Map(kind="us-counties", counties="regions.csv"), regions.units, tmp_path)
    np.testing.assert_array_equal(same.centroids, regions.centroids)


def test_all_counties_of_a_state_give_its_outline(tmp_path):
    topology = Topology.read(shipped("data", "maps", "us-counties-10m.json"), "counties")
    iowa = [code for code in topology.ids if code.startswith("19")]
    assert len(iowa) == 99
    (tmp_path / "regions.csv").write_text("county,market\n" + "".join(f"{code},iowa\n" for code in iowa))
    (ring,) = from_county_map(tmp_path / "regions.csv").outlines["iowa"]
    layer = Topology.read(shipped("data", "maps", "us-counties-10m.json"), "states")
    (state,) = layer.union(np.array(layer.ids) == "19")
    assert {tuple(point) for point in ring} == {tuple(point) for point in state}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("county,region\n10001,a\n", "no column 'market'"),
        ("county,market\n10001,\n", "column 'market' of regions.csv is empty in 1 rows: 1"),
        ("county,market\n99999,a\n10001,a\n", "1 codes in regions.csv are no counties of the map: 99999"),
        ("county,market\n10001,a\n10001,b\n", r"1 counties are in several markets: 10001 \(a and b\)"),
    ],
)
def test_broken_county_maps_are_refused(tmp_path, table, said):
    (tmp_path / "regions.csv").write_text(table)
    with pytest.raises(DataError, match=said):
        from_county_map(tmp_path / "regions.csv")


def test_counties_need_the_map_of_counties():
    with pytest.raises(DataError, match="kind is 'us-states'"):
        Geography.read(Map(kind="us-states", counties="regions.csv"), ("a",), HERE)


def test_distances_are_those_on_a_sphere():
    """A quarter of the equator, and the pole from anywhere on it: pi R / 2 with R = 6371.0088 km."""
    found = distances(np.array([[0.0, 0.0], [90.0, 0.0], [12.0, 90.0], [-180.0, 0.0], [180.0, 0.0]]))
    assert found[0, 1] == pytest.approx(np.pi * 6371.0088 / 2, rel=1e-12)
    assert found[1, 2] == pytest.approx(np.pi * 6371.0088 / 2, rel=1e-12)
    assert found[3, 4] == pytest.approx(0.0, abs=1e-6)


def test_centre_of_area_crosses_the_date_line_and_minds_holes():
    square = np.array([[179.0, -1.0], [-179.0, -1.0], [-179.0, 1.0], [179.0, 1.0], [179.0, -1.0]])
    np.testing.assert_allclose(np.abs(centroid([square])), [180.0, 0.0], atol=1e-9)
    # An octant of the sphere has the direction (1, 1, 1); without its half from 45 degrees east the longitude is 22.5.
    octant = np.array([[0.0, 0.0], [90.0, 0.0], [0.0, 90.0], [0.0, 0.0]])
    np.testing.assert_allclose(centroid([octant]), [45.0, np.degrees(np.arctan(np.sqrt(0.5)))], atol=1e-9)
    hole = np.array([[45.0, 0.0], [45.0, 90.0], [90.0, 0.0], [45.0, 0.0]])
    assert centroid([octant, hole])[0] == pytest.approx(22.5, abs=1e-9)


def test_region_without_area_has_the_mean_of_its_corners():
    np.testing.assert_allclose(centroid([np.array([[10.0, 0.0], [20.0, 0.0], [10.0, 0.0]])]), [13.33, 0.0], atol=0.01)


def test_centre_is_the_mean_of_points_inside():
    """Against an obvious oracle: the mean of points drawn evenly over the sphere that fall inside of Idaho."""
    states = Geography.read(Map(kind="us-states"), ("Idaho",), HERE)
    rng = np.random.default_rng(0)
    longitude = rng.uniform(-118, -110, 4000)
    latitude = np.degrees(np.arcsin(rng.uniform(np.sin(np.radians(41)), np.sin(np.radians(50)), 4000)))
    points = [p for p in np.column_stack([longitude, latitude]) if inside(p, states.outlines["Idaho"])]
    assert len(points) > 1000
    error = 3 * np.std(points, axis=0) / np.sqrt(len(points))
    assert (np.abs(np.mean(points, axis=0) - states.centroids[0]) < error).all()


def test_maps_are_no_launches():
    assert "maps" not in names()


UNITS = ("a", "b", "c", "d")


@dataclass(frozen=True, kw_only=True)
class Table:
    columns: dict

    def numbers(self, name):
        return np.array(self.columns[name], dtype=float)


def close(folder, text=None, *, markets=None, geography=None, units=UNITS, **keys):
    if text is not None:
        (folder / "table.csv").write_text(text)
        keys["table"] = "table.csv"
    return near(Buffer(**keys), units=units, markets=markets, geography=geography, folder=folder)


def test_hops_over_a_table_of_neighbours(tmp_path):
    chain = "a,b\na,b\nb,c\nc,d\n"
    one = close(tmp_path, chain, kind="adjacency")
    assert one.astype(int).tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    assert close(tmp_path, chain, kind="adjacency", hops=2)[0].tolist() == [False, True, True, False]
    assert close(tmp_path, chain, kind="adjacency", hops=9).sum() == 12
    both = "a,b\na,b\nb,a\nb,c\nc,b\nc,d\nd,c\na,a\n"
    np.testing.assert_array_equal(close(tmp_path, both, kind="adjacency"), one)


def test_hops_over_a_map(tmp_path):
    units = ("Nevada", "Utah", "Colorado", "Kansas")
    geography = Geography.read(Map(kind="us-states"), units, tmp_path)
    two = close(tmp_path, geography=geography, units=units, kind="adjacency", hops=2)
    assert two.astype(int).tolist() == [[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]]


def test_distances_by_coordinates_and_by_map(tmp_path):
    # One degree of latitude is 111.2 km.
    markets = Table(columns={"latitude": (0, 1, 2, 10), "longitude": (5, 5, 5, 5)})
    assert close(tmp_path, markets=markets, kind="distance", km=112.0)[1].tolist() == [True, False, True, False]
    assert close(tmp_path, markets=markets, kind="distance", km=111.0).sum() == 0
    units = ("Utah", "Nevada", "Maine")
    geography = Geography.read(Map(kind="us-states"), units, tmp_path)
    for nothing in (None, Table(columns={"region": ("w", "w", "e")})):
        found = close(tmp_path, markets=nothing, geography=geography, units=units, kind="distance", km=500.0)
        assert found.tolist() == [[False, True, False], [True, False, False], [False] * 3]


def test_commuters_in_either_direction(tmp_path):
    table = "from,to,share\na,b,0.1\nb,a,.02\nc,d,0.05\na,a,0.8\n"
    assert close(tmp_path, table, kind="commuting", share=0.1).astype(int).tolist() == [
        [0, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert close(tmp_path, table, kind="commuting", share=0.05).sum() == 4


@pytest.mark.parametrize(
    ("keys", "table", "said"),
    [
        (
            {"kind": "adjacency"},
            "a,b\na,bb\n",
            r"1 names in column 'b' of table.csv are no markets: 'bb' \(did you mean",
        ),
        ({"kind": "adjacency"}, "a,c\na,b\n", "table.csv has no column 'b'"),
        ({"kind": "adjacency"}, "a,b\na,b\nb,a\nc,d\n", "1 pairs in one direction only and others in both: c - d"),
        ({"kind": "adjacency"}, "a,b\na,\n", "column 'b' of table.csv is empty in 1 rows"),
        (
            {"kind": "commuting", "share": 0.1},
            "from,to,share\na,b,1.2\nb,c,x\n",
            r"in 2 rows: a to b \(1.2\), b to c \(x\)",
        ),
        ({"kind": "commuting", "share": 0.1}, "from,to,share\na,b,12%\n", r"1 rows: a to b \(12%\)"),
        ({"kind": "commuting", "share": 0.1}, "from,to,share\na,b,.1\na,b,.2\n", "1 pairs with several rows: a to b"),
        (
            {"kind": "commuting", "share": 0.1},
            "from,to,share\na,b,.7\na,c,.7\n",
            r"1 markets in table.csv sum to more than 1: a",
        ),
        ({"kind": "commuting", "share": 0.1}, "from,share\na,.7\n", "no column 'to'"),
    ],
)
def test_broken_tables_are_refused(tmp_path, keys, table, said):
    with pytest.raises(DataError, match=said):
        close(tmp_path, table, **keys)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(DataError, match="doesn't exist"):
        close(tmp_path, kind="adjacency", table="absent.csv")
    with pytest.raises(DataError, match="nothing to tell neighbours by"):
        close(tmp_path, kind="adjacency")
    with pytest.raises(DataError, match="no coordinates"):
        close(tmp_path, kind="distance", km=1.0)
    wrong = Table(columns={"latitude": (0, 1, 95, 10), "longitude": (5, 5, 5, 5)})
    with pytest.raises(DataError, match=r"'latitude' isn't in degrees for 1 markets: c \(95\)"):
        close(tmp_path, markets=wrong, kind="distance", km=1.0)
    geography = Geography.read(Map(kind="us-states"), ("Utah", "Uta"), tmp_path)
    with pytest.raises(DataError, match=r"'Uta' .did you mean 'Utah'"):
        close(tmp_path, geography=geography, units=geography.units, kind="distance", km=1.0)


def test_study_takes_the_shipped_map():
    values = {
        "study": {"name": "s", "question": "q"},
        "data": {"source": "t.csv", "unit": "u", "period": "p"},
        "metric": [{"name": "y", "column": "y"}],
        "geo": {"map": {"kind": "us-states"}, "selector": "supergeos", "buffer": {"kind": "distance", "km": 100}},
    }
    assert GeoStudy.from_mapping(values).geo.map.file is None


def test_buffers_read_the_table_of_markets(tmp_path):
    """One degree of latitude is 111.2 km; names of markets stand in their own column."""
    (tmp_path / "markets.csv").write_text("city,latitude,longitude\nb,1,5\na,0,5\nc,9,5\n")
    units = ("a", "b", "c")
    markets = Markets.read(tmp_path / "markets.csv", unit="city", units=units)
    found = close(tmp_path, markets=markets, units=units, kind="distance", km=120.0)
    assert found.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    (tmp_path / "markets.csv").write_text("city,latitude\nb,1\na,0\nc,9\n")
    half = Markets.read(tmp_path / "markets.csv", unit="city", units=units)
    with pytest.raises(DataError, match="no column 'longitude'"):
        close(tmp_path, markets=half, units=units, kind="distance", km=120.0)
