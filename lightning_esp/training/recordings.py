"""Recordings for an export, captured from the user's own data by the user's own step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn

from lightning_esp.config import Calibration, Streaming
from lightning_esp.conversion import Recording, has_contract
from lightning_esp.errors import DataError, ModuleNotFoundInBatchError
from lightning_esp.frontend import FrontEnd, Normalize, find_inside
from lightning_esp.training.capture import InputRecorder, is_told, split_recordings, tell_time
from lightning_esp.training.front_end_match import (
    LAYOUTS,
    Match,
    WaveformRecorder,
    explain_frames,
    find_front_end,
    match_waveforms,
)
from lightning_esp.training.loaders import PrivateLoaders, UntilEnough, make_private, map_loaders
from lightning_esp.training.replay import Replay, combine
from lightning_esp.training.sources import DataSource, is_user_defined, iterate_sources
from lightning_esp.training.subject import Subject


@dataclass(frozen=True)
class Captured:
    """Inputs of the module to export, as it was called.

    Args:
        recordings: without batch dimension, padding cut off.
        source: the data that they came from, in a few words.
        failure: why the data could not be copied, so that the user's own were read; empty where they were copied.
        match: the samples behind each recording, where a front end makes the recordings of them; or None.
        made_up: the recordings are random numbers.
        time_axis: the axis of time in a batch of them, where the user or the batches tell it.
    """

    recordings: list[Recording]
    source: str
    failure: str = ""
    match: Match | None = None
    made_up: bool = False
    time_axis: int | None = None


def find_calibration(subject: Subject, limit: int, seed: int) -> tuple[DataSource, PrivateLoaders]:
    """Return the data to calibrate with, and loaders of our own over them.

    Raises:
        DataError: the run has no data at all.
    """
    source = next(iterate_sources(subject.trainer, subject.copy_module(), subject.copy_datamodule()), None)
    if source is None:
        raise DataError(
            f"there are no data to calibrate {subject.name} with: the trainer has neither a datamodule nor loaders. Give "
            "the datamodule a calibration_dataloader() or val_dataloader(), and hand it over: export(trainer, module, "
            "datamodule)."
        )
    return source, make_private(source.loaders, limit=limit, seed=seed)


def capture_recordings(
    subject: Subject, streaming: Streaming, calibration: Calibration, *, rehearsal: bool = False
) -> Captured:
    """Run the user's step over private loaders and keep what the module to export sees.

    Args:
        subject: what is exported.
        streaming: the user's options, to cut padding with.
        calibration: how many recordings to capture, and the seed of that choice.
        rehearsal: run one batch only, and leave data alone that cannot be copied: no recordings are returned then.

    Raises:
        DataError: there are no data, or the loader is empty.
        ModuleNotFoundInBatchError: the step never called the module with a tensor.
    """
    source, private = find_calibration(subject, calibration.max_recordings, calibration.seed)
    if rehearsal and private.failure:
        return Captured([], f"the {source.name} data", private.failure)
    loaders = _joined(subject, source, private)
    calls, waveforms, seen, step = _record(subject, loaders, calibration, 1 if rehearsal else None)
    _check_called(subject, calls.calls, seen, f"the {source.name} data", step)
    if seen == 1 and not is_told(subject.module, calls.calls, streaming):
        # The lengths of whole batches may tell which axis is time.
        others, *_ = _record(subject, _joined(subject, source, make_private(source.loaders)), calibration, 2)
        streaming = tell_time(subject.module, others.calls, streaming)
    recordings = split_recordings(subject.module, calls.calls, streaming, calibration.max_recordings)
    rows = waveforms.rows([call.batch for call in calls.calls])
    plain = has_contract(subject.module) or isinstance(streaming.stages, list | tuple)
    match = match_waveforms(find_front_end(subject.original), rows, recordings, LAYOUTS[:1] if plain else LAYOUTS)
    # What the module holds inside, the export takes out.
    if match is None and not rehearsal and find_inside(subject.module) is None:
        rank_zero_info(explain_frames(subject.original))
    # A front end that listens gives `[batch, bands, frames]`.
    listens = match is not None and isinstance(match.front_end, FrontEnd)
    axis = 2 if listens else tell_time(subject.module, calls.calls, streaming).time_axis
    return Captured(recordings, f"the {source.name} data", private.failure, match, time_axis=axis)


def _joined(subject: Subject, source: DataSource, private: PrivateLoaders) -> Any:
    return combine(subject.trainer, private.loaders) if source.name == "training" else private.loaders


def capture_shapes(subject: Subject, batch: Any, streaming: Streaming) -> Captured:
    """Run `training_step` on one batch that training itself has drawn, and return one random input of the shape seen.

    Args:
        subject: what is exported.
        batch: a batch as the step gets it, already transferred.
        streaming: the user's options, to cut padding with.
    """
    module = subject.copy_module()
    recorder = InputRecorder(module.get_submodule(subject.path))
    seen = _Counter(recorder)
    # The batch went through these hooks already.
    for hook in ("on_before_batch_transfer", "on_after_batch_transfer"):
        vars(module)[hook] = lambda batch, dataloader_idx: batch
    alone = UntilEnough([batch], lambda: False)
    Replay(subject.trainer, module, alone, "training_step", on_batch=seen, limit=1).run()
    _check_called(subject, recorder.calls, seen.batches, "the first training batch", "training_step")
    first = split_recordings(subject.module, recorder.calls[:1], streaming, 1)[0]
    generator = torch.Generator().manual_seed(0)
    made: Recording = (
        _random_like(first, generator)
        if isinstance(first, Tensor)
        else {name: _random_like(value, generator) for name, value in first.items()}
    )
    if isinstance(made, Tensor) and (path := find_inside(subject.module)) is not None:
        made = _scale_as(subject.module.get_submodule(path), made)
    axis = tell_time(subject.module, recorder.calls[:1], streaming).time_axis
    return Captured([made], "random numbers", made_up=True, time_axis=axis)


class _Counter:
    """Counts batches, and tells the recorder of each."""

    def __init__(self, recorder: InputRecorder) -> None:
        self.batches = 0
        self.recorder = recorder

    def __call__(self, batch: Any) -> None:
        self.batches += 1
        self.recorder.start_batch(batch)


def _record(
    subject: Subject, loaders: Any, calibration: Calibration, batches: int | None, guarded: bool = True
) -> tuple[InputRecorder, WaveformRecorder, int, str]:
    module = subject.copy_module()
    recorder = InputRecorder(module.get_submodule(subject.path))
    waveforms = WaveformRecorder(module, module.get_submodule(subject.path))
    seen = _Counter(recorder)
    many = calibration.max_recordings
    limited = map_loaders(
        # Who asks for a number of batches has a reason to see them all.
        loaders,
        lambda loader: UntilEnough(loader, lambda: recorder.recordings >= many and seen.batches >= (batches or 1)),
    )
    step = "validation_step" if is_user_defined(module, "validation_step") else "training_step"
    Replay(
        subject.trainer,
        module,
        limited,
        step,
        datamodule=subject.copy_datamodule(),
        limit=batches,
        seed=calibration.seed,
        on_batch=seen,
        guarded=guarded,
    ).run()
    if guarded and seen.batches and not recorder.calls:
        # A step that returns at once in a sanity check.
        return _record(subject, loaders, calibration, batches, guarded=False)
    return recorder, waveforms, seen.batches, step


def _check_called(subject: Subject, calls: list[Any], batches: int, data: str, step: str) -> None:
    owner = type(subject.original).__name__
    if batches == 0:
        raise DataError(
            f"{data} gave no batch, so there is nothing to calibrate {subject.name} with. Check that the dataset is not "
            "empty and that drop_last does not drop its only batch, or give the datamodule a calibration_dataloader()."
        )
    if not calls:
        called = "with a tensor " if subject.path else ""
        raise ModuleNotFoundInBatchError(
            f"module {subject.name} was never called {called}while {owner}.{step} ran on {batches} batch(es) of {data}, so "
            f"its inputs are not known. The step must call the module itself ({_call(subject)}), not parts of it or its "
            "forward method; or name the module that it calls, EspStreamingExport(module=...)."
        )


def _call(subject: Subject) -> str:
    return f"self.{subject.path}(x)" if subject.path else "self(x)"


def _scale_as(front_end: nn.Module, made: Tensor) -> Tensor:
    """Random numbers as samples, which lie in -1 to 1, or as readings."""
    if not isinstance(front_end, Normalize):
        return made / 8
    shape = [1] * (made.dim() + 1)
    shape[front_end.channel_axis] = -1
    mean, scale = front_end.mean.reshape(shape)[0].cpu(), front_end.scale.reshape(shape)[0].cpu()
    return made * scale + mean


def _random_like(value: Tensor, generator: torch.Generator) -> Tensor:
    if not value.is_floating_point():
        return torch.zeros_like(value)
    return torch.randn(value.shape, generator=generator)
