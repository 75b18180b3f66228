"""Windows, and the state that each one meets: what the quantizer must see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_esp.config import Calibration
from lightning_esp.conversion import (
    Recordings,
    StreamingModel,
    StreamSpec,
    Values,
    check_recordings,
    pad_frames,
    single_thread,
)
from lightning_esp.errors import DataError
from lightning_esp.options import check_arguments

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CalibrationSet:
    """Windows of recordings, each with the cache state that it meets when its recording is streamed from zero state.

    Args:
        values: model inputs and caches by name, `[windows, *shape of one window without batch]`.
        recordings: recordings that the windows came from.
        windows: windows that these recordings hold; `values` has a seeded choice of them where that is more than
            `Calibration.max_windows`.
        dropped_frames: frames at the ends of recordings that fill no window.
        short_recordings: recordings that were left out since they are shorter than one window.
    """

    values: Values = field(repr=False)
    recordings: int
    windows: int
    dropped_frames: int
    short_recordings: int

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


def calibrate(
    model: StreamingModel,
    recordings: Recordings,
    calibration: Calibration | None = None,
    *,
    progress: Progress | None = None,
) -> CalibrationSet:
    """Stream recordings, all at once, and keep each window with the caches that it meets.

    Args:
        model: the streaming model.
        recordings: each `[channels, time]` (or another layout without batch), or one such tensor per input by name;
            lengths may differ. A remainder shorter than a window is dropped and counted.
        calibration: how many recordings and windows to use.
        progress: called with `("calibrate", windows done, windows in all)`.

    Raises:
        DataError: there are no recordings, one has NaN or infinite values, or all are shorter than a window.
    """
    check_arguments(calibrate, model=model, calibration=calibration, progress=progress)
    calibration = calibration or Calibration()
    spec = model.spec
    chosen = _choose(check_recordings(spec, recordings), calibration)
    _check_dtypes(chosen)
    counts = [frames // spec.window for _, frames in chosen]
    used = sorted(((values, n) for (values, _), n in zip(chosen, counts, strict=True) if n), key=lambda pair: -pair[1])
    if not used:
        raise DataError(
            f"all {len(chosen)} calibration recordings are shorter than one window of {spec.window} frames (the longest "
            f"has {max(frames for _, frames in chosen)}); give longer recordings, or a smaller Streaming(window=...)."
        )
    kept = _collect(model, used, calibration, progress)
    return CalibrationSet(
        values=kept,
        recordings=len(used),
        windows=sum(counts),
        dropped_frames=sum(frames % spec.window for _, frames in chosen),
        short_recordings=len(chosen) - len(used),
    )


def _check_dtypes(recordings: list[tuple[Values, int]]) -> None:
    found = {str(value.dtype) for values, _ in recordings for value in values.values()} - {"torch.float32"}
    if found:
        raise DataError(
            f"the recordings are {' and '.join(sorted(found))}, but a streaming model computes in float32; give recording.float()."
        )


def _choose(recordings: list[tuple[Values, int]], calibration: Calibration) -> list[tuple[Values, int]]:
    if len(recordings) <= calibration.max_recordings:
        return recordings
    order = torch.randperm(len(recordings), generator=torch.Generator().manual_seed(calibration.seed))
    return [recordings[i] for i in sorted(order[: calibration.max_recordings].tolist())]


def _keep_masks(counts: Sequence[int], calibration: Calibration) -> list[Tensor]:
    """For each window index, which of the recordings that are still running keep theirs."""
    total = sum(counts)
    keep = torch.ones(total, dtype=torch.bool)
    if total > calibration.max_windows:
        order = torch.randperm(total, generator=torch.Generator().manual_seed(calibration.seed))
        keep[order[calibration.max_windows :]] = False
    running = [sum(count > i for count in counts) for i in range(max(counts))]
    return list(keep.split(running))  # type: ignore[no-untyped-call]


@single_thread()
@torch.inference_mode()
def _collect(
    model: StreamingModel, used: list[tuple[Values, int]], calibration: Calibration, progress: Progress | None
) -> Values:
    spec, counts = model.spec, [count for _, count in used]
    batch = _batch(spec, [values for values, _ in used], counts[0] * spec.window)
    masks = _keep_masks(counts, calibration)
    rows = sum(int(mask.sum()) for mask in masks)
    like = next(iter(batch.values()))
    shapes = {**{port.name: port.shape for port in spec.inputs}, **{cache.name: cache.shape for cache in spec.caches}}
    # Written in place: collecting first and joining afterwards would copy and hold everything twice.
    kept = {name: like.new_empty(rows, *shape[1:], dtype=torch.float32) for name, shape in shapes.items()}
    windows = (
        {port.name: _window(port.time_axis, port.frames, batch[port.name][: len(mask)], i) for port in spec.inputs}
        for i, mask in enumerate(masks)
    )
    start = 0
    for i, (mask, (caches, values)) in enumerate(zip(masks, model.stream(windows), strict=True)):
        met, end = {**values, **caches}, start + int(mask.sum())
        for name, rows_kept in kept.items():
            rows_kept[start:end] = met[name] if end - start == len(mask) else met[name][mask]
        start = end
        if progress is not None:
            progress("calibrate", i + 1, len(masks))
    return kept


def _batch(spec: StreamSpec, recordings: Sequence[Mapping[str, Tensor]], frames: int) -> Values:
    batch: Values = {}
    for port in spec.inputs:
        values = [recording[port.name] for recording in recordings]
        if port.time_axis is not None:
            axis = port.time_axis
            values = [pad_frames(v.narrow(axis, 0, min(frames, v.shape[axis])), axis, frames) for v in values]
        batch[port.name] = torch.cat(values)
    return batch


def _window(axis: int | None, frames: int, values: Tensor, index: int) -> Tensor:
    return values if axis is None else values.narrow(axis, index * frames, frames)
