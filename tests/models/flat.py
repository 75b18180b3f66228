"""An `.espdl` file run on one flat piece of memory, where ESP-DL would put its tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lightning_esp.espdl import EspdlInterpreter
from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.interpreter import compute, from_batched
from lightning_esp.espdl.memory import plan_memory, program_of


class FlatStream:
    """An `IntegerStream` for one recording whose operators read and write bytes of one array, again and again."""

    def __init__(self, file: EspdlInterpreter) -> None:
        self._file = file
        plan = plan_memory(program_of(file.model, file.shapes))
        memory = np.full(plan.size, 0x5B, np.uint8)
        self._cells: dict[str, Array] = {
            name: memory[place.begin : place.end].view(file.model.tensors[name].dtype).reshape(1, *file.shapes[name])
            for name, place in plan.places.items()
        }

    def initial_state(self, batch: int) -> dict[str, Array]:
        assert batch == 1
        return self._file.initial_state(1)

    def step(
        self, inputs: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        values = {**self._file.constants, **self._cells}
        for name in self._file.model.inputs:
            values[name][:] = inputs[name].reshape(values[name].shape)
        after = dict[str, Array]()
        for item in self._file.instructions:
            if item.cache is None:
                written = compute(item, values)
            else:
                remembered = self._file.check_cache(state, item.cache, 1)
                joined, rest = item.cache.extend(values[item.node.operator.inputs[0]], remembered)
                written, after[item.cache.key] = {item.node.operator.outputs[0]: joined}, rest[:, 0].copy()
            for name, value in written.items():
                values[name][:] = value.copy()
        return {name: from_batched(values[name]).copy() for name in self._file.model.outputs}, after
