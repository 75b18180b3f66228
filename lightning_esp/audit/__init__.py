"""A written bundle, checked against itself: files, manifest, header and golden windows."""

from lightning_esp.audit.audit import verify_bundle

__all__ = ["verify_bundle"]
