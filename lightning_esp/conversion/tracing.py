"""Records what `forward` does to its inputs by running it, for several lengths, batch sizes and contents.

Shapes are plain integers while `forward` runs, so asserts and ifs on them work; a number that differs between the runs
becomes a `Varying`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion.calling import call
from lightning_esp.conversion.contents import check_contents, other_contents
from lightning_esp.conversion.recorder import Recorder
from lightning_esp.conversion.slicing import resize_frames
from lightning_esp.conversion.statelessness import check_stateless
from lightning_esp.conversion.trace import Call, Constant, ForwardTrace, Ref, check_same_calls, merge_calls, needed
from lightning_esp.errors import ConversionError, UnsupportedOperatorError

_Run = tuple[Recorder, tuple[Any, ...]]


def _run(module: nn.Module, inputs: Mapping[str, Tensor], recorder: Recorder) -> _Run:
    copies = {name: value.clone() for name, value in inputs.items()}
    for value in copies.values():
        recorder.add(value)
    with recorder.watching():
        result = call(module, copies)
    results = tuple(result) if isinstance(result, tuple | list) else (result,)
    return recorder, tuple(recorder.freeze(value) for value in results)


def _resize(inputs: Mapping[str, Tensor], axes: Mapping[str, int | None], frames: int, batch: int) -> dict[str, Tensor]:
    sized = {}
    for name, value in inputs.items():
        axis = axes[name]
        if axis is not None:
            value = resize_frames(value, axis, frames)
        sized[name] = resize_frames(value, 0, batch)
    return sized


def trace(
    module: nn.Module, inputs: Mapping[str, Tensor], axes: Mapping[str, int | None], clip: bool = False
) -> ForwardTrace:
    """Record `module.forward`.

    Args:
        module: the offline module, in evaluation mode; a submodule with a contract becomes one call.
        inputs: example by argument name, batch in front.
        axes: time axis of each input; None for one that is held.
        clip: the example is a whole clip, so what comes after a call that takes no other length, or differs for one, is
            recorded for this length alone.

    Returns:
        The calls that lead to the outputs.

    Raises:
        UnsupportedOperatorError: what `forward` does depends on the data, or on the length of the recording, or
            `forward` runs on no other length.
        ConversionError: `forward` runs on no other batch.
    """
    frames = next(v.shape[a] for n, v in inputs.items() if (a := axes[n]) is not None)
    check_stateless(module, inputs, other_contents(inputs, axes))
    base = _run_batch(module, _resize(inputs, axes, frames, 2), 2)
    check_contents(base, _try(module, other_contents(_resize(inputs, axes, frames, 2), axes)))
    lengths, others = (_reach_longer if clip else _run_longer)(module, inputs, axes, frames)
    batch = _run_batch(module, _resize(inputs, axes, frames, 3), 3)
    merged = _merge([base, *others, batch], (frames, *lengths), clip)
    dtype = next((t.dtype for t in (*module.parameters(), *inputs.values()) if t.is_floating_point()), torch.float32)
    return replace(merged, inputs=dict(axes), dtype=dtype)


def _run_batch(module: nn.Module, inputs: Mapping[str, Tensor], size: int) -> _Run:
    found = _try(module, inputs)
    if isinstance(found, Exception):
        raise ConversionError(
            f"forward of {type(module).__name__} runs on a batch of {size - 1} but not of {size}: {type(found).__name__}: "
            f"{found}. Take the batch size from the input's shape."
        ) from found
    return found


def _try(module: nn.Module, inputs: Mapping[str, Tensor], recorder: Recorder | None = None) -> _Run | Exception:
    try:
        return _run(module, inputs, recorder or Recorder(module))
    except ConversionError:
        raise
    except Exception as error:  # the user's forward may raise anything on a length that it does not take
        return error


def _run_longer(
    module: nn.Module, inputs: Mapping[str, Tensor], axes: Mapping[str, int | None], frames: int
) -> tuple[tuple[int, int], list[_Run]]:
    for lengths in _longer(frames):
        recorders = [Recorder(module) for _ in lengths]
        runs = [_try(module, _resize(inputs, axes, n, 2), r) for n, r in zip(lengths, recorders, strict=True)]
        found = [r for r in runs if not isinstance(r, Exception)]
        if len(found) == 2:
            return lengths, found
    error, recorder = next((e, r) for e, r in zip(runs, recorders, strict=True) if isinstance(e, Exception))
    raise UnsupportedOperatorError(
        f"{recorder.where()}: {recorder.running or 'forward'} takes {frames} frames, but neither {_uneven(frames)[0]} nor "
        f"{frames * 2}: {type(error).__name__}: {error}. So does a layer over all of time (nn.Linear over the frames, an einsum, a table of "
        "positions), or a number of frames that is written down. To stream it, use nn.GRU or causal convolutions over time, "
        "and take sizes from the input's shape."
    ) from error


def _reach_longer(
    module: nn.Module, inputs: Mapping[str, Tensor], axes: Mapping[str, int | None], frames: int
) -> tuple[tuple[int, int], list[_Run]]:
    """The runs of two other lengths that get furthest; what they did until they failed, where they do."""
    reached: list[tuple[tuple[int, int], list[_Run]]] = []
    for lengths in _longer(frames):
        recorders = [Recorder(module) for _ in lengths]
        for n, recorder in zip(lengths, recorders, strict=True):
            _try(module, _resize(inputs, axes, n, 2), recorder)
        reached.append((lengths, [(recorder, ()) for recorder in recorders]))
    return max(reached, key=lambda found: min(len(recorder.calls) for recorder, _ in found[1]))


def _longer(frames: int) -> tuple[tuple[int, int], ...]:
    # Multiples serve models that take nothing else.
    return (_uneven(frames), (frames * 2 + 7, frames * 3 + 12), (frames * 2, frames * 3))


def _uneven(frames: int) -> tuple[int, int]:
    # Strides of 2, 3, 4 and 6 leave other rests than of `frames`, which tells ceil from floor, and two tensors apart that
    # agree in length for some rests only.
    longer, longest = frames * 2 + 7, frames * 3 + 12
    return longer + (frames + 1 - longer) % 12, longest + (frames + 2 - longest) % 12


def _merge(runs: Sequence[_Run], frames: tuple[int, ...], clip: bool) -> ForwardTrace:
    first, batch = runs[0][0], runs[-1][0]
    check_same_calls(first.calls, batch.calls)
    shared = _shared([recorder.calls for recorder, _ in runs]) if clip else len(first.calls)
    for recorder, _ in runs[1:-1]:
        check_same_calls(first.calls[:shared], recorder.calls if not clip else recorder.calls[:shared])
    # Of a value that the other lengths do not have, the base run stands for them.
    known = first.calls[shared].results[0] if shared < len(first.calls) else len(first.shapes)
    recorders = [recorder for recorder, _ in runs]
    fixed = [first] * (len(runs) - 1) + [batch]
    calls = [merge_calls([r.calls[i] for r in (recorders if i < shared else fixed)]) for i in range(len(first.calls))]
    shapes = tuple(tuple(r.shapes[i] for r in (recorders if i < known else fixed)) for i in range(len(first.shapes)))
    outputs = [_number(value, type(first.stack[0]).__name__) for value in runs[0][1]]
    return ForwardTrace(needed(calls, outputs), shapes, tuple(outputs), frames, {}, torch.float32, known)


def _shared(runs: Sequence[Sequence[Call]]) -> int:
    """Count the calls, from the first on, that are the same in every run."""
    for i, calls in enumerate(zip(*runs, strict=False)):
        if len({(call.name, call.path, call.results) for call in calls}) > 1 or not _agree(calls):
            return i
    return min(len(calls) for calls in runs)


def _agree(calls: Sequence[Call]) -> bool:
    try:
        merge_calls(calls)
    except UnsupportedOperatorError:
        return False
    return True


def _number(value: Any, kind: str) -> int:
    if isinstance(value, Ref):
        return value.index
    raise ConversionError(
        f"forward of {kind} returns "
        f"{'a tensor' if isinstance(value, Constant) else type(value).__name__}, which does not depend on the input, or is "
        "computed from it out of sight, as torch.vmap, torch.func and numpy do; return tensors computed from the input by "
        "torch functions, alone or as a tuple."
    )
