"""Structure of `forward`'s outputs: dicts, lists, named tuples and dataclasses, and the tensors that are kept."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import Tensor, nn

from lightning_esp.errors import ConversionError


@dataclass(frozen=True)
class Slot:
    """The place of a kept tensor in a `Structure`, by its number among the outputs."""

    index: int


class NotKept:
    """Placeholder for a tensor that the chip does not compute; any use of it is an error that names it.

    Args:
        path: its path in what `forward` returns.
        kept: the paths of the tensors that are kept.
    """

    def __init__(self, path: str, kept: tuple[str, ...]) -> None:
        self.path, self.kept = path, kept

    def refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Say which tensor is missing.

        Raises:
            ConversionError: always.
        """
        raise ConversionError(
            f"output {self.path!r} of forward was read, but the integers hold {_listed(self.kept)} alone; keep it too, "
            f"{option((*self.kept, self.path))}, or leave it out of the step."
        )

    __call__ = __getitem__ = __iter__ = __len__ = __bool__ = __float__ = __int__ = __matmul__ = refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = refuse
    __lt__ = __le__ = __gt__ = __ge__ = __array__ = refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Copying and pickling ask for hooks that are not there.
            raise AttributeError(name)
        self.refuse()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse every torch function that is given one."""
        next(value for value in _walk((args, kwargs or {})) if isinstance(value, cls)).refuse()


@dataclass(frozen=True)
class Structure:
    """Return value of `forward`, with the tensors taken out.

    Args:
        names: paths of the tensors that are kept, in the order of the model's outputs.
        template: containers as `forward` makes them, a `Slot` or `NotKept` in the place of each tensor.
    """

    names: tuple[str, ...]
    template: Any

    def fill(self, values: Sequence[Tensor]) -> Any:
        """Return what `forward` would, of the kept tensors."""
        return _rebuild(self.template, lambda leaf, _: values[leaf.index] if isinstance(leaf, Slot) else leaf)


class Keep:
    """A forward hook that takes the kept tensors out of what `forward` returns.

    Args:
        names: their paths, in order. None: the only tensor that there is; what holds several is left as it is.
    """

    def __init__(self, names: tuple[str, ...] | None = None) -> None:
        self.names = names

    def __call__(self, module: nn.Module, _: Any, result: Any) -> Any:
        """Return one tensor, or a tuple of several.

        Raises:
            ConversionError: there is no tensor of that name.
        """
        found = self.take(result, type(module).__name__)
        return found[0] if len(found) == 1 else found if self.names else result

    def take(self, result: Any, owner: str = "the module") -> tuple[Tensor, ...]:
        """Return the kept tensors; several, where all are kept by default and the result is one flat tuple or list."""
        tensors = dict(tensors_in(result))
        if self.names is None:
            return tuple(tensors.values())
        missing = [name for name in self.names if name not in tensors]
        if missing:
            raise ConversionError(
                f"{option(self.names)} names {_listed(missing)}, but forward of {owner} returns "
                f"{describe_tensors(result) or 'no tensor'}. Name one of these."
            )
        return tuple(tensors[name] for name in self.names)


def tensors_in(result: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in dicts, tuples, lists and dataclasses, by dotted path: `"logits"`, `"0"`, `"out.states.1"`."""
    for path, leaf in _leaves(result, ""):
        if isinstance(leaf, Tensor):
            yield path, leaf


def describe_tensors(result: Any) -> str:
    """List the tensors in a result by path and shape, for messages."""
    return ", ".join(f"{path!r} {list(tensor.shape)}" for path, tensor in tensors_in(result))


def option(names: Sequence[str]) -> str:
    """The line that keeps these tensors."""
    return f"Streaming(outputs={names[0]!r})" if len(names) == 1 else f"Streaming(outputs={list(names)})"


def keep(module: nn.Module, outputs: str | Sequence[str] | None) -> Any:
    """Let a module return the kept tensors alone, instead of what it was told to keep before.

    Args:
        module: changed: it gets a forward hook.
        outputs: `Streaming.outputs`.

    Returns:
        The handle that takes the hook off.
    """
    for number, hook in list(module._forward_hooks.items()):
        if isinstance(hook, Keep):
            del module._forward_hooks[number]
    names = (outputs,) if isinstance(outputs, str) else None if outputs is None else tuple(outputs)
    return module.register_forward_hook(Keep(names))


@contextmanager
def kept(module: nn.Module, outputs: str | Sequence[str] | None) -> Iterator[nn.Module]:
    """Within it, a module returns the kept tensors alone."""
    handle = keep(module, outputs)
    try:
        yield module
    finally:
        handle.remove()


def keeps(module: nn.Module) -> bool:
    """Tell whether the module was told what to keep."""
    return any(isinstance(hook, Keep) for hook in module._forward_hooks.values())


@contextmanager
def unkept(module: nn.Module) -> Iterator[None]:
    """Within it, a module returns what its forward does."""
    hooks = dict(module._forward_hooks)
    for number in [n for n, hook in hooks.items() if isinstance(hook, Keep)]:
        del module._forward_hooks[number]
    try:
        yield
    finally:
        module._forward_hooks.update(hooks)


def make_structure(result: Any, outputs: str | Sequence[str] | None) -> Structure | None:
    """Return the structure of a result; None where it is a tensor, or a flat tuple or list of tensors that are all kept.

    Args:
        result: what `forward` returned.
        outputs: `Streaming.outputs`.
    """
    flat = isinstance(result, tuple | list) and all(isinstance(value, Tensor) for value in result)
    if isinstance(result, Tensor) or (outputs is None and flat and len(result) > 1):
        return None
    paths = [path for path, _ in tensors_in(result)]
    names = (outputs,) if isinstance(outputs, str) else tuple(paths if outputs is None else outputs)

    def mark(leaf: Any, path: str) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return Slot(names.index(path)) if path in names else NotKept(path, names)

    return Structure(names, _rebuild(result, mark))


def flat_structure(names: Sequence[str]) -> Structure:
    """Return the structure of a dict by path, for a model of which no more is known than the paths of its outputs."""
    return Structure(tuple(names), {name: Slot(index) for index, name in enumerate(names)})


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _items(value: Any) -> list[tuple[str, Any]] | None:
    """Return the items of a container by name; None for what is no container."""
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return [(str(index), item) for index, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Slot):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    items = _items(value)
    if items is None:
        yield path, value
        return
    for name, item in items:
        yield from _leaves(item, f"{path}.{name}" if path else name)


def _walk(value: Any) -> Iterator[Any]:
    return (leaf for _, leaf in _leaves(value, ""))


def _rebuild(value: Any, change: Callable[[Any, str], Any], path: str = "") -> Any:
    """The same containers, with other leaves."""
    items = _items(value)
    if items is None:
        return change(value, path)
    made = {name: _rebuild(item, change, f"{path}.{name}" if path else name) for name, item in items}
    if isinstance(value, tuple | list):
        return type(value)(*made.values()) if hasattr(value, "_fields") else type(value)(made.values())
    copied = copy.copy(value)
    for (name, item), key in zip(made.items(), value if isinstance(value, Mapping) else made, strict=True):
        if isinstance(value, Mapping):
            copied[key] = item
        else:
            object.__setattr__(copied, name, item)
    return copied
