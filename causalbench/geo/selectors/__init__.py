"""Ways to find a split, one file each; a study names one under ``[geo] selector``."""

from causalbench.catalogue import Catalogue

CATALOGUE = Catalogue("causalbench.geo.selectors", "selector", "[geo.options]")
