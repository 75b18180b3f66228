"""The proofs that a quantized model computes what the trained one does."""

from lightning_esp.verification.model import Array, Golden, Proof, TaskResult, Verification
from lightning_esp.verification.verify import verify

__all__ = ["Array", "Golden", "Proof", "TaskResult", "Verification", "verify"]
