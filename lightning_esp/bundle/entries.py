"""Stages and stream of a model as entries of the manifest, each beside the function that makes them of it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from lightning_esp.bundle.ownership import sha256
from lightning_esp.bundle.schema import (
    EdgesEntry,
    ExplicitCacheEntry,
    InputEntry,
    NativeCacheEntry,
    PaceEntry,
    StageEntry,
    StreamEntry,
)
from lightning_esp.bundle.tensors import check_axes, tensor_bytes
from lightning_esp.conversion import Cache, Port, Stage, StreamSpec, Structure, flat_structure
from lightning_esp.errors import BundleError
from lightning_esp.quantization import CacheInfo, StageFile, TensorInfo


def describe_stage(stage: StageFile, path: str, order: Sequence[str]) -> StageEntry:
    """Return the entry of a stage.

    Args:
        stage: the file.
        path: where it lies in the bundle.
        order: names of all caches, in the order in which the entry has them.
    """
    caches: list[ExplicitCacheEntry | NativeCacheEntry] = [
        ExplicitCacheEntry(
            **vars(cache.tensor), bytes=tensor_bytes(cache.tensor), next=cache.next, initial=cache.initial
        )
        for cache in stage.caches
    ]
    caches += [NativeCacheEntry(**vars(tensor), bytes=tensor_bytes(tensor)) for tensor in stage.native_caches]
    return StageEntry(
        stage.name,
        path,
        sha256(stage.data),
        stage.operators,
        stage.inputs,
        stage.outputs,
        tuple(sorted(caches, key=lambda entry: order.index(entry.name))),
    )


def make_stage(entry: StageEntry, data: bytes) -> StageFile:
    """Return the stage of an entry and the bytes of its file.

    Raises:
        BundleError: shape, layout and time axis of a tensor do not speak of the same axes.
    """
    for tensor in (*entry.inputs, *entry.outputs, *entry.caches):
        check_axes(tensor)
    explicit = [cache for cache in entry.caches if isinstance(cache, ExplicitCacheEntry)]
    native = [cache for cache in entry.caches if isinstance(cache, NativeCacheEntry)]
    return StageFile(
        entry.name,
        data,
        entry.inputs,
        entry.outputs,
        tuple(CacheInfo(_tensor(cache), cache.next, cache.initial) for cache in explicit),
        tuple(map(_tensor, native)),
        entry.operators,
    )


def describe_stream(spec: StreamSpec) -> StreamEntry:
    """Return the entry of a stream; the ports of its stages stand in the entries of these."""
    paces = {port.name: PaceEntry(port.stride, port.trim, port.delay) for port in spec.outputs}
    edges = {port.name: EdgesEntry(port.unlike_first, port.unlike_last) for port in spec.outputs}
    return StreamEntry(
        window=spec.window,
        stride=spec.stride,
        stages=len(spec.stages),
        delay=spec.delay,
        trim=spec.trim,
        receptive_field=spec.receptive_field,
        frame_period=spec.frame_period,
        caches=spec.cache_form,
        inputs=tuple(InputEntry(port.name, "held" if port.time_axis is None else "stream") for port in spec.inputs),
        outputs=tuple(port.name for port in spec.outputs),
        paces={name: pace for name, pace in paces.items() if pace != PaceEntry()},
        edges={name: edge for name, edge in edges.items() if edge != EdgesEntry()},
        names=spec.output_names,
        choice=spec.choice,
        clip=spec.clip,
    )


def make_stream(entry: StreamEntry, files: Sequence[StageFile], order: Sequence[str]) -> StreamSpec:
    """Return the stream of an entry and its stages.

    Args:
        entry: the entry.
        files: the stages.
        order: names of all caches, in the order in which the stages have them.

    Raises:
        BundleError: names of outputs that are not one for each.
    """
    stages = tuple(
        Stage(
            file.name,
            tuple(_port(tensor) for tensor in file.inputs),
            tuple(_output(tensor, entry) for tensor in file.outputs),
            tuple(sorted(_float_caches(file), key=lambda cache: order.index(cache.name))),
        )
        for file in files
    )
    inputs = {port.name: port for stage in stages for port in stage.inputs}
    outputs = {port.name: port for stage in stages for port in stage.outputs}
    return StreamSpec(
        window=entry.window,
        stride=entry.stride,
        inputs=tuple(inputs[each.name] for each in entry.inputs),
        outputs=tuple(outputs[name] for name in entry.outputs),
        stages=stages,
        delay=entry.delay,
        trim=entry.trim,
        receptive_field=entry.receptive_field,
        frame_period=entry.frame_period,
        cache_form=entry.caches,
        choice=entry.choice,
        structure=_structure(entry.names, entry.outputs) if entry.names else None,
        clip=entry.clip,
    )


def _tensor(entry: TensorInfo) -> TensorInfo:
    """Return the tensor in the entry of a cache."""
    return TensorInfo(*(getattr(entry, each.name) for each in fields(TensorInfo)))


def _structure(names: dict[str, str], outputs: Sequence[str]) -> Structure:
    if set(names) != set(outputs) or len(set(names.values())) < len(outputs):
        raise BundleError(
            f"streaming.names is {str(names)[:80]}, and streaming.outputs is {str(list(outputs))[:80]}; the first must hold a "
            "name of its own for each of the second. Export again."
        )
    return flat_structure([names[port] for port in outputs])


def _port(tensor: TensorInfo) -> Port:
    time_axis = None if tensor.time_axis is None else tensor.layout[tensor.time_axis]
    return Port(tensor.name, _torch_shape(tensor), time_axis)


def _output(tensor: TensorInfo, entry: StreamEntry) -> Port:
    """Return an output of a stage; one of the model with what is its own."""
    pace, edges = entry.paces.get(tensor.name, PaceEntry()), entry.edges.get(tensor.name, EdgesEntry())
    return replace(_port(tensor), **vars(pace), **vars(edges))


def _float_caches(file: StageFile) -> Iterator[Cache]:
    for cache in file.caches:
        yield Cache(cache.tensor.name, _torch_shape(cache.tensor), float(cache.initial) * 2.0**cache.tensor.exponent)
    for tensor in file.native_caches:
        yield Cache(tensor.name, _torch_shape(tensor))


def _torch_shape(tensor: TensorInfo) -> tuple[int, ...]:
    sizes = dict(zip(tensor.layout, tensor.shape, strict=True))
    return tuple(sizes[axis] for axis in range(len(tensor.shape)))
