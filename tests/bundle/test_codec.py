"""`decode(encode(x)) == x` for every dataclass of the manifest and the report, and what `decode` refuses."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_esp.bundle.codec import FormError, Spelling, decode, encode
from lightning_esp.bundle.entries import describe_stage, describe_stream, make_stage, make_stream
from lightning_esp.bundle.schema import (
    EstimateEntry,
    ExplicitCacheEntry,
    InputEntry,
    Manifest,
    MetricsEntry,
    NativeCacheEntry,
    PaceEntry,
    ProofEntry,
    Report,
    StageEntry,
    StreamEntry,
    TargetEntry,
)
from lightning_esp.config import Budget
from lightning_esp.conversion import Cache, Clip, Port, Stage, StreamSpec, WindowChoice, WindowOption, flat_structure
from lightning_esp.quantization import CacheInfo, StageFile, TensorInfo

FORMS = (Manifest, Report, TargetEntry, StageEntry, StreamEntry, ProofEntry)
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
COUNTS = st.integers(0, 9)
JSON = st.recursive(st.none() | st.booleans() | COUNTS | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2))


def values_of(form: Any, spelling: Spelling | None = None) -> st.SearchStrategy[Any]:
    """Draw values of an annotation, as `codec.py` understands it."""
    kind, inner = get_origin(form), get_args(form)
    if kind is Annotated:
        return values_of(inner[0], inner[1])
    if kind in (Union, UnionType):
        return st.one_of([values_of(each, spelling) for each in inner])
    if kind is Literal:
        return st.sampled_from(inner)
    if kind is dict:
        return st.dictionaries(st.text(max_size=3), values_of(inner[1], spelling), max_size=2)
    if kind is tuple and inner[-1] is ...:
        return st.lists(values_of(inner[0], spelling), max_size=2).map(tuple)
    if kind is tuple:
        return st.tuples(*(values_of(each, spelling) for each in inner))
    if form is Budget:
        return st.builds(Budget, flash=st.none() | st.integers(1, 99), step_us=st.none() | st.floats(1.0, 99.0))
    if is_dataclass(form):
        hints = get_type_hints(form, include_extras=True)
        return st.builds(form, **{each.name: values_of(hints[each.name], spelling) for each in fields(form)})
    if form is float:
        odd = {Spelling.TEXT: (math.inf, -math.inf), Spelling.NULL: (math.inf,), None: ()}[spelling]
        return st.floats(-9.0, 9.0) | st.sampled_from(odd) if odd else st.floats(-9.0, 9.0)
    return {int: COUNTS, str: st.text(max_size=3), bool: st.booleans(), NoneType: st.none(), Any: JSON}[form]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_back(form: Any) -> None:
    @QUICK
    @given(values_of(form))
    def check(value: Any) -> None:
        assert decode(form, json.loads(json.dumps(encode(value), allow_nan=False))) == value

    check()


@st.composite
def streams(draw: st.DrawFn) -> tuple[StreamSpec, tuple[StageFile, ...]]:
    """Draw a stream, and the files of its stages: axes in any order, a native cache between two explicit ones, edges."""
    window, stride, count = 4, draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 3))
    files, stages, made = [], [], "x"
    for index in range(count):
        last = index == count - 1
        x, y = tensor(draw, made, window), tensor(draw, "output" if last else f"h{index}", window)
        caches = [tensor(draw, f"{index}.{name}", None) for name in "abc"]
        explicit = [CacheInfo(each, f"{each.name}.next", draw(st.integers(-8, 8))) for each in caches[::2]]
        native = [caches[1]]
        files.append(StageFile(f"stage_{index}", bytes([index]), (x,), (y,), tuple(explicit), tuple(native), ("Conv",)))
        starts = {c.tensor.name: c.initial * 2.0**c.tensor.exponent for c in explicit}
        float_caches = tuple(Cache(each.name, torch_shape(each), starts.get(each.name, 0.0)) for each in caches)
        out = replace(port(y), **draw(own(stride))) if last else port(y)
        stages.append(Stage(f"stage_{index}", (port(x),), (out,), float_caches))
        made = y.name
    options = st.builds(WindowOption, COUNTS, st.floats(0, 1), st.none() | st.floats(0, 9))
    spec = StreamSpec(
        window,
        stride,
        stages[0].inputs,
        stages[-1].outputs,
        tuple(stages),
        delay=draw(COUNTS),
        trim=draw(COUNTS),
        receptive_field=draw(st.none() | COUNTS),
        frame_period=draw(st.none() | st.floats(0.001, 1)),
        cache_form=draw(st.sampled_from(["auto", "native", "explicit"])),
        choice=draw(st.none() | st.builds(WindowChoice, st.floats(0, 1), st.just("esp32s3"), st.tuples(options))),
        structure=draw(st.none() | st.just(flat_structure(["keyword"]))),
        clip=draw(st.none() | st.builds(Clip, COUNTS, COUNTS, st.just("sliding"), st.tuples(st.text()), COUNTS)),
    )
    return spec, tuple(files)


def own(stride: int) -> st.SearchStrategy[dict[str, Any]]:
    """Draw what an output of the model may have of its own."""
    edge = st.just(()) | st.lists(COUNTS, min_size=stride, max_size=stride).map(tuple)
    each = {name: st.none() | COUNTS for name in ("stride", "trim", "delay")}
    return st.fixed_dictionaries({**each, "unlike_first": COUNTS, "unlike_last": edge})


def tensor(draw: st.DrawFn, name: str, window: int | None) -> TensorInfo:
    layout = tuple(draw(st.permutations([0, 1, 2])))
    sizes = (1, draw(st.integers(1, 5)), 3 if window is None else window)
    shape = tuple(sizes[axis] for axis in layout)
    return TensorInfo(
        name, shape, "int8", draw(st.integers(-9, 0)), layout, None if window is None else layout.index(2)
    )


def torch_shape(info: TensorInfo) -> tuple[int, ...]:
    return tuple(info.shape[info.layout.index(axis)] for axis in range(3))


def port(info: TensorInfo) -> Port:
    return Port(info.name, torch_shape(info), 2)


@QUICK
@given(streams())
def test_a_stream_and_its_stages_are_read_back(drawn: tuple[StreamSpec, tuple[StageFile, ...]]) -> None:
    spec, files = drawn
    order = [cache.name for cache in spec.caches]
    entries = [describe_stage(file, f"{file.name}.espdl", order) for file in files]
    plain = json.loads(json.dumps({"streaming": encode(describe_stream(spec)), "stages": [encode(e) for e in entries]}))
    stages = [
        make_stage(decode(StageEntry, each), file.data) for each, file in zip(plain["stages"], files, strict=True)
    ]
    found = make_stream(decode(StreamEntry, plain["streaming"]), stages, order)
    assert tuple(stages) == files
    assert found == spec
    assert found.output_names == spec.output_names


def test_what_is_neither_a_number_nor_infinite_stands_as_text() -> None:
    written = encode(MetricsEntry({"loss": math.nan, "best": -math.inf, "count": 3}, {}))
    assert written == {"float": {"loss": "nan", "best": "-inf", "count": 3.0}, "quantized": {}}
    assert math.isnan(decode(MetricsEntry, written).float["loss"])


def test_what_is_optional_is_left_out_and_nothing_else() -> None:
    assert encode(PaceEntry(delay=0)) == {"delay": 0}
    assert encode(Clip(8, 4, "sliding"))["lookahead"] == 0
    assert decode(PaceEntry, {"delay": 0, "of another version": [1]}) == PaceEntry(delay=0)


def test_an_estimate_may_lack_what_older_exports_did_not_know() -> None:
    assert decode(EstimateEntry, {"ram": 5}) == EstimateEntry(ram=5)
    assert encode(EstimateEntry(ram=5))["psram"] == 0


CACHE = {"name": "c", "shape": [1], "dtype": "int8", "exponent": 0, "layout": [0], "time_axis": None, "bytes": 1}
FAULTS: dict[str, tuple[Any, Any, str]] = {
    "missing": (InputEntry, {"name": "x"}, "kind is missing"),
    "another word": (InputEntry, {"name": "x", "kind": "Held"}, "kind is 'Held'; it must be 'stream' or 'held'"),
    "no object": (InputEntry, None, "it is None; it must be an object"),
    "truth": (Clip, {"frames": True, "hop": 1, "form": "sliding"}, "frames is True; it must be a whole number"),
    "no list": (Report, {"schema": "", "targets": {"s3": []}}, r"targets\.s3 is \[\]; it must be an object"),
    "in a list": (StageEntry, {"inputs": [3]}, "caches is missing"),
    "NaN": (WindowOption, {"window": 1, "latency": math.nan, "frame_us": None}, "latency is nan; it must be a finite number"),
    "a word for a figure": (MetricsEntry, {"float": {"a": "much"}, "quantized": {}}, r"float\.a is 'much'; it must be a number"),
    "no form": (tuple[ExplicitCacheEntry | NativeCacheEntry, ...], [CACHE], r"\[0\]\.form is missing"),
    "no such form": (
        tuple[ExplicitCacheEntry | NativeCacheEntry, ...],
        [{**CACHE, "form": "both"}],
        r"\[0\]\.form is 'both'; it must be 'explicit' or 'native'",
    ),
    "explicit without next": (
        tuple[ExplicitCacheEntry | NativeCacheEntry, ...],
        [{**CACHE, "form": "explicit", "initial": 0}],
        r"\[0\]\.next is missing",
    ),
    "an event of two": (tuple[tuple[int, int, int], ...], [[1, 2]], r"\[0\] is \[1, 2\]; it must be a list of 3"),
    "no sense": (Budget, {"ram": -1}, r"it has no sense: Budget\(ram=-1\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_has_another_form_is_refused(name: str) -> None:
    form, value, message = FAULTS[name]
    with pytest.raises(FormError, match=message):
        decode(form, value)
