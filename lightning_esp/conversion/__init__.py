"""Streaming forms of torch modules: `convert` and what it returns."""

from lightning_esp.conversion.admission import admit
from lightning_esp.conversion.assembly import convert
from lightning_esp.conversion.axes import resolve_time, settle_time
from lightning_esp.conversion.calling import argument_names, call
from lightning_esp.conversion.clip_offline import OfflineClips, as_offline, check_clips
from lightning_esp.conversion.copying import copy_module
from lightning_esp.conversion.exact_weights import doubled, in_double
from lightning_esp.conversion.example import as_example, check_takes_floats
from lightning_esp.conversion.geometry import as_tuple, run
from lightning_esp.conversion.handwritten import has_contract
from lightning_esp.conversion.onnx_scopes import located
from lightning_esp.conversion.recording_checks import (
    check_kind,
    check_kinds,
    check_recordings,
    cut_recordings,
    pad_recordings,
)
from lightning_esp.conversion.slicing import (
    as_named,
    count_frames,
    join_windows,
    pad_frames,
    recording_frames,
    slice_windows,
)
from lightning_esp.conversion.spec import (
    Cache,
    Clip,
    Port,
    Recording,
    Recordings,
    Stage,
    StreamSpec,
    Values,
    WindowChoice,
    WindowOption,
)
from lightning_esp.conversion.streaming_model import StreamingModel
from lightning_esp.conversion.structure import Keep, keep, keeps, kept
from lightning_esp.conversion.threads import single_thread
from lightning_esp.conversion.wrappers import inner_module, unwrap

__all__ = [
    "Cache",
    "Clip",
    "Keep",
    "OfflineClips",
    "Port",
    "Recording",
    "Recordings",
    "Stage",
    "StreamSpec",
    "StreamingModel",
    "Values",
    "WindowChoice",
    "WindowOption",
    "admit",
    "argument_names",
    "as_example",
    "as_named",
    "as_offline",
    "as_tuple",
    "call",
    "check_clips",
    "check_kind",
    "check_kinds",
    "check_recordings",
    "check_takes_floats",
    "convert",
    "copy_module",
    "count_frames",
    "cut_recordings",
    "doubled",
    "has_contract",
    "in_double",
    "inner_module",
    "join_windows",
    "keep",
    "keeps",
    "kept",
    "located",
    "pad_frames",
    "pad_recordings",
    "recording_frames",
    "resolve_time",
    "run",
    "settle_time",
    "single_thread",
    "slice_windows",
    "unwrap",
]
