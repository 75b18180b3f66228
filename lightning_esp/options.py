"""Types of options: each value of a dataclass against the annotation of its field, so that a wrong one is told at once."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
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
        if not _fits(value, hint):
            raise ConfigurationError(
                f"{type(options).__name__}({name}={_shortened(value)}) must be {_describe(hint)}.{_advise(value)}"
            )


def _advise(value: object) -> str:
    inner = list(value.keys()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
    if any(isinstance(each, bool) for each in inner):
        return " YAML takes yes, no, on and off for true and false unless they stand in quotes."
    if any(isinstance(each, str) for each in inner):
        return " YAML takes what stands in quotes for a text."
    return ""


def _fits(value: object, hint: Any) -> bool:
    kind, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind in (Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if kind is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if kind is dict:
        return isinstance(value, Mapping) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if kind in (list, tuple):
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str | bytes)
            and all(_fits(v, inner[0]) for v in value)
        )
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return _alternatives([_describe(each) for each in inner])
    if kind is Literal:
        return _alternatives([repr(each) for each in inner])
    if kind is dict:
        return f"a dict from {_describe(inner[0])} to {_describe(inner[1])}"
    if kind in (list, tuple):
        return f"a {kind.__name__} of which each is {_describe(inner[0])}"
    return _NAMES.get(hint, f"a {hint.__name__}" if isinstance(hint, type) else "anything")


def _alternatives(each: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(each[:-1]), each[-1])))


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
