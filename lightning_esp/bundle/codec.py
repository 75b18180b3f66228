"""Dataclasses as the plain data of JSON, and back: one rule for every field of `manifest.json` and `report.json`.

A field with a default may be missing when it is read; one of `field(..., metadata=OPTIONAL)` is not written where it is None
or empty, every other one is. A key that no field has may hold anything, and is not kept. JSON has no number for what is
infinite or NaN: `Spelling` says how a field writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from lightning_esp.errors import LightningEspError
from lightning_esp.options import describe_type, fits

OPTIONAL = {"optional": True}
_UNIONS = (Union, UnionType)
_WORDS = {str(value): value for value in (math.inf, -math.inf, math.nan)}


class FormError(ValueError):
    """Plain data of another form than a dataclass; the message names the key, the value and the rule."""


class Spelling(Enum):
    """Spelling of numbers that JSON has none for, in `Annotated[..., Spelling.TEXT]`; without it they are refused."""

    TEXT = "text"  # "inf", "-inf" or "nan"
    NULL = "null"  # null for infinity, the only one that may be


def encode(value: Any, form: Any = None, spelling: Spelling | None = None) -> Any:
    """Return a dataclass as plain data, which `decode` reads back as its equal.

    Args:
        value: the dataclass, or what a field of one holds.
        form: the annotation of that field; None: a dataclass needs none.
        spelling: of numbers that JSON has none for.
    """
    kind, inner = get_origin(form), get_args(form)
    if kind is Annotated:
        return encode(value, *inner)
    if is_dataclass(value):
        own: Any = type(value)
        hints = _hints_of(own)
        return {f.name: encode(getattr(value, f.name), hints[f.name], spelling) for f in _written_fields(value)}
    if value is not None and kind in _UNIONS and NoneType in inner and len(inner) == 2:
        return encode(value, inner[inner[0] is NoneType], spelling)
    if isinstance(value, Mapping) and inner:
        return {key: encode(each, inner[1], spelling) for key, each in value.items()}
    if kind is tuple:
        return [encode(each, _element(inner, index), spelling) for index, each in enumerate(value)]
    return _spell(value, spelling) if form is float else value


def decode(form: Any, value: Any) -> Any:
    """Return the dataclass of plain data.

    Args:
        form: the dataclass, or the annotation of a field of one.
        value: from JSON.

    Raises:
        FormError: a key is missing, or holds what its field cannot.

    Example:
        >>> from lightning_esp.bundle.schema import InputEntry
        >>> decode(InputEntry, {"name": "x", "kind": "held."})
        Traceback (most recent call last):
        lightning_esp.bundle.codec.FormError: kind is 'held.'; it must be 'stream' or 'held'
    """
    return _decode(value, form, "", None)


def _decode(value: Any, form: Any, where: str, spelling: Spelling | None) -> Any:
    kind, inner = get_origin(form), get_args(form)
    if kind is Annotated:
        return _decode(value, inner[0], where, inner[1])
    if kind in _UNIONS:
        return _decode_union(value, form, where, spelling)
    if is_dataclass(form) and isinstance(value, Mapping):
        return _decode_fields(value, form, where, spelling)
    if kind is dict and isinstance(value, Mapping):
        return {key: _decode(each, inner[1], f"{where}{key}.", spelling) for key, each in value.items()}
    if kind is tuple and isinstance(value, list | tuple) and (inner[-1] is ... or len(value) == len(inner)):
        places = (f"{where.removesuffix('.')}[{index}]." for index in range(len(value)))
        return tuple(
            _decode(each, _element(inner, i), at, spelling)
            for i, (each, at) in enumerate(zip(value, places, strict=True))
        )
    if is_dataclass(form) or kind is tuple or kind is dict:
        raise _fault(where, value, _describe(form))
    return _decode_plain(value, form, where, spelling)


def _decode_plain(value: Any, form: Any, where: str, spelling: Spelling | None) -> Any:
    if form is float and spelling is Spelling.NULL and value is None:
        return math.inf
    if form is float and spelling is Spelling.TEXT and isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if not fits(value, form):
        raise _fault(where, value, describe_type(form))
    if isinstance(value, float) and not math.isfinite(value):
        raise _fault(where, value, "a finite number")
    return value


def _decode_union(value: Any, form: Any, where: str, spelling: Spelling | None) -> Any:
    members = [each for each in get_args(form) if each is not NoneType]
    if value is None and len(members) < len(get_args(form)):
        return None
    if len(members) > 1 and all(map(is_dataclass, members)) and isinstance(value, Mapping):
        return _decode(value, _choose(value, members, where), where, spelling)
    nested = is_dataclass(members[0]) or get_origin(members[0]) in (dict, tuple, Annotated)
    return _decode(value, members[0], where, spelling) if nested else _decode_plain(value, form, where, spelling)


def _choose(value: Mapping[str, Any], members: list[Any], where: str) -> Any:
    """Of several dataclasses return the one that the value says it is, in the field that is another literal in each."""
    hints = [_hints_of(each) for each in members]
    tag = next(k for k, hint in hints[0].items() if get_origin(hint) is Literal and hint != hints[1].get(k))
    if tag not in value:
        raise FormError(f"{where}{tag} is missing")
    for each, own in zip(members, hints, strict=True):
        if fits(value[tag], own[tag]):
            return each
    raise _fault(f"{where}{tag}", value[tag], " or ".join(describe_type(own[tag]) for own in hints))


def _decode_fields(values: Mapping[str, Any], form: Any, where: str, spelling: Spelling | None) -> Any:
    for missing in sorted(each.name for each in fields(form) if _is_required(each) and each.name not in values):
        raise FormError(f"{where}{missing} is missing")
    found = {
        name: _decode(values[name], hint, f"{where}{name}.", spelling)
        for name, hint in _hints_of(form).items()
        if name in values
    }
    try:
        return form(**found)
    except LightningEspError as error:
        raise FormError(f"{where.removesuffix('.') or 'it'} has no sense: {error}") from error


def _is_required(declared: Field[Any]) -> bool:
    return declared.default is declared.default_factory  # both are MISSING


def _written_fields(value: Any) -> list[Field[Any]]:
    """Return the fields that JSON gets."""
    return [f for f in fields(value) if "optional" not in f.metadata or getattr(value, f.name) not in (None, {})]


def _element(inner: tuple[Any, ...], index: int) -> Any:
    return inner[0] if inner[-1] is ... else inner[index]


def _spell(value: float, spelling: Spelling | None) -> Any:
    if spelling is Spelling.TEXT:
        return float(value) if math.isfinite(value) else str(float(value))
    return None if spelling is Spelling.NULL and value == math.inf else value


def _fault(where: str, value: Any, needed: str) -> FormError:
    return FormError(f"{where.removesuffix('.') or 'it'} is {repr(value)[:60]}; it must be {needed}")


def _describe(form: Any) -> str:
    """Return an annotation in the words of JSON."""
    inner = get_args(form)
    if get_origin(form) is not tuple:
        return "an object"
    return f"a list of which each is {_describe_element(inner[0])}" if inner[-1] is ... else f"a list of {len(inner)}"


def _describe_element(form: Any) -> str:
    return _describe(form) if is_dataclass(form) or get_origin(form) in (tuple, dict, *_UNIONS) else describe_type(form)


@cache
def _hints_of(form: Any) -> dict[str, Any]:
    """Return the types of the fields of a dataclass; to evaluate them costs more than to check a manifest against them."""
    return get_type_hints(form, include_extras=True)
