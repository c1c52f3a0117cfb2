"""The study file, TOML in and a validated value out: of a launch, of a comparison at one time, or of a geo experiment."""

from causalbench.study.comparison_study import ComparisonStudy
from causalbench.study.geo_study import GeoStudy
from causalbench.study.kinds import AnyStudy, load_finished, load_study, open_study
from causalbench.study.launch_study import Study
from causalbench.study.problems import AUTO
from causalbench.study.tables import LEVEL_RULE, About, Data, Metric

__all__ = [
    "AUTO",
    "LEVEL_RULE",
    "About",
    "AnyStudy",
    "ComparisonStudy",
    "Data",
    "GeoStudy",
    "Metric",
    "Study",
    "load_finished",
    "load_study",
    "open_study",
]
