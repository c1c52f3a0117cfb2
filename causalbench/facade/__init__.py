"""The call that users of R's CausalImpact and of its Python ports know, answered by this package's own engine."""

from causalbench.facade.causal_impact import CausalImpact

__all__ = ["CausalImpact"]
