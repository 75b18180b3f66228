"""`describe`: a table of a streaming model, for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from lightning_esp.conversion.recorder import CONTRACT
from lightning_esp.conversion.spec import Cache, Clip, Layer, StreamSpec, WindowChoice

_HEADER = ("layer", "operator", "cache", "rate", "delay", "bytes")


def describe(spec: StreamSpec, layers: Sequence[Layer]) -> str:
    """Return a table with the cache, rate, delay and cache bytes of each layer, and the totals.

    Args:
        spec: the outside of a streaming model. Its bytes are those of int8 caches.
        layers: its operators, where it was converted automatically.

    Returns:
        Lines of text: one per layer that remembers something or changes the rate, then the sums.
    """
    caches = {cache.name: cache for cache in spec.caches}
    told = {name for layer in layers for name in layer.caches}
    rows = [_HEADER, *(_row(layer, caches) for layer in layers)]
    rows += [
        (name, "", _shape(cache), "", "", str(_bytes([cache]))) for name, cache in caches.items() if name not in told
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_totals(spec, layers)])


def _row(layer: Layer, caches: dict[str, Cache]) -> tuple[str, ...]:
    own = [caches[name] for name in layer.caches if name in caches]
    shapes = " ".join(_shape(cache) for cache in own) or "-"
    rate = "1" if layer.stride == 1 else f"1/{layer.stride}" if layer.stride > 1 else str(1 / layer.stride)
    return (layer.path or "(model)", layer.operator, shapes, rate, str(layer.delay), str(_bytes(own)))


def _shape(cache: Cache) -> str:
    return "x".join(str(n) for n in cache.shape)


def _bytes(caches: Sequence[Cache]) -> int:
    return sum(prod(cache.shape) for cache in caches)


def _totals(spec: StreamSpec, layers: Sequence[Layer]) -> list[str]:
    period = spec.frame_period

    def told(frames: int) -> str:
        time = "" if period is None else f" ({frames * period * 1000:g} ms)"
        return f"{frames} frame{'' if frames == 1 else 's'}{time}"

    reach = _unknown(layers) if spec.receptive_field is None else told(spec.receptive_field)
    later = len(spec.stages) - 1
    stages = [f"stages           {later + 1}, the last of which ends {told(later)} after its window"] if later else []
    choice = [] if spec.choice is None else _chosen(spec.choice)
    clip = [] if spec.clip is None else _decided(spec.clip, told)
    return [
        *clip,
        f"window           {told(spec.window)}, a multiple of the stride of {spec.stride}",
        *choice,
        f"receptive field  {reach}",
        f"delay            {spec.delay} output frame{'' if spec.delay == 1 else 's'}"
        + ("" if period is None else f" ({spec.delay * _step(spec) * period * 1000:g} ms)"),
        *stages,
        f"caches           {len(spec.caches)}, {_bytes(spec.caches)} bytes in int8",
    ]


def _decided(clip: Clip, told: Callable[[int], str]) -> list[str]:
    """Describe the clips on which the model decides."""
    ahead = f" with look-ahead of {told(clip.lookahead)}" if clip.lookahead else ""
    form = {
        "incremental": f"incremental{ahead}: layers run frame by frame, and the last frames are held for {', '.join(clip.held)}",
        "sliding": "sliding: the whole network runs on the last frames of the input",
    }[clip.form]
    return [f"decides on       the last {told(clip.frames)}, every {told(clip.hop)}", f"                 {form}"]


def _chosen(choice: WindowChoice) -> list[str]:
    """The windows that were compared."""
    lines = [f"                 chosen for a latency of {choice.latency * 1000:g} ms by the costs of an {choice.chip}:"]
    for option in choice.options:
        cost = "" if option.frame_us is None else f", about {option.frame_us:.0f} us a frame"
        lines.append(f"                 {option.window}: {option.latency * 1000:.1f} ms{cost}")
    return lines


def _unknown(layers: Sequence[Layer]) -> str:
    if layers and not any(layer.operator == CONTRACT for layer in layers):
        return "unlimited, since a recurrent layer never forgets"
    return "unknown, since a hand-written streaming_forward may remember anything"


def _step(spec: StreamSpec) -> float:
    return spec.window / max(1, spec.outputs[0].frames)
