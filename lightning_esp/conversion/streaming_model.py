"""`StreamingModel`: the float model that steps, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_esp.conversion.description import describe
from lightning_esp.conversion.slicing import as_named, count_frames, join_windows, slice_windows
from lightning_esp.conversion.spec import Layer, Recording, StreamSpec, Values


@dataclass(frozen=True)
class StreamingModel:
    """A float model that steps window by window, as the chip will.

    Args:
        spec: its outside.
        stages: one module per stage of the spec: `(*inputs, *caches) -> (*outputs, *new caches)`.
        layers: operators of an automatically converted model; empty for a hand-written one.
        exact: by stage, the parameters and buffers that `forward` computes from its own, before they were rounded to the
            type of the model; empty where there are none.
    """

    spec: StreamSpec
    stages: tuple[nn.Module, ...]
    layers: tuple[Layer, ...] = ()
    exact: tuple[Mapping[str, Tensor], ...] = ()

    def __str__(self) -> str:
        return describe(self.spec, self.layers)

    @property
    def window(self) -> int:
        """Input frames per inference."""
        return self.spec.window

    @property
    def delay(self) -> int:
        """Output frames that the stream trails the offline output."""
        return self.spec.delay

    @property
    def receptive_field(self) -> int | None:
        """Input frames that one output frame depends on; None where it is not known."""
        return self.spec.receptive_field

    def initial_caches(self, batch: int = 1, like: Tensor | None = None) -> Values:
        """The state at the start of a recording, `[batch, *shape]` by cache name, in the dtype of `like`."""
        like = torch.empty(0) if like is None else like
        return {c.name: like.new_full((batch, *c.shape[1:]), c.initial) for c in self.spec.caches}

    def step_values(self, inputs: Mapping[str, Tensor], caches: Mapping[str, Tensor]) -> Values:
        """Run one window and return every tensor by name: inputs, stage outputs, model outputs and new caches."""
        values = dict(inputs)
        for stage, module in zip(self.spec.stages, self.stages, strict=True):
            arguments = [values[port.name] for port in stage.inputs] + [caches[cache.name] for cache in stage.caches]
            values.update(zip(stage.output_names, module(*arguments), strict=True))
        return values

    def step(self, window: Recording, caches: Mapping[str, Tensor]) -> tuple[Tensor | tuple[Tensor, ...], Values]:
        """Run one window.

        Args:
            window: `[batch, ...]` with `window` frames along time, or one such tensor per input by name.
            caches: state by cache name, from `initial_caches` or the step before.

        Returns:
            The output (a tuple where the model has several) and the new caches.
        """
        values = self.step_values(as_named(self.spec, window), caches)
        return self._outputs(values), {cache: values[new] for cache, new in self.spec.feedback.items()}

    def stream(self, windows: Iterable[Values], caches: Values | None = None) -> Iterator[tuple[Values, Values]]:
        """Run consecutive windows, each from the state that the one before has left.

        Args:
            windows: `[batch, ...]` by input name. The batch may shrink: then the first recordings go on.
            caches: state before the first window; None: at the start of recordings.

        Yields:
            The state before a window, and every tensor of the window as `step_values` returns them.
        """
        for window in windows:
            if caches is None:
                first = window[self.spec.stream_inputs[0].name]
                caches = self.initial_caches(len(first), first if first.is_floating_point() else self._like())
            rows = len(next(iter(window.values())))
            caches = {name: value[:rows] for name, value in caches.items()}
            values = self.step_values(window, caches)
            yield caches, values
            caches = {cache: values[new] for cache, new in self.spec.feedback.items()}

    def run(self, batch: Recording) -> Tensor | tuple[Tensor, ...]:
        """Stream whole recordings of one length from the initial state.

        Args:
            batch: `[batch, ...]` of any number of frames, or one such tensor per input by name.

        Returns:
            The output in exactly the offline shape: the last window is filled up with zero frames, the delay flushed
            and cut.
        """
        inputs = as_named(self.spec, batch)
        names = [port.name for port in self.spec.outputs]
        windows = self.stream(slice_windows(self.spec, inputs))
        outputs = [{name: values[name] for name in names} for _, values in windows]
        return self._outputs(join_windows(self.spec, outputs, count_frames(self.spec, inputs)))

    def _like(self) -> Tensor:
        """A tensor of the type that the model computes in, whatever its inputs are."""
        tensors = (t for stage in self.stages for t in (*stage.parameters(), *stage.buffers()))
        return next((t for t in tensors if t.is_floating_point()), torch.empty(0))

    def _outputs(self, values: Mapping[str, Tensor]) -> Tensor | tuple[Tensor, ...]:
        found = tuple(values[port.name] for port in self.spec.outputs)
        return found[0] if len(found) == 1 else found
