"""`Nodes` writes the streaming graph: operations, modules with copied weights, constants and caches."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

from torch import Tensor, fx, nn

from lightning_esp.conversion.spec import Cache
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Call, Constant, ForwardTrace, Varying, replace_values
from lightning_esp.errors import ConversionError, UnsupportedOperatorError


@dataclass(frozen=True)
class Frame:
    """Stands in an argument for the frames of the window at a stride; for 1 where `pad_value` is computed."""

    stride: Fraction
    plus: int = 0


class Nodes:
    """A graph of operations that work on one window.

    Args:
        trace: what `forward` does.
        window: input frames per inference; None while the stride is still unknown.
    """

    def __init__(self, trace: ForwardTrace, window: int | None) -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.caches: list[Cache] = []
        self.next_values: list[fx.Node] = []
        self.window = window
        self.trace = trace
        self._call = trace.calls[0] if trace.calls else None
        self._placeholder: fx.Node | None = None
        self._modules: dict[object, str] = {}
        self._constants: dict[tuple[int, ...], str] = {}
        # By id, with the tensor itself, since an id is only unique among the living.
        self._changed: dict[int, tuple[Tensor, Tensor]] = {}
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def call(self) -> Call:
        """The call that is being converted."""
        assert self._call is not None
        return self._call

    @call.setter
    def call(self, call: Call) -> None:
        self._call = call

    def frames(self, stride: Fraction) -> int:
        """Frames per window at a stride."""
        return 1 if self.window is None else int(self.window / stride)

    def refuse(self, rule: str, advice: str, error: type[ConversionError] = UnsupportedOperatorError) -> NoReturn:
        """Refuse the call.

        Args:
            rule: what is wrong, as the end of a sentence that starts with the operator.
            advice: what to do, as the end of "to stream it, ...".
            error: class of the exception.
        """
        raise self.refusal(rule, advice, error)

    def refusal(
        self, rule: str, advice: str, error: type[ConversionError] = UnsupportedOperatorError
    ) -> ConversionError:
        """The exception of `refuse`."""
        return error(f"{self.call.where}: {self.call.name} {rule}. To stream it, {advice}.")

    def add_placeholder(self, name: str) -> fx.Node:
        """Add an argument of the graph, behind those that are there."""
        if self._placeholder is None:
            self._placeholder = self.graph.placeholder(_identifier(name))
        else:
            with self.graph.inserting_after(self._placeholder):
                self._placeholder = self.graph.placeholder(_identifier(name))
        return self._placeholder

    def emit(self, function: Callable[..., Any] | nn.Module, *args: Any, **kwargs: Any) -> fx.Node:
        """Add an operation; its arguments may be streams, nodes, constants and numbers."""
        args, kwargs = self._lower(args), {key: self._lower(value) for key, value in kwargs.items()}
        if isinstance(function, nn.Module):
            path = self._place_module(function)
            return self._located(self.graph.create_node("call_module", path, args, kwargs, name=_identifier(path)))
        name = _identifier(f"{self.call.path}.{function.__name__}".lstrip("."))
        return self._located(self.graph.create_node("call_function", function, args, kwargs, name=name))

    def _located(self, node: fx.Node) -> fx.Node:
        node.meta["path"] = self.call.path
        return node

    def _lower(self, value: Any) -> Any:
        def change(item: Any) -> Any:
            if isinstance(item, StreamTensor):
                return item.node
            if isinstance(item, Constant):
                return self._place_constant(item)
            if isinstance(item, Frame):
                return self.frames(item.stride) + item.plus
            if isinstance(item, Varying):
                self.refuse(
                    f"takes a number that follows the length of the recording or the batch ({item.values[0]})",
                    "don't compute with the number of frames",
                )
            return item

        return replace_values(value, change)

    def _place_constant(self, constant: Constant) -> fx.Node:
        value = self.fixed(constant)
        key = (value.data_ptr(), *value.shape, *value.stride())
        if key not in self._constants:
            name = self._free(constant.name or f"{self.call.path}.constant".lstrip("."))
            owner, leaf = self._owner(name)
            owner.register_buffer(leaf, value.detach().clone())
            self._constants[key] = name
        return self.graph.get_attr(self._constants[key])

    def fixed(self, constant: Constant) -> Tensor:
        """The value of a constant that is the same for every recording."""
        if constant.varies:
            self.refuse(
                f"reads a tensor {list(constant.value.shape)} that forward makes to fit the length of the recording",
                "make it a parameter or buffer without a time axis",
            )
        return constant.value

    def _owner(self, path: str) -> tuple[nn.Module, str]:
        owner = self.root
        *parents, leaf = path.split(".")
        for parent in parents:
            if parent not in owner._modules:
                owner.add_module(parent, nn.Module())
            owner = owner.get_submodule(parent)
        return owner, leaf

    def _free(self, path: str) -> str:
        number, candidate = 1, path
        while hasattr(*self._owner(candidate)):
            number += 1
            candidate = f"{path}_{number}"
        return candidate

    def _place_module(self, module: nn.Module) -> str:
        # A module that the user calls twice is placed once.
        tensors = (*module.parameters(), *module.buffers())
        key = (type(module), repr(module), tuple(t.data_ptr() for t in tensors))
        if key not in self._modules:
            path = self._free(self.call.path or self.call.name)
            owner, leaf = self._owner(path)
            owner.add_module(leaf, module)
            self._modules[key] = path
        return self._modules[key]

    def fill(self, module: nn.Module, **tensors: Constant | Tensor | None) -> nn.Module:
        """Give a module, made on the meta device, its tensors."""
        for name, value in tensors.items():
            if value is None:
                continue
            tensor = self.fixed(value) if isinstance(value, Constant) else value
            # One copy per tensor of the user's, so that a module called twice is recognised.
            _, copy = self._copies.setdefault(id(tensor), (tensor, tensor.detach().clone()))
            if name in module._buffers:
                module._buffers[name] = copy
            else:
                setattr(module, name, nn.Parameter(copy, requires_grad=False))
        return module.eval()

    def once(self, tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """`change(tensor)`, the same object however often it is asked for."""
        source, changed = self._changed.setdefault(id(tensor), (tensor, change(tensor)))
        assert source is tensor
        return changed

    def item(self, node: fx.Node, index: int) -> fx.Node:
        """One of the results of an operation that has several."""
        return self._located(self.graph.call_function(operator.getitem, (node, index)))

    def add_cache(self, label: str, shape: tuple[int, ...], initial: float = 0.0) -> fx.Node:
        """Add a cache; its new value must be appended to `next_values` by the caller."""
        taken = {cache.name for cache in self.caches}
        base = f"{self.call.path or self.call.name}.{label}"
        name = next(n for n in (base, *(f"{base}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
        self.caches.append(Cache(name, shape, initial))
        return self.add_placeholder(name)


def _identifier(path: str) -> str:
    name = path.replace(".", "_")
    return f"_{name}" if name[0].isdigit() else name
