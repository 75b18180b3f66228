"""Inputs and stride of a module, found from outside by running it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion.calling import call
from lightning_esp.conversion.spec import Values
from lightning_esp.conversion.structure import describe_tensors, option, tensors_in
from lightning_esp.errors import ConversionError


@dataclass(frozen=True)
class Geometry:
    """Relation of output frames to input frames: `ceil((frames - trim) / stride) * up`.

    `axis` is the axis of time in the first output; None where `forward` takes recordings of one length only.
    """

    stride: int
    up: int
    trim: int
    axis: int | None = None


def as_tuple(result: object) -> tuple[Tensor, ...]:
    """Return what a forward returned as a tuple of tensors.

    Raises:
        ConversionError: it returned something else.
    """
    results = (result,) if isinstance(result, Tensor) else result
    if isinstance(results, tuple | list) and results and all(isinstance(value, Tensor) for value in results):
        return tuple(results)
    parts = enumerate(results) if isinstance(results, tuple | list) else ()
    wrong = [f"output {i} is {_told(value)}" for i, value in parts if not isinstance(value, Tensor)]
    raise ConversionError(
        f"forward returned {_told(results)}{', in which ' if wrong else ''}{' and '.join(wrong)}{_choices(results)}"
    )


def _choices(result: object) -> str:
    """The tensors that there are, and the line that keeps one."""
    paths = [path for path, _ in tensors_in(result)]
    if not paths:
        return "; return a tensor or a tuple of tensors."
    return (
        f". Its tensors are {describe_tensors(result)}. Say which the chip is to give, {option(paths[:1])}, or a list of names; "
        "leave out the state after the last frame, which the stream keeps itself. Or return a tensor or a flat tuple of tensors."
    )


def _told(value: object) -> str:
    """The kind of a value, and what it holds, for messages."""
    name = type(value).__name__
    if isinstance(value, Mapping):
        return f"a {name} with the keys {list(value)}"
    if isinstance(value, tuple | list):
        tensors = sum(isinstance(item, Tensor) for item in value)
        count = f"{tensors} tensor{'' if tensors == 1 else 's'}" if tensors == len(value) else f"{len(value)} values"
        return f"a {name} of {count}"
    return "None" if value is None else f"a {name}"


def run(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Run the offline forward by argument name, on copies, since it may write into what it gets."""
    return as_tuple(call(module, {name: value.clone() for name, value in inputs.items()}))


def try_run(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...] | None:
    """Run the offline forward; None where it does not run on inputs of these shapes."""
    try:
        return run(module, inputs)
    except ConversionError:
        raise
    except Exception:
        # Whatever the user's forward raises means no more than "not with these shapes".
        return None


def sliced(inputs: Values, axis: int, frames: int, held: Collection[str]) -> Values:
    """The first frames along an axis, of all inputs but those that are held."""
    return {name: v if name in held else v.narrow(axis, 0, frames) for name, v in inputs.items()}


def find_output_axis(shorter: Tensor, longer: Tensor, name: str) -> int:
    """The axis along which an output grows with the recording."""
    axes = [i for i, (a, b) in enumerate(zip(shorter.shape, longer.shape, strict=True)) if a != b]
    if len(axes) != 1:
        raise ConversionError(
            f"output {name!r} has shape {list(shorter.shape)} for a short and {list(longer.shape)} for a long recording: "
            "one axis must follow time. A streaming model gives an output per frame; pool over time after it."
        )
    return axes[0]


def probe(module: nn.Module, inputs: Values, streaming: Streaming) -> Geometry:
    """Find stride, upsampling and trim from the number of output frames for slightly shorter recordings.

    Args:
        module: the offline module.
        inputs: example by argument name, batch in front.
        streaming: options with `time_axis` and `inputs` filled in.
    """
    axis, kinds = streaming.time_axis, streaming.inputs
    assert axis is not None
    assert kinds is not None
    held = {name for name, kind in kinds.items() if kind == "held"}
    frames = next(v for n, v in inputs.items() if n not in held).shape[axis]
    full = run(module, inputs)[0]
    counts: list[int] = [0]
    changes: list[int] = []
    output_axis: int | None = None
    for missing in range(1, frames):
        shorter = try_run(module, sliced(inputs, axis, frames - missing, held))
        if shorter is None:
            break
        if output_axis is None and shorter[0].shape != full.shape:
            output_axis = find_output_axis(shorter[0], full, "output")
        counts.append(0 if output_axis is None else full.shape[output_axis] - shorter[0].shape[output_axis])
        if counts[-1] != counts[-2]:
            changes.append(missing)
        if len(changes) == 2:
            break
    return _fit(frames, full, output_axis, counts, changes, axis)


def _fit(
    frames: int, full: Tensor, output_axis: int | None, counts: list[int], changes: list[int], axis: int
) -> Geometry:
    if len(changes) < 2 or output_axis is None:
        # Forward takes no other length: only the ratio at the example's own length is known.
        total = full.shape[axis] if full.ndim > axis else 1
        stride = frames // total if 0 < total <= frames and frames % total == 0 else 1
        return Geometry(stride, max(1, total * stride // frames), 0, output_axis)
    stride, up = changes[1] - changes[0], counts[changes[1]] - counts[changes[0]]
    longest = frames - changes[0]
    strides = (full.shape[output_axis] - counts[changes[0]]) // up
    return Geometry(stride, up, longest - strides * stride, output_axis)
