"""A written bundle, checked against itself and run: `verify_bundle`, `simulate`, `Simulation`."""

from lightning_esp.inspection.check import verify_bundle
from lightning_esp.inspection.meanings import explain
from lightning_esp.inspection.simulator import Simulation, simulate

__all__ = ["Simulation", "explain", "simulate", "verify_bundle"]
