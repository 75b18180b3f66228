"""The proofs that a quantized model computes what the trained one does."""

from lightning_esp.verification.device import memory
from lightning_esp.verification.integers import boundaries
from lightning_esp.verification.keywords import finds_keywords
from lightning_esp.verification.pace import keeps_up, same_features
from lightning_esp.verification.proof import Array, Golden, GoldenAudio, Proof, TaskResult, Verification, doubts
from lightning_esp.verification.reach import compare_reach
from lightning_esp.verification.readings import gives_integers, to_frames
from lightning_esp.verification.signal import Offline, run_offline
from lightning_esp.verification.verify import MAX_RECORDINGS, prove_float, prove_graph, prove_integers, require, verify

__all__ = [
    "MAX_RECORDINGS",
    "Array",
    "Golden",
    "GoldenAudio",
    "Offline",
    "Proof",
    "TaskResult",
    "Verification",
    "boundaries",
    "compare_reach",
    "doubts",
    "finds_keywords",
    "gives_integers",
    "keeps_up",
    "memory",
    "prove_float",
    "prove_graph",
    "prove_integers",
    "require",
    "run_offline",
    "same_features",
    "to_frames",
    "verify",
]
