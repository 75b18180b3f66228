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
    Detector({"a": math.inf, "b": 0.5}, 3, 2, 5, "sigmoid", 0.5, True),
    Detector(float("inf")),
    Detector(np.float64(0.25)),
]
OPTIONS: list[Any] = [
    Streaming(
        "auto", ["a.b", "c"], 2, {"x": "stream", "y": "held"}, 3, "native", 0.01, 0.05, outputs=["logits", "out.0"]
    ),
    Calibration(3, 4, 5),
    Quantization("int16", "mse", math.inf, ("a.b",), True, 10.0),
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
    for option in (*OPTIONS[:4], BUDGET, DETECTORS[0]):
        same = [f.name for f in fields(option) if f.default is not MISSING and getattr(option, f.name) == f.default]
        assert same == []
