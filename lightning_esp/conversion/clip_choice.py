"""Recognition of models that decide on whole clips, and the length of these clips."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion.exact_weights import doubled_for
from lightning_esp.conversion.geometry import try_run
from lightning_esp.conversion.slicing import resize_frames
from lightning_esp.conversion.spec import Values
from lightning_esp.errors import ConversionError


def cut_clip(inputs: Mapping[str, Tensor], streaming: Streaming) -> Values:
    """Return one clip of `streaming.clip` frames; a shorter example is repeated.

    Args:
        inputs: example by argument name, batch in front.
        streaming: options with `time_axis`, `inputs` and the length of the clip filled in.
    """
    assert isinstance(streaming.clip, int)
    return _resized(inputs, streaming, streaming.clip)


def _resized(inputs: Mapping[str, Tensor], streaming: Streaming, frames: int) -> Values:
    axis, kinds = streaming.time_axis or 0, streaming.inputs or {}
    return {n: v if kinds.get(n) == "held" else resize_frames(v, axis, frames) for n, v in inputs.items()}


def lost_time(module: nn.Module, inputs: Mapping[str, Tensor], streaming: Streaming) -> int | None:
    """Find the length of the clips that a module decides on, from an example.

    Args:
        module: the offline module, in evaluation mode.
        inputs: one clip by argument name, batch in front.
        streaming: options with `time_axis` and `inputs` filled in.

    Returns:
        The frames of the example where no output has an axis of time: it is as long for a longer recording, or the module
        takes no other length, and no output is as long as the example. None where one follows time.
    """
    axis, kinds = streaming.time_axis or 0, streaming.inputs or {}
    frames = next(v.shape[axis] for name, v in inputs.items() if kinds.get(name) != "held")
    with doubled_for(inputs):
        return frames if _ends_time(module, inputs, streaming, frames) else None


def _ends_time(module: nn.Module, inputs: Mapping[str, Tensor], streaming: Streaming, frames: int) -> bool:
    try:
        found = try_run(module, inputs)
    except ConversionError:
        found = None
    if found is None:
        return False
    base = [tuple(value.shape) for value in found]
    for length in (frames * 2, frames * 3, max(1, frames // 2)):
        other = None if length == frames else try_run(module, _resized(inputs, streaming, length))
        if other is not None:
            return [tuple(value.shape) for value in other] == base
    return not any(frames in shape[1:] for shape in base)
