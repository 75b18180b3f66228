"""Manifests whose numbers keep their form and have no sense: refused by key, value and rule, before anything computes."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_esp import Bundle, simulate
from lightning_esp.bundle import read_both, write_bundle
from lightning_esp.errors import BundleError, LightningEspError
from tests.bundle import handmade

Place = tuple[str | int, ...]

HOSTILE = (0, -1, 2**31, -(2**31), -(2**63), 10**30)
STAGES: Place = ("targets", "esp32s3", "stages")
CLIP = {"frames": 9, "hop": 3, "form": "sliding", "held": []}

# Where, what, and what the message says of it. The first three are those that mutation found.
NONSENSE: dict[str, tuple[Place, Any, str]] = {
    "delay -1": (("streaming", "delay"), -1, "streaming.delay is -1; it must be 0 to"),
    "delay -2^63": (("streaming", "delay"), -(2**63), f"streaming.delay is {-(2**63)}; it must be 0 to"),
    "exponent -2^63": ((*STAGES, -1, "outputs", 0, "exponent"), -(2**63), f"exponent of tensor 'output' is {-(2**63)}; it"),
    "delay 2^31": (("streaming", "delay"), 2**31, f"streaming.delay is {2**31}; it must be"),
    "stride 0": (("streaming", "stride"), 0, "streaming.stride is 0; it must be 1 to"),
    "stride 2": (("streaming", "stride"), 2, "streaming.stride is 2, and streaming.window is 3; the window must be a multiple"),
    "trim -2^31": (("streaming", "trim"), -(2**31), f"streaming.trim is {-(2**31)}; it must be"),
    "window 0": (("streaming", "window"), 0, "streaming.window is 0; it must be 1 to"),
    "window 6": (("streaming", "window"), 6, "input 'x' has 3 frames of a window, and streaming.window is 6; they must be equal"),
    "stages": (("streaming", "stages"), 9, "streaming.stages is 9, and esp32s3 has 3; they must be equal"),
    "receptive field": (("streaming", "receptive_field"), -1, "streaming.receptive_field is -1; it must be 0 to"),
    "period 0": (("streaming", "frame_period"), 0.0, "streaming.frame_period is 0.0; it must be above 0 and at most"),
    "period 1e308": (("streaming", "frame_period"), 1e308, "streaming.frame_period is 1e+308; it must be"),
    "edges": (
        ("streaming", "edges"),
        {"output": {"unlike_first": -1, "unlike_last": []}},
        "streaming.edges.output.unlike_first holds -1; it must be 0 to",
    ),
    "too many edges": (
        ("streaming", "edges"),
        {"output": {"unlike_first": 0, "unlike_last": [0] * 99}},
        "streaming.edges.output.unlike_last has 99 numbers, and the stride is",
    ),
    "own stride": (("streaming", "paces"), {"output": {"stride": 0}}, "streaming.paces.output.stride is 0; it must be 1 to"),
    "own trim": (("streaming", "paces"), {"output": {"trim": 10**30}}, f"streaming.paces.output.trim is {10**30}; it must be"),
    "own delay": (("streaming", "paces"), {"output": {"delay": -2}}, "streaming.paces.output.delay is -2; it must be 0 to"),
    "clip": (("streaming", "clip"), {**CLIP, "frames": 0}, "streaming.clip.frames is 0; it must be 1 to"),
    "hop": (("streaming", "clip"), {**CLIP, "hop": 10**30}, f"streaming.clip.hop is {10**30}; it must be 1 to"),
    "no time in": ((*STAGES, 0, "inputs", 0, "time_axis"), None, "streaming.inputs names no input with an axis of time"),
    "no time out": ((*STAGES, -1, "outputs", 0, "time_axis"), None, "time_axis of output 'output' is None; an output"),
    "frames": ((*STAGES, -1, "outputs", 0, "shape", 1), 2**31, f"output 'output' has {2**31} frames of a window of 3"),
}  # fmt: skip

# What only the files contradict, which are read where they are computed.
CONTRADICTED: dict[str, tuple[Place, Any, str]] = {
    "shape": ((*STAGES, -1, "outputs", 0, "shape", 2), 9, "tensor 'output' are ((1, 3, 9), 'int8', "),
    "frames": ((*STAGES, -1, "outputs", 0, "shape", 1), 6, "tensor 'output' are ((1, 6, 8), 'int8', "),
    "exponent": ((*STAGES, 0, "inputs", 0, "exponent"), 11, "tensor 'x' are ((1, 3, 8), 'int8', 11) in the manifest"),
    "dtype": ((*STAGES, -1, "outputs", 0, "dtype"), "int16", "tensor 'output' are ((1, 3, 8), 'int16', "),
}


@pytest.fixture(scope="module")
def whole(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of our own, whose manifest may change."""
    path = shutil.copytree(bundle.path, tmp_path_factory.mktemp("numbers") / "b")
    return read_both(path)[0]


@pytest.fixture
def change(whole: Bundle) -> Iterator[Callable[[Place, Any], Path]]:
    """Replace one value of the manifest, and put all back afterwards."""
    path = whole.path / "manifest.json"
    text = path.read_text()

    def apply(place: Place, value: Any) -> Path:
        path.write_text(json.dumps(replaced(json.loads(text), place, value)))
        return whole.path

    yield apply
    path.write_text(text)


def replaced(values: Any, place: Place, value: Any) -> Any:
    changed = copy.deepcopy(values)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return changed


def places(values: Any, at: Place = ()) -> Iterator[Place]:
    """Yield where the whole numbers are."""
    for key in values.keys() if isinstance(values, dict) else range(len(values)):
        if isinstance(values[key], (dict, list)):
            yield from places(values[key], (*at, key))
        elif isinstance(values[key], int):
            yield (*at, key)


@pytest.mark.parametrize("case", NONSENSE)
def test_numbers_without_sense_are_refused_on_reading(change: Callable[[Place, Any], Path], case: str) -> None:
    place, value, message = NONSENSE[case]
    path = change(place, value)
    for use in (lambda: read_both(path, "esp32s3"), lambda: simulate(path, torch.zeros(8, 9), "esp32s3")):
        with pytest.raises(BundleError, match=re.escape(message)):
            use()


@pytest.mark.parametrize("case", CONTRADICTED)
def test_tensors_that_are_not_those_of_the_file_are_not_computed(
    change: Callable[[Place, Any], Path], case: str
) -> None:
    place, value, message = CONTRADICTED[case]
    path = change(place, value)
    with pytest.raises(BundleError, match=re.escape(message)):
        simulate(path, torch.zeros(8, 9), "esp32s3")


def test_names_that_are_not_those_of_the_file_are_not_computed(change: Callable[[Place, Any], Path]) -> None:
    path = change((*STAGES, -1, "outputs", 0, "name"), "other")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["streaming"]["outputs"] = ["other"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=re.escape("the outputs are ['other'] in the manifest")):
        simulate(path, torch.zeros(8, 9), "esp32s3")


def test_a_cache_starts_with_a_number_of_its_type(tmp_path: Path) -> None:
    bundle = write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    path = bundle.path / "manifest.json"
    changed = replaced(json.loads(path.read_text()), (*STAGES, 0, "caches", 0, "initial"), 300)
    path.write_text(json.dumps(changed))
    with pytest.raises(BundleError, match=r"'block\.conv\.past' is 300; .* be -128 to 127"):
        read_both(bundle.path)


def test_every_number_that_is_computed_with_is_checked(whole: Bundle, change: Callable[[Place, Any], Path]) -> None:
    """All that the form lets pass ends in a value or in an error of this package."""
    simulate(whole.path, torch.zeros(8, 9), "esp32s3")
    parts: tuple[Place, ...] = (("streaming",), (*STAGES, 0, "inputs"), (*STAGES, -1, "outputs"))
    refused = 0
    for part in parts:
        values: Any = whole.manifest
        for key in part:
            values = values[key]
        for place in places(values, part):
            for number in HOSTILE:
                try:
                    simulate(change(place, number), torch.zeros(8, 9), "esp32s3")
                except LightningEspError:
                    refused += 1
    assert refused
