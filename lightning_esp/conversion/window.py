"""Windows: what fits a model's stride and stages, and which of these costs least within a latency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import floor

from lightning_esp.config import Streaming
from lightning_esp.conversion.operator_cost import work_of_stage
from lightning_esp.conversion.spec import StreamSpec, WindowChoice, WindowOption
from lightning_esp.conversion.streaming_model import StreamingModel
from lightning_esp.cost import Chip
from lightning_esp.errors import ConfigurationError, ConversionError, WindowError

# Each window costs a conversion, and longer ones differ less and less.
MAX_OPTIONS = 8

Make = Callable[[int | None], StreamingModel]


def choose_window(streaming: Streaming, stride: int, stages: int) -> int:
    """The window, checked: a multiple of the stride and at least the number of stages.

    Raises:
        WindowError: it is not; the message names the nearest ones that are.
    """
    assert streaming.window != "auto"
    smallest = -(-stages // stride) * stride
    window = streaming.window or smallest
    if window % stride:
        nearest = max(smallest, window // stride * stride)
        raise WindowError(
            f"Streaming(window={window}) is not a multiple of the model's stride of {stride} frames; "
            f"use {nearest} or {-(-window // stride) * stride}."
        )
    if window < stages:
        raise WindowError(
            f"Streaming(window={window}) is shorter than the {stages} stages: one stage runs per frame step, so a window "
            f"must last at least {stages} frames; use {smallest}."
        )
    return window


def convert_within(latency: float, make: Make, frame_period: float | None, chip: Chip) -> StreamingModel:
    """Convert with the window that costs least per frame among those that keep to a latency.

    Where nothing is known of the cost, as of a hand-written form, the longest is taken: what an operator costs beside its
    data is shared by more frames.

    Args:
        latency: seconds.
        make: converts with a window, or with the smallest one.
        frame_period: seconds from one input frame to the next.
        chip: by whose costs.

    Raises:
        ConfigurationError: the frame period is not known.
        WindowError: the smallest window takes longer.
    """
    if frame_period is None:
        raise ConfigurationError(
            f"Streaming(window='auto', latency={latency:g}) needs to know how long a frame lasts; give "
            "Streaming(frame_period=...) in seconds."
        )
    smallest = make(None)
    least = _judge(smallest, frame_period, chip)
    if least.latency > latency:
        raise WindowError(_too_late(smallest.spec, least, latency, frame_period))
    models = {smallest.window: smallest}
    for window in _longer(smallest.spec, latency - least.latency, frame_period):
        try:
            models[window] = make(window)
        except ConversionError:
            # A hand-written streaming form may know one window only.
            if least.frame_us is not None:
                raise
    judged = {window: _judge(model, frame_period, chip) for window, model in models.items()}
    options = tuple(option for option in judged.values() if option.latency <= latency)
    chosen = models[min(options, key=_cost).window]
    return replace(chosen, spec=replace(chosen.spec, choice=WindowChoice(latency, chip.name, options)))


def _cost(option: WindowOption) -> tuple[float, int]:
    # The shorter of two that cost the same; the longest where no cost is known.
    return (0.0, -option.window) if option.frame_us is None else (option.frame_us, option.window)


def _judge(model: StreamingModel, frame_period: float, chip: Chip) -> WindowOption:
    spec = model.spec
    works = [work_of_stage(module, stage) for module, stage in zip(model.stages, spec.stages, strict=True)]
    times = [chip.microseconds(work) for work in works if work is not None]
    known = len(times) == len(works)
    waiting = (spec.window + len(spec.stages) - 1 + _delay(spec)) * frame_period
    latency = waiting + (times[-1] * 1e-6 if known else 0)
    return WindowOption(spec.window, round(latency, 9), round(sum(times) / spec.window, 3) if known else None)


def _delay(spec: StreamSpec) -> float:
    """Input frames that the output trails the offline one."""
    return spec.delay * spec.window / max(1, spec.outputs[0].frames)


def _longer(spec: StreamSpec, left: float, frame_period: float) -> list[int]:
    """Windows that may still fit, evenly spread where there are many."""
    count = floor(left / frame_period / spec.stride + 1e-9)
    steps = (
        range(1, count + 1)
        if count < MAX_OPTIONS
        else (-(-count * i // (MAX_OPTIONS - 1)) for i in range(1, MAX_OPTIONS))
    )
    return [spec.window + step * spec.stride for step in steps]


def _too_late(spec: StreamSpec, least: WindowOption, latency: float, frame_period: float) -> str:
    parts = [f"{spec.window} frame(s) of {frame_period * 1000:g} ms"]
    parts += [f"{len(spec.stages) - 1} more step(s) for its stages"] if len(spec.stages) > 1 else []
    parts += [f"a delay of {_delay(spec):g} frame(s)"] if spec.delay else []
    return (
        f"Streaming(window='auto', latency={latency:g}): the smallest window takes {least.latency * 1000:.3g} ms "
        f"({', '.join(parts)}, and computing); allow at least that, or use a smaller stride, fewer stages or less look-ahead."
    )
