"""Records what `forward` does to its inputs by running it, for several lengths and batch sizes.

Every torch function that touches a value made from the inputs becomes a `Call`. Functions are seen as the user called
them (`conv1d`, `pad`, `gru`), whether through a module, `F`, an operator or a subclass. Shapes are plain integers while
`forward` runs, so asserts and ifs on them work; a number that differs between the runs becomes a `Varying`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from lightning_esp.errors import ConversionError, UnsupportedOperatorError
from lightning_esp.streaming.contract import has_contract
from lightning_esp.streaming.trace import (
    Call,
    Constant,
    Ref,
    Shape,
    Trace,
    check_same_calls,
    flatten,
    merge_calls,
    needed,
)

CONTRACT = "streaming_forward"
_READS = frozenset({"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "numpy", "equal", "allclose"})
_FRESH = frozenset({"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full"})


class _Recorder(TorchFunctionMode):
    """Records one run of `forward`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.shapes: list[Shape] = []
        self.stack: list[nn.Module] = [module]
        self._silent = 0
        self._module = module
        self._paths = {id(m): path for path, m in reversed(list(module.named_modules()))}
        named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        self._names = {id(tensor): name for name, tensor in reversed(named)}
        self._constants: dict[int, tuple[Tensor, Constant]] = {}
        # Tensors are kept, since an id is only unique among the living.
        self._known: dict[int, tuple[Tensor, int, int]] = {}

    def add(self, tensor: Tensor) -> int:
        """Follow a tensor from here on."""
        self._known[id(tensor)] = (tensor, len(self.shapes), tensor._version)
        self.shapes.append(tuple(int(n) for n in tensor.shape))
        return len(self.shapes) - 1

    def index(self, tensor: Tensor) -> int | None:
        """Number of a followed tensor."""
        found = self._known.get(id(tensor))
        if found is None:
            return None
        if found[2] != tensor._version:
            raise self._refusal(
                "a tensor is written in place while another tensor shares its memory", "work on a new tensor instead"
            )
        return found[1]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = _name_of(func)
        if self._silent or name in _FRESH or not self._any_known(args, kwargs):
            return func(*args, **kwargs)
        frozen = self.freeze(args), {key: self.freeze(value) for key, value in kwargs.items()}
        result = func(*args, **kwargs)
        tensors = [t for t in flatten(result) if isinstance(t, Tensor)]
        if tensors:
            self._record(name, func, *frozen, tensors)
        elif name == "__setitem__":
            raise self._refusal("__setitem__ writes into a tensor", "build a new one with torch.cat over the channels")
        elif name in _READS:
            raise self._refusal(
                f"{name} reads the values of a tensor, so the next steps may depend on the data",
                "compute with tensors instead, or take the check out of forward",
            )
        return result

    def _record(self, name: str, func: Any, args: Any, kwargs: Any, tensors: Sequence[Tensor]) -> None:
        owner = self.stack[-1]
        path = self._paths.get(id(owner), "")
        results = tuple(self.add(tensor) for tensor in tensors)
        self.calls.append(Call(name, func, args, kwargs, path, type(owner).__name__, results))

    def _any_known(self, args: Any, kwargs: Mapping[str, Any]) -> bool:
        return any(isinstance(a, Tensor) and id(a) in self._known for a in flatten((args, tuple(kwargs.values()))))

    def _refusal(self, rule: str, advice: str) -> UnsupportedOperatorError:
        return UnsupportedOperatorError(f"{self.where()}: {rule}. To stream it, {advice}.")

    def where(self) -> str:
        """The module that runs now."""
        path, kind = self._paths.get(id(self.stack[-1]), ""), type(self.stack[-1]).__name__
        return f"module {path!r} ({kind})" if path else f"the model ({kind})"

    def freeze(self, value: Any) -> Any:
        """Replace the tensors in an argument."""
        if isinstance(value, Tensor):
            index = self.index(value)
            return self._constant(value) if index is None else Ref(index)
        if isinstance(value, slice):
            return slice(self.freeze(value.start), self.freeze(value.stop), self.freeze(value.step))
        if isinstance(value, tuple | list):
            return tuple(self.freeze(item) for item in value)
        return value

    def _constant(self, value: Tensor) -> Constant:
        # One object per tensor, so that a layer called twice is recognised.
        name = self._names.get(id(value), "")
        return self._constants.setdefault(id(value), (value, Constant(value.detach(), name)))[1]

    def enter(self, module: nn.Module, _: Any) -> None:
        """Note that a module starts."""
        self.stack.append(module)
        if self._is_leaf(module):
            self._silent += 1

    def leave(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        """Note that a module ends; one with a contract is a call of its own."""
        if self._is_leaf(module):
            self._silent -= 1
            if not self._silent:
                frozen = self.freeze(args), {key: self.freeze(value) for key, value in kwargs.items()}
                self._record(CONTRACT, module, *frozen, [t for t in flatten(result) if isinstance(t, Tensor)])
        self.stack.pop()

    def _is_leaf(self, module: nn.Module) -> bool:
        return module is not self._module and has_contract(module)


def _name_of(func: Any) -> str:
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(func.__self__.__name__)
    return name if name.startswith("__") else name.rstrip("_")


@contextmanager
def _watching(recorder: _Recorder) -> Iterator[None]:
    hooks = [
        register_module_forward_pre_hook(recorder.enter),
        register_module_forward_hook(recorder.leave, with_kwargs=True),
    ]
    try:
        with torch.no_grad(), recorder:
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _run(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[_Recorder, tuple[Any, ...]]:
    recorder = _Recorder(module)
    copies = {name: value.clone() for name, value in inputs.items()}
    for value in copies.values():
        recorder.add(value)
    with _watching(recorder):
        result = module(**copies)
    results = tuple(result) if isinstance(result, tuple | list) else (result,)
    return recorder, tuple(recorder.freeze(value) for value in results)


def _resize(inputs: Mapping[str, Tensor], axes: Mapping[str, int | None], frames: int, batch: int) -> dict[str, Tensor]:
    sized = {}
    for name, value in inputs.items():
        axis = axes[name]
        if axis is not None:
            value = value.index_select(axis, torch.arange(frames) % value.shape[axis])
        sized[name] = value.index_select(0, torch.arange(batch) % value.shape[0])
    return sized


def trace(module: nn.Module, inputs: Mapping[str, Tensor], axes: Mapping[str, int | None]) -> Trace:
    """Record `module.forward`.

    Args:
        module: the offline module, in evaluation mode; a submodule with a contract becomes one call.
        inputs: example by argument name, batch in front.
        axes: time axis of each input; None for one that is held.

    Returns:
        The calls that lead to the outputs.

    Raises:
        UnsupportedOperatorError: what `forward` does depends on the data, or on the length of the recording.
        ConversionError: `forward` runs on no other length or batch.
    """
    frames = next(v.shape[a] for n, v in inputs.items() if (a := axes[n]) is not None)
    base = _run(module, _resize(inputs, axes, frames, 2))
    lengths, others = _run_longer(module, inputs, axes, frames)
    batch = _try(module, _resize(inputs, axes, frames, 3))
    if isinstance(batch, Exception):
        raise ConversionError(
            f"forward of {type(module).__name__} runs on a batch of 2 but not of 3: {batch}. Take the batch size from "
            "the input's shape."
        )
    merged = _merge([base, *others, batch], (frames, *lengths))
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), next(iter(inputs.values())).dtype)
    return replace(merged, inputs=dict(axes), dtype=dtype)


def _try(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[_Recorder, tuple[Any, ...]] | Exception:
    try:
        return _run(module, inputs)
    except ConversionError:
        raise
    except Exception as error:  # the user's forward may raise anything on a length that it does not take
        return error


def _run_longer(
    module: nn.Module, inputs: Mapping[str, Tensor], axes: Mapping[str, int | None], frames: int
) -> tuple[tuple[int, int], list[tuple[_Recorder, tuple[Any, ...]]]]:
    # Multiples serve models that take nothing else.
    error: Exception | None = None
    for lengths in (_uneven(frames), (frames * 2 + 7, frames * 3 + 12), (frames * 2, frames * 3)):
        runs = [_try(module, _resize(inputs, axes, n, 2)) for n in lengths]
        found = [r for r in runs if not isinstance(r, Exception)]
        if len(found) == 2:
            return lengths, found
        error = next(r for r in runs if isinstance(r, Exception))
    raise ConversionError(
        f"forward of {type(module).__name__} takes {frames} frames, but neither {_uneven(frames)[0]} nor {frames * 2}: {error}. A "
        "streaming model takes recordings of any length; take sizes from the input's shape."
    )


def _uneven(frames: int) -> tuple[int, int]:
    # Strides of 2, 3, 4 and 6 leave other rests than of `frames`, which tells ceil from floor, and two tensors apart that
    # agree in length for some rests only.
    longer, longest = frames * 2 + 7, frames * 3 + 12
    return longer + (frames + 1 - longer) % 12, longest + (frames + 2 - longest) % 12


def _merge(runs: Sequence[tuple[_Recorder, tuple[Any, ...]]], frames: tuple[int, ...]) -> Trace:
    first = runs[0][0]
    for recorder, _ in runs[1:]:
        check_same_calls(first.calls, recorder.calls)
    calls = [merge_calls([recorder.calls[i] for recorder, _ in runs]) for i in range(len(first.calls))]
    shapes = tuple(tuple(recorder.shapes[i] for recorder, _ in runs) for i in range(len(first.shapes)))
    outputs = []
    for value in runs[0][1]:
        if not isinstance(value, Ref):
            raise ConversionError(
                f"forward of {type(first.stack[0]).__name__} returns {type(value).__name__}, which does not depend on the "
                "input; return tensors computed from the input, alone or as a tuple."
            )
        outputs.append(value.index)
    return Trace(needed(calls, outputs), shapes, tuple(outputs), frames, {}, torch.float32)
