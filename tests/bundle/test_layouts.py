"""The layouts in manifest and header are what the firmware must feed: read back through them, the integers are the model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_esp.bundle import Bundle, write_bundle
from lightning_esp.quantization import Worker
from lightning_esp.quantization.job import Array
from lightning_esp.verification.proof import Verification
from lightning_esp.verification.verify import prove_integers
from tests.models.built import Built

TARGET = "esp32s3"
# A 1-D and a 2-D model, in which no two axes of a tensor that matters have one size.
MODELS = ("tutorial", "conv2d", "strided")
FORMS = ("explicit", "native")


@pytest.fixture(params=[(model, form) for model in MODELS for form in FORMS], ids="-".join)
def written(
    request: pytest.FixtureRequest, build: Callable[..., Built], worker: Worker, tmp_path: Path
) -> tuple[Built, Verification, Bundle]:
    name, form = request.param
    built = build(name, caches=form)
    verification = prove_integers(built.quantized, built.recordings, worker)
    return built, verification, write_bundle({TARGET: (built.quantized, verification)}, tmp_path / "bundle")


def read_header(bundle: Bundle) -> dict[str, tuple[list[int], list[int], int, int]]:
    """Shape, layout, exponent and time axis of every tensor in `model_config.hpp`, by name."""
    text = (bundle.path / f"components/lesp_model/{TARGET}/model_config.hpp").read_text()
    pattern = (
        r'\{\.name = "([^"]+)", [^{}]*\.exponent = (-?\d+), [^{}]*\.shape = \{([^}]*)\}, '
        r"\.layout = \{([^}]*)\}, \.time_axis = (-?\d+)"
    )
    found = re.findall(pattern, text)
    numbers = [
        ([int(n) for n in shape.split(",")], [int(n) for n in layout.split(",")]) for *_, shape, layout, _ in found
    ]
    return {
        name: (shape, layout, int(exponent), int(axis))
        for (name, exponent, _, _, axis), (shape, layout) in zip(found, numbers, strict=True)
    }


def all_tensors(bundle: Bundle) -> dict[str, dict[str, Any]]:
    stages = bundle.manifest["targets"][TARGET]["stages"]
    return {t["name"]: t for stage in stages for key in ("inputs", "outputs", "caches") for t in stage[key]}


def test_header_and_manifest_agree_on_every_tensor_that_is_fed(written: tuple[Built, Verification, Bundle]) -> None:
    _, _, bundle = written
    header = read_header(bundle)
    fed = {name: t for name, t in all_tensors(bundle).items() if t.get("form") != "native"}
    assert set(header) == set(fed)
    for name, values in fed.items():
        axis = -1 if values["time_axis"] is None else values["time_axis"]
        assert header[name] == (values["shape"], values["layout"], values["exponent"], axis)


def test_shapes_are_those_of_the_model_in_this_order_of_axes(written: tuple[Built, Verification, Bundle]) -> None:
    built, _, bundle = written
    spec = built.model.spec
    shapes = {port.name: port.shape for stage in spec.stages for port in (*stage.inputs, *stage.outputs)}
    shapes |= {cache.name: cache.shape for cache in spec.caches}
    times = {port.name: port.time_axis for stage in spec.stages for port in (*stage.inputs, *stage.outputs)}
    found = all_tensors(bundle)
    assert set(found) == set(shapes)
    for name, values in found.items():
        assert values["shape"] == [shapes[name][axis] for axis in values["layout"]]
        # A conv of ESP-DL takes channels last: NWC or NHWC, its caches too.
        assert values["layout"] == [0, *range(2, len(values["shape"])), 1]
        if "form" not in values and values["time_axis"] is not None:
            assert values["layout"][values["time_axis"]] == times[name]


def test_golden_integers_read_through_the_layout_are_the_float_model(
    written: tuple[Built, Verification, Bundle],
) -> None:
    built, verification, bundle = written
    values = all_tensors(bundle)["output"]
    first = built.recordings[0]
    assert isinstance(first, torch.Tensor)
    expected = built.model.run(first[None])
    assert isinstance(expected, torch.Tensor)
    windows = verification.golden.outputs["output"][: verification.golden.resets[1]]

    time = built.model.spec.outputs[0].time_axis
    assert time is not None
    turned = torch.from_numpy(_turn(windows, values["layout"], values["exponent"]))
    joined = torch.cat(list(turned), dim=time).narrow(time, built.model.delay, expected.shape[time])
    decibels = 10 * torch.log10(expected.square().sum() / (joined - expected).square().sum())
    assert float(decibels) > 15


def _turn(windows: Array, layout: list[int], exponent: int) -> Array:
    """Integers `[windows, *file shape without batch]` as floats in torch's order, batch 1 in front."""
    order = np.argsort(layout)
    real: Array = np.ldexp(windows.astype(np.float32), exponent)[:, None]
    return np.stack([window.transpose(order) for window in real])
