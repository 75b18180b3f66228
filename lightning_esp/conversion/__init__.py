"""A module becomes a `StreamingModel`: `convert`, and what it returns.

The hard part in one example: `Conv1d(1, 1, kernel_size=3, stride=2)` behind two frames of zeros, five frames `x0 ... x4`.

    offline, at once    0  0  x0 x1 x2 x3 x4
                       (0  0  x0)                   -> y0
                             (x0 x1 x2)             -> y1
                                   (x2 x3 x4)       -> y2

    stream              cache | window      new cache
                        0  0  | x0 x1   ->  x0 x1        (0  0  x0) -> y0
                        x0 x1 | x2 x3   ->  x2 x3        (x0 x1 x2) -> y1
                        x2 x3 | x4 0    ->  x4 0         (x2 x3 x4) -> y2      the last window is filled up

- **stride** of a tensor: input frames per frame of it, 1 for `x` and 2 for `y`. A window has a multiple of it.
- **delay** of a tensor: stream frame `j` is offline frame `j - delay`. The padding is computed by nobody: the padded tensor
  is `x` with a delay of -2, and the convolution, which begins two frames late by itself, takes these up. So `y` has a
  delay of 0. Without padding, offline begins with `(x0 x1 x2)`, while the stream's first frame is `(0 0 x0)`: a delay
  of 1, and `run` cuts that frame off. Padded by one frame, `(0 x0 x1)` is there after one window: a cache of one frame.
- **pad value**: what stands in front of a recording, 0 here, and what the cache holds before the first window. A layer
  with a bias, or a `sigmoid`, makes another one of it, and the cache of the next layer starts with that.
- **exact**: how many offline frames the stream can give without looking ahead. `padding=1` on both sides makes `y2` of
  `(x3 x4 0)`, whose last frame is no recording's but the padding's: with a delay its other frames are equal, and those at
  the end are counted and reported.

`stream_tensor.py` holds these figures for a tensor, `building.py` computes with them, each rule in `rules/` is an operator.
How a conversion runs: `admission.py` copies the user's module; `front_ends.py` refuses one that makes its own features, with
a call of ours in their place (`front_end_calls.py`); `tracing.py` runs `forward` for several lengths
(`recorder.py`, `trace.py`); `axes.py` and `time_dependence.py` find the axis of time; `conversion.py` goes through the calls
and lets each rule write its streaming form (`nodes.py`); `clips.py` takes over where a decision needs the whole clip;
`window.py`, `partition.py` and `partition_search.py` choose the window and cut stages; `handwritten.py` honours a module's
own `streaming_forward` before any of this.
"""

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
from lightning_esp.conversion.structure import Keep, Structure, flat_structure, keep, keeps, kept
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
    "Structure",
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
    "flat_structure",
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
