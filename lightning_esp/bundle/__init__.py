"""Bundles: `idf_project/` with generated models, written atomically and read back."""

from lightning_esp.bundle.bundle import MANIFEST, PAGE, REPORT, Bundle, Edit, TargetResult
from lightning_esp.bundle.directory import check_output_dir, probe_output_dir
from lightning_esp.bundle.failure import write_failure_note
from lightning_esp.bundle.golden import HEADER_BYTES, MAGIC, MAGIC_WITH_STATES, result_names
from lightning_esp.bundle.header import GoldenBytes, name_parts
from lightning_esp.bundle.image import pack_image
from lightning_esp.bundle.image_reader import ModelImage, read_image
from lightning_esp.bundle.naming import audio_path, golden_path, readings_path, target_dir
from lightning_esp.bundle.ownership import look, sha256
from lightning_esp.bundle.plan import EMBEDDED
from lightning_esp.bundle.reader import read_both, read_bundle, read_model, unless_replaced
from lightning_esp.bundle.readings import read_normalize, unpack_readings
from lightning_esp.bundle.schema import expecting
from lightning_esp.bundle.signature import check_signature, sign_bundle
from lightning_esp.bundle.tensors import check_wiring, frame_size, input_tensors, tensor_bytes
from lightning_esp.bundle.writer import read_project, render_config, render_page, write_bundle

__all__ = [
    "EMBEDDED",
    "HEADER_BYTES",
    "MAGIC",
    "MAGIC_WITH_STATES",
    "MANIFEST",
    "PAGE",
    "REPORT",
    "Bundle",
    "Edit",
    "GoldenBytes",
    "ModelImage",
    "TargetResult",
    "audio_path",
    "check_output_dir",
    "check_signature",
    "check_wiring",
    "expecting",
    "frame_size",
    "golden_path",
    "input_tensors",
    "look",
    "name_parts",
    "pack_image",
    "probe_output_dir",
    "read_both",
    "read_bundle",
    "read_image",
    "read_model",
    "read_normalize",
    "read_project",
    "readings_path",
    "render_config",
    "render_page",
    "result_names",
    "sha256",
    "sign_bundle",
    "target_dir",
    "tensor_bytes",
    "unless_replaced",
    "unpack_readings",
    "write_bundle",
    "write_failure_note",
]
