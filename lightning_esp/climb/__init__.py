"""The climb of `Quantization(precision="auto")`: which precision a model needs."""

from lightning_esp.climb.climb import climb
from lightning_esp.climb.ground import Ground
from lightning_esp.climb.model import Climb, Rung

__all__ = ["Climb", "Ground", "Rung", "climb"]
