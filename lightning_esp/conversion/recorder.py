"""`Recorder`: one run of `forward`, call by call.

Every torch function that touches a value made from the inputs becomes a `Call`. Functions are seen as the user called
them (`conv1d`, `pad`, `gru`), whether through a module, `F`, an operator or a subclass. What is written in place becomes a
new value of the tensor, and of those that share its memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from lightning_esp.conversion.aliases import View, overlap, share, version, views_of
from lightning_esp.conversion.handwritten import has_contract
from lightning_esp.conversion.trace import Call, Constant, Ref, Shape, flatten
from lightning_esp.errors import UnsupportedOperatorError

CONTRACT = "streaming_forward"
_READS = frozenset({"__bool__", "__float__", "__int__", "__index__", "__complex__", "__contains__", "__array__", "item",
                    "tolist", "numpy", "equal", "allclose", "is_nonzero"})  # fmt: skip
_FRESH = frozenset({"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full",
                    "new_empty", "new_tensor"})  # fmt: skip
_EMPTY = frozenset({"empty", "empty_like", "new_empty"})
_PLAIN = (int, float, str, type(None), torch.Size, torch.dtype, torch.device, torch.layout, torch.memory_format)


class Recorder(TorchFunctionMode):
    """Records one run of `forward`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.shapes: list[Shape] = []
        self.stack: list[nn.Module] = [module]
        self.running = ""
        self._silent = 0
        self._module = module
        self._paths = {id(m): path for path, m in reversed(list(module.named_modules()))}
        named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        self._names = {id(tensor): name for name, tensor in reversed(named)}
        # Tensors are kept, since an id is only unique among the living.
        self._constants: dict[tuple[int, int], tuple[Tensor, Constant]] = {}
        self._known: dict[int, tuple[Tensor, int, int]] = {}
        self._views: dict[int, View] = {}
        self._written: list[Tensor] = []

    def add(self, tensor: Tensor) -> int:
        """Follow a tensor from here on."""
        self._known[id(tensor)] = (tensor, len(self.shapes), version(tensor))
        self.shapes.append(tuple(int(n) for n in tensor.shape))
        return len(self.shapes) - 1

    def _is_stale(self, tensor: Tensor) -> bool:
        found = self._known.get(id(tensor))
        if found is not None:
            return found[2] != version(tensor)
        return any(share(tensor, other) and overlap(tensor, other) for other in self._written)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._silent:
            return func(*args, **kwargs)
        name = _name_of(func)
        if name in _FRESH or not self._any_known(args, kwargs):
            result = func(*args, **kwargs)
            if name in _EMPTY and result.is_floating_point():
                # What memory happens to hold would differ from run to run.
                result.fill_(torch.nan)
            self._note_views(name, args, kwargs, result)
            return result
        return self._follow(name, func, args, kwargs)

    def _follow(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.running = name
        frozen = self.freeze(args), {key: self.freeze(value) for key, value in kwargs.items() if key != "out"}
        touched = [t for t in flatten((*kwargs.values(), args)) if isinstance(t, Tensor)]
        before = [version(t) for t in touched]
        bases = {id(t): self._frozen_bases(t) for t in touched if id(t) in self._views}
        result = func(*args, **kwargs)
        changed = [t for t, count in zip(touched, before, strict=True) if version(t) != count]
        target = next((t for t in changed if t is kwargs.get("out")), changed[0] if changed else None)
        results = [t for t in flatten(result) if isinstance(t, Tensor)]
        if name == "__setitem__":
            results = [args[0]]
        if results:
            self._record(name, func, *frozen, results)
        else:
            self._check_result(name, func, result)
        if target is not None:
            if not any(target is t for t in results):
                raise self._refusal(f"{name} writes into a tensor that it does not return", _NEW)
            self._write_back(target, bases.get(id(target), ()))
        self._note_views(name, args, kwargs, result)
        return result

    def _check_result(self, name: str, func: Any, result: Any) -> None:
        sets_data = name == "__set__" and func.__self__.__name__ == "data"
        if sets_data:
            raise self._refusal("a tensor gets other data (x.data = ...)", _NEW)
        if name in _READS or not isinstance(result, _PLAIN):
            raise self._refusal(
                f"{name} reads the values of a tensor, so the next steps may depend on the data",
                "compute with tensors instead, or take the check out of forward",
            )

    def _record(self, name: str, func: Any, args: Any, kwargs: Any, tensors: Sequence[Tensor]) -> None:
        owner = self.stack[-1]
        path = self._paths.get(id(owner), "")
        results = tuple(self.add(tensor) for tensor in tensors)
        self.calls.append(Call(name, func, args, kwargs, path, type(owner).__name__, results))

    def _note_views(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        results = [t for t in flatten(result) if isinstance(t, Tensor)]
        self._views.update((id(view.view), view) for view in views_of(name, args, kwargs, results))

    def _frozen_bases(self, view: Tensor) -> tuple[tuple[View, Any], ...]:
        """Return the chain of bases that a view was taken from; each as it is now, None if not known."""
        chain = []
        while (found := self._views.get(id(view))) is not None:
            view = found.base
            chain.append((found, None if self._is_stale(view) else self.freeze(view)))
        return tuple(chain)

    def _write_back(self, target: Tensor, bases: Sequence[tuple[View, Any]]) -> None:
        """Give the tensors that share memory with `target`, which was written to, their new values."""
        self._written.append(target)
        renewed = [target]
        for view, frozen in bases:
            if frozen is None:
                break
            value = Ref(self._known[id(view.view)][1])
            args = (frozen, view.data, value) if view.undo == "__setitem__" else (value, view.data)
            self._record(view.undo, _UNDO[view.undo], args, {}, [view.base])
            renewed.append(view.base)
        for tensor, index, count in list(self._known.values()):
            if count != version(tensor) and share(tensor, target) and not overlap(tensor, target):
                self._known[id(tensor)] = (tensor, index, version(tensor))

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
            if self._is_stale(value):
                raise self._refusal("a tensor is written in place while another tensor shares its memory", _NEW)
            found = self._known.get(id(value))
            return self._constant(value) if found is None else Ref(found[1])
        if isinstance(value, slice):
            return slice(self.freeze(value.start), self.freeze(value.stop), self.freeze(value.step))
        if isinstance(value, tuple | list):
            return tuple(self.freeze(item) for item in value)
        return value

    def _constant(self, value: Tensor) -> Constant:
        # One object per tensor, so that a layer called twice is recognised; a copy, since forward may write into it later.
        name = self._names.get(id(value), "")
        key = (id(value), version(value))
        if key not in self._constants:
            self._constants[key] = (value, Constant(value.detach() if name else value.detach().clone(), name))
        return self._constants[key][1]

    def enter(self, module: nn.Module, *_: Any) -> None:
        """Note that a module starts."""
        self.stack.append(module)
        if self._is_leaf(module):
            self._silent += 1

    def leave(self, module: nn.Module, _: Any, __: Any) -> None:
        """Note that a module ends."""
        # A module with a call of its own may run hooks of one kind only.
        if self._is_leaf(module) or not any(module is m for m in self.stack[1:]):
            return
        while self.stack[-1] is not module:
            self._drop()
        self._drop()

    def honour(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        """Note that a module with a contract ends, which is a call of its own."""
        while self.stack[-1] is not module:
            self._drop()
        if self._silent == 1:
            frozen = self.freeze(args), {key: self.freeze(value) for key, value in kwargs.items()}
            self._record(CONTRACT, module, *frozen, [t for t in flatten(result) if isinstance(t, Tensor)])
        self._drop()

    def _drop(self) -> None:
        if self._is_leaf(self.stack.pop()):
            self._silent -= 1

    def _is_leaf(self, module: nn.Module) -> bool:
        return module is not self._module and has_contract(module)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record what runs inside."""
        # Global hooks with keywords are never quite removed by torch, so modules with a contract have hooks of their own.
        hooks = [register_module_forward_pre_hook(self.enter), register_module_forward_hook(self.leave)]
        leaves = [m for m in self._module.modules() if self._is_leaf(m)]
        hooks += [leaf.register_forward_hook(self.honour, with_kwargs=True, prepend=True) for leaf in leaves]
        try:
            with unscripted(), self:
                yield
        finally:
            for hook in hooks:
                hook.remove()


_NEW = "use the operator that is not in place, or work on a copy, x.clone()"
_UNDO = {"__setitem__": Tensor.__setitem__, "reshape": torch.reshape, "permute": torch.permute}


def _name_of(func: Any) -> str:
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(func.__self__.__name__)
    # torch.ops.aten.relu.default is called "relu.default".
    return name if name.startswith("__") else name.partition(".")[0].rstrip("_")


@contextmanager
def unscripted() -> Iterator[None]:
    """Run functions that `torch.jit.script` made as the Python that they were made from: no mode sees into a script."""
    kind: Any = torch.jit.ScriptFunction
    scripted = kind.__call__

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        # torch keeps the source for its own compiler.
        source = getattr(function, "_torchdynamo_inline", None)
        return scripted(function, *args, **kwargs) if source is None else source(*args, **kwargs)

    kind.__call__ = call
    try:
        yield
    finally:
        kind.__call__ = scripted
