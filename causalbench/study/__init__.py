"""The study file, TOML in and a validated value out: of a launch that happened, or of a geo experiment to come."""

from causalbench.study.geo_study import GeoStudy
from causalbench.study.kinds import load_study
from causalbench.study.launch_study import Study
from causalbench.study.tables import LEVEL_RULE, About, Data, Metric

__all__ = ["LEVEL_RULE", "About", "Data", "GeoStudy", "Metric", "Study", "load_study"]
