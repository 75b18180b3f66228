"""The example that a conversion starts from: one recording by argument name, with a batch dimension in front."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_esp.conversion.calling import accepts, argument_names
from lightning_esp.conversion.geometry import run, try_run
from lightning_esp.conversion.recording_checks import fault_of
from lightning_esp.conversion.spec import Recording, Values
from lightning_esp.errors import ConversionError

_Outputs = tuple[Tensor, ...]


def name_example(module: nn.Module, example: Recording) -> Values:
    """Return the example by argument name, with a batch dimension in front.

    Args:
        module: the offline module.
        example: one recording, with a batch dimension of 1 or without; or one such tensor per input by name.

    Raises:
        ConversionError: `forward` does not run on it.
    """
    named = _by_name(module, example)
    for name, value in named.items():
        if fault := fault_of(value):
            raise ConversionError(f"input {name!r} of the example {fault}")
    return _with_batch(module, named)


def as_example(module: nn.Module, recording: Recording) -> Recording:
    """Return a recording with the batch dimension that it lacks, where `forward` runs on it so.

    Its first axis may be of length 1, and `name_example` would take that for the batch where `forward` runs on both.

    Args:
        module: the offline module.
        recording: without batch dimension.
    """
    batched = {name: value.unsqueeze(0) for name, value in _by_name(module, recording).items()}
    return batched if try_run(module, batched) is not None else recording


def check_takes_floats(module: nn.Module, example: Recording) -> None:
    """Refuse a module that takes whole numbers only: what enters a model on the chip stands for real numbers.

    Args:
        module: the offline module.
        example: one recording, with a batch dimension of 1 or without.

    Raises:
        ConversionError: `forward` runs on the example, but not on the same numbers in float32.
    """
    named = _by_name(module, example)
    whole = {
        name: value for name, value in named.items() if isinstance(value, Tensor) and not value.is_floating_point()
    }
    if not whole:
        return
    for values in (named, {name: value.unsqueeze(0) for name, value in named.items()}):
        floats = {name: value.float() for name, value in values.items()}
        if isinstance(_attempt(module, values), tuple) and isinstance(error := _attempt(module, floats), Exception):
            raise ConversionError(
                f"input {next(iter(whole))!r} is {next(iter(whole.values())).dtype}, and forward of {type(module).__name__} does "
                f"not run on the same numbers in float32: {_text(error)}. What enters a model on the chip is int8 or int16 that "
                "stands for real numbers, so an index cannot. Look the vectors up outside, and export the layers behind the "
                "embedding; or give one-hot vectors to an nn.Linear."
            ) from error


def _by_name(module: nn.Module, example: Recording) -> Values:
    names = argument_names(module)
    if not isinstance(example, Mapping):
        if not names:
            raise ConversionError(
                f"forward of {type(module).__name__} names no argument for a tensor; give the example as a mapping from "
                "argument name to tensor."
            )
        return {names[0]: example}
    unknown = sorted(name for name in example if not accepts(module, name))
    if unknown:
        raise ConversionError(f"example has the inputs {unknown}, but forward takes {list(names)}; rename them.")
    return {name: example[name] for name in dict.fromkeys((*names, *example)) if name in example}


def _with_batch(module: nn.Module, named: Values) -> Values:
    shaped = all(value.ndim >= 2 and value.shape[0] == 1 for value in named.values())
    alone = _attempt(module, named) if shaped else None
    twice = _attempt(module, {name: torch.cat([value, value]) for name, value in named.items()}) if shaped else None
    if _is_batch(alone, twice):
        return named
    batched = {name: value.unsqueeze(0) for name, value in named.items()}
    found = _attempt(module, batched)
    if not isinstance(found, Exception):
        return batched
    if isinstance(alone, tuple) and isinstance(twice, tuple):
        # Nothing else runs, so it is the batch, whatever the outputs make of it.
        return named
    if isinstance(alone, tuple) and isinstance(twice, Exception):
        raise ConversionError(
            f"forward of {type(module).__name__} runs on the example {_shapes(named)}, but not on a batch of two: "
            f"{_text(twice)}. Take the batch size from the input's shape."
        ) from twice
    first = f" (as it is: {_text(alone)})" if isinstance(alone, Exception) else ""
    raise ConversionError(
        f"forward of {type(module).__name__} does not run on the example {_shapes(named)}{first} with a batch dimension of 1 "
        f"in front: {_text(found)}. Give one recording as the network takes it, features included."
    ) from found


def _attempt(module: nn.Module, named: Values) -> _Outputs | Exception:
    try:
        return run(module, named)
    except ConversionError:
        raise
    except Exception as error:  # whatever the user's forward raises
        return error


def _is_batch(alone: _Outputs | Exception | None, twice: _Outputs | Exception | None) -> bool:
    # Conv layers take inputs without a batch too, so axis 0 is a batch only if doubling it doubles an output; another may
    # be a state that has the batch elsewhere.
    if not isinstance(alone, tuple) or not isinstance(twice, tuple):
        return False
    return any(a.ndim > 0 and b.ndim > 0 and len(b) == 2 * len(a) for a, b in zip(alone, twice, strict=True))


def _shapes(named: Values) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in named.items()}


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
