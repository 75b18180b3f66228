"""Memory plan of ESP-DL 3.3.9: the place of every tensor, what is overwritten too early, and how to prevent that."""

from lightning_esp.espdl.memory.hazards import Hazard, check_memory, find_hazards
from lightning_esp.espdl.memory.mending import VIEW, mend
from lightning_esp.espdl.memory.plan import MemoryPlan, Place, plan_memory
from lightning_esp.espdl.memory.program import PLACINGS, Placing, Program, Step, program_of

__all__ = [
    "PLACINGS",
    "VIEW",
    "Hazard",
    "MemoryPlan",
    "Place",
    "Placing",
    "Program",
    "Step",
    "check_memory",
    "find_hazards",
    "mend",
    "plan_memory",
    "program_of",
]
