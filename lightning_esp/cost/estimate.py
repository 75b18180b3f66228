"""`Estimate`: time and memory of an exported model before it is flashed, and the limits that it may be held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from lightning_esp.config import Budget
from lightning_esp.cost.chip import Chip, FitError, chip_of
from lightning_esp.cost.operators import traffic_of, work_of
from lightning_esp.cost.work import Work
from lightning_esp.errors import BudgetError
from lightning_esp.espdl import EspdlModel

# What ESP-DL takes from the heap beside tensors while it loads a model: its table of operators once, and objects, names and
# lists for each operator. Measured with ESP-DL 3.3.9 on an ESP32-C3's heap.
RUNTIME_BYTES, OPERATOR_BYTES = 4096, 440


@dataclass(frozen=True)
class LayerEstimate:
    """One operator.

    Args:
        name: module that it came from, and its type.
        microseconds: per window; None for a chip without figures.
        work: what it does.
        parameters: bytes of its weights, biases and tables.
    """

    name: str
    microseconds: float | None
    work: Work
    parameters: int


@dataclass(frozen=True)
class StageEstimate:
    """One file.

    Args:
        name: name of the stage.
        microseconds: per window, which is per step of a stage; None for a chip without figures.
        activations: bytes that ESP-DL allocates for all tensors, exact: they are planned as its memory manager does.
        caches: bytes that its StreamingCache operators keep.
        copies: bytes that the pipeline keeps beside it: outputs and explicit caches.
        parameters: bytes of weights, biases and tables.
        flash: bytes of the file.
        layers: its operators in the order of execution.
    """

    name: str
    microseconds: float | None
    activations: int
    caches: int
    copies: int
    parameters: int
    flash: int
    layers: tuple[LayerEstimate, ...]


@dataclass(frozen=True)
class Estimate:
    """Cost of a model on a chip: an estimate, not a measurement.

    Args:
        target: the chip.
        stages: its files.
        buffers: bytes of the input windows that the pipeline keeps.
        error: how well public figures are predicted; None for a chip without figures.
    """

    target: str
    stages: tuple[StageEstimate, ...]
    buffers: int
    error: FitError | None

    @property
    def window_us(self) -> float | None:
        """Microseconds per window: all stages."""
        found = [stage.microseconds for stage in self.stages]
        return None if None in found else sum(time for time in found if time is not None)

    @property
    def step_us(self) -> float | None:
        """Microseconds of the costliest frame step: one stage runs in each."""
        found = [stage.microseconds for stage in self.stages]
        return None if None in found else max(time for time in found if time is not None)

    @property
    def runtime(self) -> int:
        """Bytes that ESP-DL takes for itself while it loads the files; some of them it gives back then."""
        return RUNTIME_BYTES + OPERATOR_BYTES * len(self.layers)

    @property
    def ram(self) -> int:
        """Bytes for activations, caches, the pipeline's copies and ESP-DL itself, wherever they are placed."""
        tensors = sum(stage.activations + stage.caches + stage.copies for stage in self.stages)
        return self.buffers + tensors + self.runtime

    @property
    def psram(self) -> int:
        """Bytes of the parameters, which ESP-DL copies to PSRAM where the chip has some."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def flash(self) -> int:
        """Bytes of the `.espdl` files."""
        return sum(stage.flash for stage in self.stages)

    @property
    def layers(self) -> tuple[LayerEstimate, ...]:
        """The operators of all stages."""
        return tuple(layer for stage in self.stages for layer in stage.layers)

    def cut_by_count(self, segments: int) -> float | None:
        """Microseconds of the costliest segment where ESP-DL cuts the same operators by their number."""
        times = [layer.microseconds for layer in self.layers]
        if None in times:
            return None
        return cut_by_count([time for time in times if time is not None], segments)

    def __str__(self) -> str:
        window, step = self.window_us, self.step_us
        time = (
            "no public figures" if window is None else f"about {window:.0f} us a window, {step:.0f} us a step at most"
        )
        sizes = f"RAM {self.ram}, PSRAM {self.psram}, flash {self.flash} bytes"
        return f"estimate for {self.target}: {time}; {sizes}" + (f" ({self.error})" if self.error else "")


def estimate_stage(
    target: str, name: str, model: EspdlModel, flash: int, copies: int, modules: Mapping[str, str] | None = None
) -> StageEstimate:
    """Estimate one file.

    Args:
        target: the chip.
        name: name of the stage.
        model: the file.
        flash: its bytes.
        copies: bytes that the pipeline keeps beside it.
        modules: module that each operator came from, by the name of the operator.
    """
    chip, traffic = chip_of(target), traffic_of(model)
    layers = []
    for operator in model.operators:
        work = work_of(model, operator)
        read = [model.tensors[key] for key in operator.inputs if key]
        label = (modules or {}).get(operator.name, operator.name or operator.outputs[0])
        layers.append(
            LayerEstimate(
                name=f"{label} ({operator.type})",
                microseconds=_time(chip, work),
                work=work,
                parameters=sum(tensor.data.nbytes for tensor in read if tensor.data is not None),
            )
        )
    total = _time(chip, sum((layer.work for layer in layers), Work()))
    return StageEstimate(name, total, traffic.peak, traffic.caches, copies, traffic.parameters, flash, tuple(layers))


def _time(chip: Chip | None, work: Work) -> float | None:
    return None if chip is None else chip.microseconds(work)


def cut_by_count(times: Sequence[float], segments: int) -> float:
    """The costliest segment of `dl::Model::run(segments, i)`, which cuts at `i x operators / segments`.

    Example:
        >>> cut_by_count([5.0, 1.0, 1.0, 1.0], 2)
        6.0
    """
    bounds = [index * len(times) // segments for index in range(segments + 1)]
    return max(sum(times[a:b]) for a, b in pairwise(bounds))


_Weigh: TypeAlias = "Callable[[LayerEstimate], float]"

_ADVICE = {
    "flash": "Use fewer channels, or raise the limit.",
    "ram": "Use a shorter window or smaller dilations, or raise the limit.",
    "step_us": "Cut the model into more stages, Streaming(stages=...), use fewer channels, or raise the limit.",
}


def check_budget(estimate: Estimate, budget: Budget) -> None:
    """Hold an estimate to limits.

    Raises:
        BudgetError: it is over one of them; the message names the three layers that cost most of it.
    """
    limits = {
        "flash": (budget.flash, estimate.flash, "bytes", _by_parameters),
        "ram": (budget.ram, estimate.ram, "bytes", _by_written),
        "step_us": (budget.step_us, estimate.step_us, "us", _by_time),
    }
    for name, (limit, found, unit, weigh) in limits.items():
        if limit is None:
            continue
        if found is None:
            raise BudgetError(
                f"Deployment(budget=Budget({name}={limit})): nobody has published figures for {estimate.target}, so its time "
                "cannot be estimated. Leave the limit out for this chip, and measure on the board."
            )
        if found > limit:
            raise BudgetError(_over(estimate, name, limit, found, unit, weigh))


def _over(estimate: Estimate, name: str, limit: float, found: float, unit: str, weigh: _Weigh) -> str:
    layers = _costliest(estimate, name, weigh)
    worst = ", ".join(f"{layer.name} with {weigh(layer):.0f} {unit}" for layer in layers)
    told = f" ({estimate.error})" if name == "step_us" and estimate.error else ""
    return (
        f"Deployment(budget=Budget({name}={limit:g})): the model for {estimate.target} is estimated at {found:.0f} {unit}{told}. "
        f"The three costliest layers are {worst}. {_ADVICE[name]}"
    )


def _costliest(estimate: Estimate, name: str, weigh: _Weigh) -> list[LayerEstimate]:
    # A step runs one stage, so the layers of the costliest one are what must shrink.
    stage = max(estimate.stages, key=lambda stage: stage.microseconds or 0)
    layers = stage.layers if name == "step_us" else estimate.layers
    return sorted(layers, key=weigh, reverse=True)[:3]


def _by_parameters(layer: LayerEstimate) -> float:
    return layer.parameters


def _by_written(layer: LayerEstimate) -> float:
    return layer.work.written


def _by_time(layer: LayerEstimate) -> float:
    return layer.microseconds or 0.0
