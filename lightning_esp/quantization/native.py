"""Explicit caches become ESP-DL's StreamingCache operators, on the graph that is about to be written.

The graph was quantized, and is simulated, in the explicit form: `Concat(cache, x)`, read by a convolution, and a `Slice`
of it as the new cache. StreamingCache is the same three copies without a graph input, so the pair is replaced where it
stands, behind the layouts and exponents that esp-ppq has given it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from esp_ppq.core import DataType
from esp_ppq.IR import BaseGraph, Operation, Variable
from esp_ppq.parser.espdl.espdl_typedef import ExporterPatternInfo

from lightning_esp.errors import QuantizationError
from lightning_esp.quantization.job import NativeCache


def lower(
    graph: BaseGraph, caches: Sequence[tuple[str, str]], form: str, initial: Mapping[str, float]
) -> tuple[NativeCache, ...]:
    """Replace the caches that can be, in place.

    Args:
        graph: the prepared graph; every layout and exponent is settled.
        caches: name of each cache and of its new value.
        form: `"auto"` keeps what cannot be lowered explicit; `"native"` refuses it; `"explicit"` keeps all.
        initial: start value of each cache.

    Returns:
        What was lowered.

    Raises:
        QuantizationError: `form` is `"native"` and a cache cannot be lowered.
    """
    lowered = []
    for cache, new in caches if form != "explicit" else ():
        reason = _obstacle(graph, cache, new) if not initial[cache] else f"it starts at {initial[cache]:g}, not at zero"
        if reason is None:
            lowered.append(_lower_one(graph, cache, new))
        elif form == "native":
            raise QuantizationError(
                f"Streaming(caches='native'): cache {cache!r} cannot become a StreamingCache operator, since {reason}. Use "
                "caches='auto', which keeps such a cache explicit."
            )
    return tuple(lowered)


def _obstacle(graph: BaseGraph, cache: str, new: str) -> str | None:
    """Tell why a cache cannot be lowered, or None."""
    readers = graph.variables[cache].dest_ops
    if len(readers) != 1 or readers[0].type != "Concat" or len(readers[0].inputs) != 2:
        return "it is not read by exactly one Concat of two tensors"
    concat = readers[0]
    if concat.inputs[0] is not graph.variables[cache]:
        return "it does not stand before the new frames"
    taken = graph.variables[new].source_op
    if taken is None or taken.type != "Slice" or taken.inputs[0] is not concat.outputs[0]:
        return "its new value is not a Slice of the Concat that reads it"
    if graph.variables[new].dest_ops:
        return "its new value is read by another operator"
    return _unlike_streaming_cache(graph, cache, concat, taken)


def _unlike_streaming_cache(graph: BaseGraph, cache: str, concat: Operation, taken: Operation) -> str | None:
    axis = int(concat.attributes["axis"])
    whole, kept = _file_shape(concat.outputs[0]), _file_shape(graph.variables[cache])
    if any(size != 1 for size in whole[:axis]):
        return f"an axis before its frames is longer than 1 (shape {list(whole)}), and ESP-DL copies flat memory"
    starts, ends, axes = (variable.value.tolist() for variable in taken.inputs[1:4])
    steps = taken.inputs[4].value.tolist() if len(taken.inputs) > 4 else [1]
    size = whole[axis]
    start = starts[0] + size if starts[0] < 0 else starts[0]
    end = ends[0] + size if ends[0] < 0 else min(ends[0], size)
    if len(axes) != 1 or axes[0] != axis or steps[0] != 1 or (start, end) != (size - kept[axis], size):
        return "its new value is not the last frames of the Concat that reads it"
    return None


def _file_shape(variable: Variable) -> tuple[int, ...]:
    layout = ExporterPatternInfo().get_var_permute(variable.name)
    return tuple(variable.shape[axis] for axis in layout)


def _lower_one(graph: BaseGraph, cache: str, new: str) -> NativeCache:
    info = ExporterPatternInfo()
    variable, concat = graph.variables[cache], graph.variables[cache].dest_ops[0]
    axis, shape = int(concat.attributes["axis"]), _file_shape(variable)
    found = NativeCache(
        name=cache,
        shape=shape,
        dtype={DataType.INT8: "int8", DataType.INT16: "int16"}[variable.dtype],
        exponent=int(info.get_var_exponents(cache)[0]),
        layout=tuple(info.get_var_permute(cache)),
    )
    _drop_slice(graph, new)
    graph.inputs.pop(cache)
    concat.inputs.remove(variable)
    graph.variables.pop(cache)
    concat._type = "StreamingCache"
    concat.attributes.pop("axis")
    concat.attributes.update(window_size=shape[axis] + 1, frame_axis=axis)
    config = getattr(concat, "config", None)
    if config is not None:
        config.input_quantization_config[:] = config.input_quantization_config[1:]
    return found


def _drop_slice(graph: BaseGraph, new: str) -> None:
    variable = graph.variables.pop(new)
    taken = variable.source_op
    graph.outputs.pop(new)
    for read in taken.inputs:
        read.dest_ops.remove(taken)
        if read.is_parameter and not read.dest_ops:
            graph.variables.pop(read.name)
    graph.operations.pop(taken.name)
