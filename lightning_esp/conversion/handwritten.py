"""The hand-written contract: `streaming_forward(*inputs, *caches)` and `streaming_caches()`, always honoured first."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from torch import Tensor, nn

from lightning_esp.conversion.calling import argument_names
from lightning_esp.conversion.geometry import as_tuple, find_output_axis
from lightning_esp.conversion.spec import Cache, Port, Stage
from lightning_esp.errors import ContractError


def has_contract(module: nn.Module) -> bool:
    """Tell whether the module brings its own streaming form."""
    return callable(getattr(module, "streaming_forward", None))


class ContractStage(nn.Module):
    """Makes `streaming_forward` the `forward` of a module, so that tracing and quantization call it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Run one window: `(*inputs, *caches) -> (*outputs, *new caches)`."""
        return as_tuple(self.module.streaming_forward(*arguments))  # type: ignore[operator]


@dataclass(frozen=True)
class Draft:
    """A stage and its module, with the unrounded weights that its forward computes."""

    stage: Stage
    module: nn.Module
    exact: Mapping[str, Tensor] = field(default_factory=dict)


def declared_caches(module: nn.Module, path: str) -> tuple[Cache, ...]:
    """The caches that the module declares, named by its path.

    Raises:
        ContractError: `streaming_caches` and the arguments of `streaming_forward` do not agree.
    """
    declare = getattr(module, "streaming_caches", None)
    shapes: dict[str, Sequence[int]] = dict(declare()) if declare is not None else {}
    _check_arguments(module, path, list(shapes))
    prefix = f"{path}." if path else ""
    return tuple(Cache(f"{prefix}{name}", (1, *shape)) for name, shape in shapes.items())


def _check_arguments(module: nn.Module, path: str, caches: list[str]) -> None:
    parameters = list(inspect.signature(module.streaming_forward).parameters.values())  # type: ignore[arg-type]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return
    found = [p.name for p in parameters][len(argument_names(module)) :]
    if found != caches:
        raise ContractError(
            f"{_where(module, path)}: streaming_forward takes the caches {found} after the {len(argument_names(module))}"
            f" input(s) of forward, but streaming_caches() declares {caches}. Both must name the same caches in the same "
            "order; rename the keys of streaming_caches() or the arguments."
        )


def _where(module: nn.Module, path: str) -> str:
    return f"module {path!r} ({type(module).__name__})" if path else f"the module ({type(module).__name__})"


def draft_contract(
    module: nn.Module, path: str, name: str, inputs: tuple[Port, ...], outputs: str, like: Tensor
) -> Draft:
    """Build the stage of a module with a hand-written contract.

    Args:
        module: the module.
        path: its path in the model, `""` for the model itself.
        name: name of the stage.
        inputs: what enters it, per window.
        outputs: name of its output; `<outputs>_<i>` where there are several.
        like: a tensor of the model's dtype.

    Raises:
        ContractError: caches of a wrong number or shape come back, or `streaming_forward` does not run.
    """
    caches = declared_caches(module, path)
    results = _try_window(module, path, inputs, caches, 1, like)
    count = len(results) - len(caches)
    if count < 1:
        raise ContractError(
            f"{_where(module, path)}: streaming_forward returned {len(results)} tensor(s) for {len(caches)} cache(s); "
            "it must return (*outputs, *new_caches), with at least one output."
        )
    _check_shapes(module, path, caches, results[count:])
    longer = _try_window(module, path, inputs, caches, 2, like)
    ports = []
    for i, (short, long) in enumerate(zip(results[:count], longer[:count], strict=True)):
        port = outputs if count == 1 else f"{outputs}_{i}"
        ports.append(Port(port, tuple(short.shape), find_output_axis(short, long, port)))
    return Draft(Stage(name, inputs, tuple(ports), caches), ContractStage(module))


def _try_window(
    module: nn.Module, path: str, inputs: tuple[Port, ...], caches: tuple[Cache, ...], windows: int, like: Tensor
) -> tuple[Tensor, ...]:
    arguments = []
    for port in inputs:
        shape = list(port.shape)
        if port.time_axis is not None:
            shape[port.time_axis] *= windows
        arguments.append(like.new_zeros(shape))
    arguments += [like.new_full(cache.shape, cache.initial) for cache in caches]
    try:
        with torch.no_grad():
            return ContractStage(module)(*arguments)  # type: ignore[no-any-return]
    except Exception as error:
        shapes = [list(a.shape) for a in arguments]
        raise ContractError(
            f"{_where(module, path)}: streaming_forward does not run on inputs and caches of shape {shapes}: "
            f"{type(error).__name__}: {error}. Check the shapes of streaming_caches(), which are without batch, and that "
            "the window suits the module: a larger one is set by Streaming(window=...)."
        ) from error


def _check_shapes(module: nn.Module, path: str, caches: tuple[Cache, ...], found: Sequence[Tensor]) -> None:
    for cache, value in zip_longest(caches, found):
        if tuple(value.shape) != cache.shape:
            raise ContractError(
                f"{_where(module, path)}: streaming_forward returned the new value of cache {cache.name!r} with shape "
                f"{list(value.shape)}, but it took {list(cache.shape)}; both must be equal. Return the last "
                f"{cache.shape[-1]} frames, and return the caches in the order of streaming_caches()."
            )
