"""Types of options and arguments: each value against its annotation, so that a wrong one is told at once."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lightning_esp.errors import ConfigurationError

_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", type(None): "None"}


def check_types(options: object) -> None:
    """Check every field of a dataclass against its annotation.

    Whole numbers pass as numbers, and any sequence but a text as a list or tuple.

    Raises:
        ConfigurationError: a value is of another type; the message names the option, the value and the types.
    """
    for name, hint in get_type_hints(type(options)).items():
        value = getattr(options, name)
        if not fits(value, hint):
            raise ConfigurationError(
                f"{type(options).__name__}({name}={_shortened(value)}) must be {describe_type(hint)}.{_advise(value)}"
            )


def check_arguments(function: Callable[..., object], **values: object) -> None:
    """Check arguments against the annotations of their function.

    Args:
        function: whose arguments they are; `__init__` of a class for the class.
        **values: arguments by name.

    Raises:
        ConfigurationError: a value is of another type, or a path that no file can have; the message names the function, the
            argument, the value and the types.
    """
    owner = function.__qualname__.removesuffix(".__init__")
    for name, value in values.items():
        hint = _annotation(function, name)
        if not fits(value, hint):
            raise ConfigurationError(
                f"{owner}({name}={_shortened(value)}) must be {describe_type(hint)}.{_advise(value)}"
            )
        if isinstance(value, str) and "\0" in value:
            raise ConfigurationError(
                f"{owner}({name}={value!r}) holds a zero byte, which no path and no name can have."
            )


@cache
def _annotation(function: Callable[..., object], name: str) -> Any:
    """One at a time: others may name what is imported for type checkers only."""
    hint = inspect.signature(function).parameters[name].annotation
    return eval(hint, function.__globals__) if isinstance(hint, str) else hint


def _advise(value: object) -> str:
    inner = list(value.keys()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
    if any(isinstance(each, bool) for each in inner):
        return " YAML takes yes, no, on and off for true and false unless they stand in quotes."
    if any(isinstance(each, str) for each in inner):
        return " YAML takes what stands in quotes for a text."
    return ""


def fits(value: object, hint: Any) -> bool:
    """Tell whether a value is of the type that an annotation gives; see `check_types`."""
    kind, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if kind is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if kind in (dict, Mapping):
        return isinstance(value, Mapping) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if kind is tuple and inner[-1] is not Ellipsis:
        return isinstance(value, Sequence) and len(value) == len(inner) and all(map(fits, value, inner))
    if kind in (list, tuple, Sequence):
        return (
            isinstance(value, Sequence) and not isinstance(value, str | bytes) and all(fits(v, inner[0]) for v in value)
        )
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    if kind is Callable or hint is Callable:
        return callable(value)
    # Of os.PathLike[str] and the like, what is inside shows when it is used.
    return isinstance(value, kind or hint)


def describe_type(hint: Any) -> str:
    """Return an annotation in words, such as "a whole number or None"."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return _alternatives([describe_type(each) for each in inner])
    if kind is Literal:
        return _alternatives([repr(each) for each in inner])
    if kind in (dict, Mapping):
        return f"a dict from {describe_type(inner[0])} to {describe_type(inner[1])}"
    if kind is tuple and inner[-1] is not Ellipsis:
        return f"a tuple of {', '.join(map(describe_type, inner))}"
    if kind in (list, tuple, Sequence):
        return f"a {kind.__name__.lower()} of which each is {describe_type(inner[0])}"
    if kind is Callable or hint is Callable:
        return "a function"
    hint = kind or hint
    return _NAMES.get(hint, _with_article(hint.__name__) if isinstance(hint, type) else "anything")


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _alternatives(each: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(each[:-1]), each[-1])))


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
