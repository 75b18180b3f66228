"""Inputs of a module, captured while the user's own step runs: what the network really sees."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion import Recording, kept, resolve_time, settle_time
from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.training.lengths import count_frames, find_lengths


@dataclass(frozen=True)
class CapturedCall:
    """One call of the module.

    Args:
        inputs: tensors by argument name, batch in front.
        lengths: lengths of the recordings in the loader's unit, and the length that they are padded to; or None.
    """

    inputs: dict[str, Tensor]
    lengths: tuple[Tensor, int] | None

    @property
    def batch(self) -> int:
        """Recordings in the call."""
        return len(next(iter(self.inputs.values())))


class InputRecorder:
    """Keeps what a module is called with.

    Args:
        module: the module; a forward pre-hook stays on it until `remove`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.calls: list[CapturedCall] = []
        self._batch: Any = None
        self._signature = inspect.signature(module.forward)
        self._handle = module.register_forward_pre_hook(self._record, with_kwargs=True)

    @property
    def recordings(self) -> int:
        """Recordings seen so far."""
        return sum(call.batch for call in self.calls)

    def start_batch(self, batch: Any) -> None:
        """Say which batch the next calls belong to."""
        self._batch = batch

    def remove(self) -> None:
        """Take the hook off the module."""
        self._handle.remove()

    def _record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = {
            name: value.detach().cpu().clone()
            for name, value in tensor_arguments(self._signature, args, kwargs).items()
        }
        if inputs:
            self.calls.append(CapturedCall(inputs, find_lengths(self._batch)))


def tensor_arguments(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors among the arguments of a call by argument name, floating-point ones in float32."""
    named: dict[str, Any] = {}
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named |= {f"{name}_{index}": part for index, part in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor) and value.ndim > 0}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def tell_time(module: nn.Module, calls: Sequence[CapturedCall], streaming: Streaming) -> Streaming:
    """Return `streaming` with the `time_axis` that the batches tell, if they do and it was not given.

    One axis has another length in another batch; or one axis has the length that the lengths beside each batch say it was
    padded to.

    Args:
        module: the module that was called.
        calls: what `InputRecorder` has kept.
        streaming: the user's options.
    """
    first_rows = [{name: value[0] for name, value in call.inputs.items()} for call in calls]
    with kept(module.eval(), streaming.outputs):
        told = settle_time(module, first_rows, streaming)
    return told if told.time_axis is not None else replace(told, time_axis=_padded_axis(calls, streaming))


def is_told(module: nn.Module, calls: Sequence[CapturedCall], streaming: Streaming) -> bool:
    """Tell whether the batches, or the module, tell the axis of time."""
    options = tell_time(module, calls, streaming)
    try:
        with kept(module, streaming.outputs):
            resolve_time(module, {name: value[:1] for name, value in calls[0].inputs.items()}, options)
    except ConfigurationError:
        return False
    return True


def _padded_axis(calls: Sequence[CapturedCall], streaming: Streaming) -> int | None:
    """The one axis that is as long in every batch as its recordings were padded to."""
    told = streaming.inputs or {}
    common: set[int] | None = None
    for call in calls:
        if call.lengths is None:
            return None
        shape = next(value.shape for name, value in call.inputs.items() if told.get(name) != "held")
        fitting = {axis for axis, size in enumerate(shape) if axis and size == call.lengths[1]}
        common = fitting if common is None else common & fitting
    return next(iter(common)) if common is not None and len(common) == 1 else None


def split_recordings(
    module: nn.Module, calls: Sequence[CapturedCall], streaming: Streaming, limit: int
) -> list[Recording]:
    """Turn batched calls into recordings without a batch dimension, padding cut off.

    Args:
        module: the module that was called, to find the axis of time with.
        calls: what `InputRecorder` has kept.
        streaming: the user's options, `time_axis` and `inputs` among them.
        limit: recordings to return at most.

    Raises:
        DataError: lengths of a batch do not belong to what the module was called with.
    """
    recordings: list[Recording] = []
    streaming = tell_time(module, calls, streaming)
    padded = all(call.lengths is not None for call in calls)
    for call in calls:
        frames, axis, held = _real_frames(module, call, streaming) if padded else (None, 0, set[str]())
        for index in range(min(call.batch, limit - len(recordings))):
            values = {name: value[index] for name, value in call.inputs.items()}
            if frames is not None:
                values = {n: v if n in held else v.narrow(axis - 1, 0, frames[index]) for n, v in values.items()}
            recordings.append(next(iter(values.values())) if len(values) == 1 else values)
    return recordings


@torch.no_grad()
def _real_frames(module: nn.Module, call: CapturedCall, streaming: Streaming) -> tuple[list[int] | None, int, set[str]]:
    assert call.lengths is not None
    lengths, padded = call.lengths
    if len(lengths) != call.batch:
        raise DataError(
            f"the batch has {len(lengths)} lengths, but the step called {type(module).__name__} with {call.batch} "
            "recordings, so padding can't be told from data. Give the datamodule a calibration_dataloader() whose batches "
            "hold one recording each, and no lengths."
        )
    with kept(module.eval(), streaming.outputs):
        options = resolve_time(module, {name: value[:1] for name, value in call.inputs.items()}, streaming)
    axis, kinds = options.time_axis, options.inputs
    assert axis is not None
    assert kinds is not None
    streams = [name for name, kind in kinds.items() if kind == "stream"]
    frames = call.inputs[streams[0]].shape[axis]
    return count_frames(lengths, padded, frames), axis, set(kinds) - set(streams)
