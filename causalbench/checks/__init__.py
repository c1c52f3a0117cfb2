"""Checks: one file per question, is this assumption plausible here, or how wrong may it be?"""

from causalbench.catalogue import Catalogue

CATALOGUE = Catalogue(__name__, "check")
