"""Values of any tensor inside the files of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_esp.errors import EspdlError
from lightning_esp.espdl import EspdlInterpreter
from lightning_esp.quantization import Array
from lightning_esp.simulation.integer_pipeline import IntegerPipeline


class Probe:
    """Finds tensors by name in the stages of a model, and traces them.

    A name alone stands for the tensor that one stage computes; `<stage>:<name>` for that of a certain stage.

    Args:
        pipeline: stages that are computed by `EspdlInterpreter`s.
    """

    def __init__(self, pipeline: IntegerPipeline) -> None:
        self._pipeline = pipeline
        self._interpreters = [stream for stream in pipeline.streams if isinstance(stream, EspdlInterpreter)]
        assert len(self._interpreters) == len(pipeline.streams)
        self._stages = [file.name for file in pipeline.files]

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor that can be traced, as `<stage>:<name>`, in the order of data flow."""
        return tuple(
            f"{stage}:{name}"
            for stage, item in zip(self._stages, self._interpreters, strict=True)
            for name in (*item.model.inputs, *_computed(item))
        )

    def find(self, name: str) -> tuple[int, str]:
        """Return the stage that holds a tensor, and its name there.

        Raises:
            EspdlError: no stage has such a tensor, or several compute one of that name.
        """
        known = self.names
        found = [entry for entry in known if entry == name or entry.partition(":")[2] == name]
        computing = [entry for entry in found if entry.partition(":")[2] in self._computed_by(entry.partition(":")[0])]
        if not found:
            raise EspdlError(f"tensor {name!r} is computed nowhere in the model; it has {', '.join(known)}.")
        if len(computing) > 1 and name not in known:
            raise EspdlError(f"tensor {name!r} is computed by several stages; name one of {', '.join(computing)}.")
        stage, _, inside = (computing or found)[0].partition(":")
        return self._stages.index(stage), inside

    def _computed_by(self, stage: str) -> tuple[str, ...]:
        return _computed(self._interpreters[self._stages.index(stage)])

    def trace(self, stage: int, arguments: tuple[dict[str, Array], dict[str, Array]], name: str) -> Array:
        """Return a tensor of one stage on one window, `[batch, ...]` in the layout of the file."""
        return self._interpreters[stage].trace(*arguments, taps=[name]).values[name]

    def run(self, windows: Sequence[Mapping[str, Array]], names: Sequence[str]) -> dict[str, Array]:
        """Return tensors on consecutive windows from the initial state, `[batch, windows, ...]` by name."""
        found = {name: self.find(name) for name in names}
        state = self._pipeline.initial_state(len(next(iter(windows[0].values()))))
        rows: dict[str, list[Array]] = {name: [] for name in names}
        for window in windows:
            values, after = dict(window), dict(state)
            for index, interpreter in enumerate(self._interpreters):
                taps = {name: inside for name, (stage, inside) in found.items() if stage == index}
                arguments = self._pipeline.stage_arguments(index, values, state)
                traced = interpreter.trace(*arguments, taps=set(taps.values())).values
                for name, inside in taps.items():
                    rows[name].append(traced[inside])
                outputs, changed = self._pipeline.run_stage(index, values, state)
                values |= outputs
                after |= changed
            state = after
        return {name: np.stack(row, axis=1) for name, row in rows.items()}


def _computed(interpreter: EspdlInterpreter) -> tuple[str, ...]:
    return tuple(name for operator in interpreter.model.operators for name in operator.outputs if name)
