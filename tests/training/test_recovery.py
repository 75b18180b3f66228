"""The lines that a failed run prints are code: every option of ours can be in them."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import pytest

from lightning_esp import Budget, Calibration, Deployment, Detector, Quantization, Streaming
from lightning_esp.training.recovery import import_names
from lightning_esp.training.settings import describe_arguments

BUDGET = Budget(flash=10**6, ram=10**5, step_us=1e3)
DETECTORS = [
    Detector({"a": math.inf, "b": 0.5}, 3, 2, 5, "sigmoid", 0.5, 0.2, True),
    Detector(float("inf")),
    Detector(np.float64(0.25)),
]
OPTIONS: list[Any] = [
    Streaming(
        "auto", ["a.b", "c"], 2, {"x": "stream", "y": "held"}, 3, "native", 0.01, 0.05, outputs=["logits", "out.0"]
    ),
    Streaming(clip=98, hop=7, clip_form="sliding"),
    Calibration(3, 4, 5),
    Quantization("int16", "mse", math.inf, ("a.b",), True, 10.0),
    Quantization("auto", search_seconds=30.0),
    Quantization(refinement="adaround"),
    *(
        Deployment(("a", "b"), False, "kws", BUDGET, detector, {"kind": "MFCC", "mean": [0.5]})
        for detector in DETECTORS
    ),
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: type(option).__name__)
def test_every_option_can_be_read_back_from_its_code(option: Any) -> None:
    code = describe_arguments({"option": option, "target": ["esp32s3"]})
    names: dict[str, Any] = {}
    exec("\n".join([*import_names(code, "export"), f"found = dict({code})"]), names)
    assert names["found"] == {"option": option, "target": ["esp32s3"]}
    assert callable(names["export"])


def test_the_options_differ_from_their_defaults_in_every_field() -> None:
    for kind in {type(option) for option in (*OPTIONS, BUDGET, DETECTORS[0])}:
        found = [option for option in (*OPTIONS, BUDGET, DETECTORS[0]) if type(option) is kind]
        given = [f for f in fields(kind) if f.default is not MISSING]
        assert [f.name for f in given if all(getattr(option, f.name) == f.default for option in found)] == []
