"""Computation of the chip, from the files of a bundle: `simulate`, and `Simulation`, which can be stepped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias, overload

import torch
from torch import Tensor

from lightning_esp.bundle import Bundle, read_both, read_model, read_normalize
from lightning_esp.conversion import (
    Recording,
    Recordings,
    Values,
    as_named,
    check_kind,
    check_recordings,
    count_frames,
    pad_recordings,
)
from lightning_esp.errors import ConfigurationError, DataError, EspdlError
from lightning_esp.frontend import Normalize
from lightning_esp.options import check_arguments
from lightning_esp.quantization import Array, QuantizedModel
from lightning_esp.simulation import (
    IntegerPipeline,
    IntegerRecorder,
    Probe,
    QuantizedStreaming,
    StageSchedule,
    check_files,
    integer_windows,
    interpret,
    join_windows,
    stack_windows,
)

__all__ = [
    "IntegerPipeline",
    "IntegerRecorder",
    "QuantizedStreaming",
    "Simulation",
    "integer_windows",
    "interpret",
    "simulate",
]

# A tensor, or a tuple of them where the model has several outputs. The type of a model is known when it is read; `Any` lets
# a type checker take what the user knows of it.
Output: TypeAlias = "Tensor | Any"


class Simulation:
    """A bundle as a Python object: the integers of one chip, behind floats.

    `step` takes frames as they come and answers as the firmware does: with K stages, one of them runs on each of the K
    frame steps after a window is complete, so its output comes K - 1 frame steps later. `run` computes whole recordings at
    once. Both give the same integers. Of a bundle that normalises (`frontend.Normalize`) they take raw readings, as the
    firmware does; of one that listens, features.

    Args:
        bundle: a bundle, its directory, or a `QuantizedModel`.
        target: which chip; None for the only one, or the first.
        batch: recordings that `step` runs side by side.

    Raises:
        BundleError: the bundle was changed after the export, holds no model for `target`, or says of a tensor what its file
            does not.
        EspdlOperatorError: an operator is unknown, or ESP-DL computes it wrongly.

    Example:
        >>> import torch
        >>> from lightning_esp import Streaming, export
        >>> bundle = export(torch.nn.Conv1d(4, 8, 1), [torch.randn(4, 40)], "bundle", streaming=Streaming(window=2))
        >>> simulation = Simulation(bundle)
        >>> simulation.step(torch.randn(1, 4, 3)).shape  # two frames make a window, the third one waits
        torch.Size([1, 8, 2])
        >>> simulation.step(torch.randn(1, 4, 1)).shape
        torch.Size([1, 8, 2])
        >>> simulation.run(torch.randn(4, 7)).shape
        torch.Size([8, 7])
    """

    def __init__(
        self, bundle: Bundle | QuantizedModel | str | PathLike[str], target: str | None = None, batch: int = 1
    ) -> None:
        check_arguments(Simulation.__init__, bundle=bundle, target=target, batch=batch)
        self.quantized, self._normalize = _read(bundle, target)
        self._module = QuantizedStreaming(self.quantized)
        self._pipeline = interpret(self.quantized)
        check_files(self.quantized)
        self._probe = Probe(self._pipeline)
        self.reset(batch)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors that `peek` and `trace` know, as `<stage>:<name>`."""
        return self._probe.names

    @property
    def caches(self) -> dict[str, Array]:
        """The caches as they are now, integers `[batch, ...]`: explicit ones by name, native ones as `<stage>:<operator>`."""
        return dict(self._schedule.state)

    def reset(self, batch: int | None = None) -> None:
        """Start new recordings: initial caches, no frames; what was pending is dropped. Held inputs keep their value.

        Args:
            batch: how many recordings run side by side from now on; None: as many as before.
        """
        check_arguments(Simulation.reset, batch=batch)
        if batch is not None:
            if batch < 1:
                raise ConfigurationError(f"Simulation(batch={batch}) must be at least 1 recording.")
            self.batch = batch
            self._held: Values = {}
        self._schedule = StageSchedule(self._pipeline, self.batch)
        self._frames: list[Values] = []

    def step(self, frames: Recording) -> Output:
        """Take frames as they come, and return the outputs that became ready.

        Args:
            frames: `[batch, ...]` with any number of frames along time, or one such tensor per input by name; an input that
                is held for a whole recording is needed once.

        Returns:
            Dequantized output frames `[batch, ...]`, as many as became ready, perhaps none (a tuple where the model has
            several outputs). A model that looks ahead puts out its first frames before they mean anything, as on the chip.

        Raises:
            DataError: an input is missing, or its shape does not fit the model.
        """
        given, count = self._check(self._prepare(frames, "step"))
        ready = []
        for index in range(count):
            outputs = self._schedule.step(self._take({name: self._frame(name, given[name], index) for name in given}))
            ready += [] if outputs is None else [outputs]
        return self._join(ready)

    def flush(self) -> Output:
        """Run what is pending of the last complete window, at the end of a recording, and return as `step` does."""
        ready = []
        while self._schedule.is_pending:
            outputs = self._schedule.step()
            ready += [] if outputs is None else [outputs]
        return self._join(ready)

    def peek(self, tensor: str) -> Array:
        """Return any tensor of the window that its stage computed last in `step`.

        Args:
            tensor: its name in the file, or `<stage>:<name>` where several stages compute one of that name.

        Returns:
            Integers in the layout of the file, `[batch, ...]`.

        Raises:
            EspdlError: there is no such tensor, or its stage has not run since the start.
        """
        stage, name = self._probe.find(tensor)
        if stage not in self._schedule.arguments:
            raise EspdlError(f"peek({tensor!r}): its stage has not run yet; step until a window is complete.")
        return self._probe.trace(stage, self._schedule.arguments[stage], name)

    def trace(self, recording: Recording, tensors: Sequence[str]) -> dict[str, Array]:
        """Return any tensors on every window of a recording, from the initial state; the state of `step` stays as it is.

        Args:
            recording: without batch dimension.
            tensors: as for `peek`.

        Returns:
            Integers in the layout of the files, `[windows, ...]` by name.

        Raises:
            EspdlError: there is no such tensor.
            DataError: the recording does not fit the model.
        """
        ((values, _),) = check_recordings(self.quantized.spec, [self._prepare(recording, "trace", whole=True)])
        found = self._probe.run(integer_windows(self.quantized, values), tensors)
        return {name: array[0] for name, array in found.items()}

    @overload
    def run(self, recordings: Recording) -> Output: ...

    @overload
    def run(self, recordings: Recordings) -> list[Output]: ...

    def run(self, recordings: Recording | Recordings) -> Output | list[Output]:
        """Compute whole recordings from the initial state; the state of `step` stays as it is.

        Args:
            recordings: what the exported module takes, without batch dimension, or a sequence of such, lengths may differ.

        Returns:
            The dequantized output in the offline shape, without batch dimension (a tuple where the model has several); for
            a sequence of recordings a list of such.

        Raises:
            DataError: a recording does not fit the model.
        """
        spec = self.quantized.spec
        single = isinstance(recordings, (Tensor, Mapping))
        given: Recordings = [recordings] if single else recordings  # type: ignore[list-item, assignment]
        if self._normalize is not None:
            given = [self._prepare(each, f"recording {index}", whole=True) for index, each in enumerate(given)]
        batch, lengths = pad_recordings(spec, given)
        found = self._module(**batch)
        outputs = (found,) if isinstance(found, Tensor) else found
        results = [self._cut(outputs, row, frames) for row, frames in enumerate(lengths)]
        return results[0] if single else results

    def _prepare(self, recording: Recording, what: str, whole: bool = False) -> Recording:
        """Normalise raw readings, with a batch dimension, or without where it is a whole recording."""
        if self._normalize is None:
            return recording
        check_kind(recording, what)
        values = next(iter(recording.values())) if isinstance(recording, Mapping) else recording
        if values.dim() != len(self.quantized.spec.inputs[0].shape) - whole:
            return recording  # refused with the shape that the model takes
        batch = values.detach().cpu()[None] if whole else values.detach().cpu()
        try:
            normalized = self._normalize(batch)
        except DataError as error:
            raise DataError(f"{what}: {error}") from None
        normalized = normalized[0] if whole else normalized
        return dict.fromkeys(recording, normalized) if isinstance(recording, Mapping) else normalized

    def _cut(self, outputs: Sequence[Tensor], row: int, frames: int) -> Output:
        cut = []
        for port, values in zip(self.quantized.spec.outputs, outputs, strict=True):
            assert port.time_axis is not None
            cut.append(values[row].narrow(port.time_axis - 1, 0, self.quantized.spec.output_frames(port, frames)))
        return cut[0] if len(cut) == 1 else tuple(cut)

    def _check(self, frames: Recording) -> tuple[Values, int]:
        """Return the inputs that are sliced along time, and their frames; keep the held ones."""
        check_kind(frames, "step")
        spec = self.quantized.spec
        values = {spec.inputs[0].name: frames} if isinstance(frames, Tensor) else dict(frames)
        values = self._held | values
        sizes = {len(value) if value.dim() else 0 for value in values.values()}
        if sizes - {self.batch}:
            raise DataError(
                f"step was given batches of {sorted(sizes)}, but runs {self.batch} "
                "recording(s) side by side; call reset(batch=...) first, or give [batch, ...]."
            )
        rows = [{name: value[index] for name, value in values.items()} for index in range(self.batch)]
        check_recordings(spec, rows)
        values = {name: value.detach().float().cpu() for name, value in as_named(spec, values).items()}
        streams = {port.name for port in spec.stream_inputs}
        self._held = {name: value for name, value in values.items() if name not in streams}
        return {name: value for name, value in values.items() if name in streams}, count_frames(spec, values)

    def _frame(self, name: str, values: Tensor, index: int) -> Tensor:
        axes = {port.name: port.time_axis for port in self.quantized.spec.stream_inputs}
        return values.narrow(axes[name] or 0, index, 1)

    def _take(self, frame: Values) -> dict[str, Array] | None:
        """Add a frame; return the window in integers where it is complete."""
        self._frames.append(frame)
        if len(self._frames) < self.quantized.spec.window:
            return None
        window = dict(self._held)
        for port in self.quantized.spec.stream_inputs:
            window[port.name] = torch.cat([frame[port.name] for frame in self._frames], dim=port.time_axis or 0)
        self._frames = []
        return {name: values[:, 0] for name, values in stack_windows(self.quantized, window).items()}

    def _join(self, ready: Sequence[Mapping[str, Array]]) -> Output:
        joined = join_windows(self.quantized, ready, self.batch)
        outputs = tuple(joined[port.name] for port in self.quantized.spec.outputs)
        return outputs[0] if len(outputs) == 1 else outputs


def _read(
    bundle: Bundle | QuantizedModel | str | PathLike[str], target: str | None
) -> tuple[QuantizedModel, Normalize | None]:
    """Return a model, with what normalises its readings; a `QuantizedModel` alone takes what the network takes."""
    if isinstance(bundle, QuantizedModel):
        return bundle, None
    whole, quantized = (bundle, read_model(bundle, target)) if isinstance(bundle, Bundle) else read_both(bundle, target)
    return quantized, read_normalize(whole.contents, quantized)


def simulate(bundle: Bundle | str | PathLike[str], recording: Recording, target: str | None = None) -> Output:
    """Compute what the chip computes, from the files of a bundle.

    Args:
        bundle: a bundle, or its directory.
        recording: what the exported module takes, without batch dimension, or one such tensor per input by name.
        target: which chip; None for the only one, or the first.

    Returns:
        The dequantized output (a tuple where the model has several) without batch dimension, in the offline shape.

    Raises:
        BundleError: the bundle was changed after the export, or holds no model for `target`.
        DataError: the recording does not fit the model.
    """
    return Simulation(bundle, target).run(recording)
