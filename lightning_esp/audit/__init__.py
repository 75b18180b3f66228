"""A written bundle, checked against itself: files, manifest, header and golden windows."""

from lightning_esp.audit.audit import verify_bundle
from lightning_esp.audit.meanings import explain

__all__ = ["explain", "verify_bundle"]
