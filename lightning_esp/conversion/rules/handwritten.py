"""Submodules with a hand-written `streaming_forward`: one step, taken as it is."""

from __future__ import annotations

from typing import Any

import torch

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.handwritten import ContractStage, declared_caches
from lightning_esp.conversion.recorder import CONTRACT
from lightning_esp.conversion.rules.common import Rule
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.errors import ContractError


def honour(build: Builder, *inputs: Any, **named: Any) -> Any:
    """Call the module's own streaming form; it must be causal and start from zero caches."""
    module, path = build.call.function, build.call.path
    given = (*inputs, *named.values())
    streams = build.align([x for x in given if isinstance(x, StreamTensor)])
    first = next(s for s in streams if s.moving)
    if first.delay:
        build.refuse(
            "follows left padding that no layer uses up, or layers that drop or await frames",
            "pad every layer before it on the left by (kernel - 1) * dilation",
        )
    declared = declared_caches(module, path)
    caches = [build.add_cache(cache.name.rpartition(".")[2], cache.shape, cache.initial) for cache in declared]
    aligned = iter(streams)
    arguments = [next(aligned) if isinstance(x, StreamTensor) else x for x in given]
    step = build.emit(ContractStage(module), *arguments, *caches)
    count = len(build.call.results)
    results = tuple(_result(build, build.item(step, i), first, streams, i) for i in range(count))
    build.next_values += [build.item(step, count + i) for i in range(len(caches))]
    return results if count > 1 else results[0]


def _result(build: Builder, node: Any, first: StreamTensor, streams: list[StreamTensor], index: int) -> StreamTensor:
    _, axis = build.axes(index)
    if axis is None:
        build.refuse("gives no tensor with a time axis", "return one output per frame")
    found = [shape[axis] for shape in build.runs(index)]
    frames, stride, up = _frames(build, first, found)
    step = first.stride * stride / up
    exact = frames
    if first.exact is not first.frames:
        exact = torch.minimum(frames, torch.div(first.exact, stride, rounding_mode="floor") * up)
    # What a hand-written module remembers is unknown, and so is its receptive field.
    return build.result(node, streams, index, stride=step, frames=frames, exact=exact, pad_value=None, reads=None)


def _frames(build: Builder, x: StreamTensor, found: list[int]) -> tuple[torch.Tensor, int, int]:
    given = [int(x.frames[n]) for n in build.trace.frames]
    for stride in range(1, 65):
        for up in (1, 2, 3, 4, 5, 6, 8):
            if [-(-n // stride) * up for n in given] == found:
                return torch.div(x.frames + stride - 1, stride, rounding_mode="floor") * up, stride, up
    raise ContractError(
        f"{build.call.where}: forward gives {found} frames for {given}, which is no whole stride of causal layers; pad on "
        "the left so that no frame is dropped."
    )


RULES: dict[str, Rule] = {CONTRACT: honour}
