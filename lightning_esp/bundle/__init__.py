"""Bundles: `idf_project/` with generated models, written atomically and read back."""

from lightning_esp.bundle.directory import check_output_dir, probe_output_dir
from lightning_esp.bundle.failure import write_failure_note
from lightning_esp.bundle.image import pack_image
from lightning_esp.bundle.image_reader import ModelImage, read_image
from lightning_esp.bundle.model import Bundle, Edit
from lightning_esp.bundle.reader import read_both, read_bundle, read_model
from lightning_esp.bundle.writer import write_bundle

__all__ = [
    "Bundle",
    "Edit",
    "ModelImage",
    "check_output_dir",
    "pack_image",
    "probe_output_dir",
    "read_both",
    "read_bundle",
    "read_image",
    "read_model",
    "write_bundle",
    "write_failure_note",
]
