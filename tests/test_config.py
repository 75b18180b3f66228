"""Options refuse what cannot work, by name and value, when they are made."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lightning_esp import Calibration, Deployment, Quantization, Streaming
from lightning_esp.chips import TARGETS, check_target
from lightning_esp.config import Budget, Detector
from lightning_esp.errors import ConfigurationError, LightningEspError, UnknownTargetError

REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Streaming(window=0), "Streaming(window=0) must be at least 1 frame."),
    (lambda: Streaming(window=-3), "Streaming(window=-3) must be at least 1 frame."),
    (lambda: Streaming(stages=0), "Streaming(stages=0) must be at least 1."),
    (lambda: Streaming(stages=[]), "Streaming(stages=[]) names no stage"),
    (lambda: Streaming(stages=["a", "a"]), "Streaming(stages=['a', 'a']) names a submodule twice."),
    (lambda: Streaming(lookahead=-1), "Streaming(lookahead=-1) must be 0 frames or more."),
    (lambda: Streaming(caches="both"), "Streaming(caches='both') must be 'auto'"),  # type: ignore[arg-type]
    (lambda: Streaming(frame_period=0), "Streaming(frame_period=0) must be a positive"),
    (lambda: Calibration(max_recordings=0), "Calibration(max_recordings=0) must be at least 1."),
    (lambda: Calibration(max_windows=0), "Calibration(max_windows=0) must be at least 1."),
    (lambda: Quantization(precision="int4"), "Quantization(precision='int4') must be 'int8'"),  # type: ignore[arg-type]
    (lambda: Quantization(method="best"), "Quantization(method='best') must be 'kl'"),  # type: ignore[arg-type]
    (
        lambda: Quantization("auto", equalization=True),
        "Quantization(precision='auto', equalization=True): 'auto'",
    ),
    (
        lambda: Quantization("auto", search_seconds=0.0),
        "Quantization(search_seconds=0.0) must be a positive",
    ),
    (
        lambda: Quantization(search_seconds=5.0),
        "Quantization(precision='int8', search_seconds=5.0): nothing",
    ),
    (
        lambda: Quantization("auto", refinement="tqt"),
        "Quantization(precision='auto', refinement='tqt'): it tries",
    ),
    (
        lambda: Quantization("int16", refinement="tqt"),
        "Quantization(precision='int16', refinement='tqt'): int16 has",
    ),
    (lambda: Quantization(tolerance=-0.1), "Quantization(tolerance=-0.1) must be 0 or more."),
    (
        lambda: Deployment(name="2fast"),
        "Deployment(name='2fast') becomes a part of C++",
    ),
    (lambda: Deployment(name="Kws"), "Deployment(name='Kws') becomes a part of C++"),
    (lambda: Deployment(name="model_config"), "Deployment(name='model_config') is the name of a header"),
    (lambda: Deployment(name="bundled_model"), "Deployment(name='bundled_model') is the name of a header"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_a_value_that_cannot_work_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        make()


def test_values_at_the_edge_are_taken() -> None:
    assert Streaming(window=1, stages=1, lookahead=0, frame_period=1e-6).window == 1
    assert Streaming(stages=["a", "a.b"]).stages == ["a", "a.b"]
    assert Calibration(max_recordings=1, max_windows=1).max_windows == 1
    assert Quantization(tolerance=0).tolerance == 0
    assert Deployment(name="kws_2").name == "kws_2"


@pytest.mark.parametrize("options", [Streaming(), Calibration(), Quantization(), Deployment()])
def test_options_are_frozen_but_not_slotted(options: object) -> None:
    # LightningCLI reads `vars()` of each.
    assert set(vars(options)) == {field.name for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, next(iter(vars(options))), None)
    assert options == type(options)()
    assert type(options).__doc__
    assert all(f"{name}: " in str(type(options).__doc__) for name in vars(options))


def test_nine_targets_are_known() -> None:
    assert len(set(TARGETS)) == 9
    assert [check_target(target) for target in TARGETS] == list(TARGETS)


@pytest.mark.parametrize("target", ["esp32h2", "ESP32S3", "", "esp32-s3"])
def test_another_target_is_refused_and_all_are_named(target: str) -> None:
    with pytest.raises(UnknownTargetError) as raised:
        check_target(target)
    assert str(raised.value).startswith(f"target={target!r} is not a chip that ESP-DL supports; use one of ")
    assert all(known in str(raised.value) for known in TARGETS)


def test_a_wrong_option_is_a_value_error_and_ours() -> None:
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(UnknownTargetError, LightningEspError)


WRONG_TYPES: list[tuple[type, dict[str, object], str]] = [
    (Streaming, {"window": "4"}, "Streaming(window='4') must be a whole number"),
    (Streaming, {"window": 2.5}, "Streaming(window=2.5) must be a whole number, 'auto' or None"),
    (Streaming, {"window": True}, "Streaming(window=True) must be a whole number"),
    (Streaming, {"stages": "ab"}, "Streaming(stages='ab') must be a list of"),
    (Streaming, {"inputs": {"x": "strem"}}, "Streaming(inputs={'x': 'strem'}) must be a dict"),
    (Streaming, {"frame_period": math.inf}, "Streaming(frame_period=inf) must be a positive"),
    (Calibration, {"seed": "x"}, "Calibration(seed='x') must be a whole number."),
    (Quantization, {"int16": "0"}, "Quantization(int16='0') must be a tuple of"),
    (Budget, {"flash": "100"}, "Budget(flash='100') must be a whole number or None."),
    (Detector, {"average": 2.5}, "Detector(average=2.5) must be a whole number or None."),
    (Deployment, {"golden": "no"}, "Deployment(golden='no') must be True or False."),
    (Deployment, {"detector": 0.5}, "Deployment(detector=0.5) must be a Detector or None."),
    (Deployment, {"labels": (True, False)}, "Deployment(labels=(True, False)) must be a tuple of"),
    (Deployment, {"labels": ("a", "a")}, "Deployment(labels=['a', 'a']) names a class twice"),
    (Deployment, {"labels": ("\ud800",)}, "Deployment(labels=['\\ud800']) must be names"),
    (Deployment, {"name": "a" * 65}, f"Deployment(name='{'a' * 65}') becomes a part of C++"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "message"), WRONG_TYPES, ids=[message[:50] for *_, message in WRONG_TYPES])
def test_a_value_of_a_wrong_type_is_refused(kind: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        kind(**options)


@pytest.mark.parametrize(("window", "hint"), [("4", "YAML takes what stands in quotes"), (True, "YAML takes yes, no")])
def test_what_yaml_makes_of_a_value_is_told(window: Any, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        Streaming(window=window)


@pytest.mark.parametrize("kind", [Streaming, Calibration, Quantization, Budget, Detector, Deployment])
def test_every_option_is_checked(kind: type) -> None:
    for field in dataclasses.fields(kind):
        with pytest.raises(ConfigurationError, match=rf"^{kind.__name__}\({field.name}=<object"):
            kind(**{field.name: object()})


def test_numbers_of_numpy_and_sequences_are_taken() -> None:
    assert Streaming(window=np.int64(4)).window == 4
    assert Quantization(tolerance=0, int16=["a", "b"]).int16 == ["a", "b"]  # type: ignore[arg-type]
    assert Detector(threshold={"yes": 1}).threshold == {"yes": 1}
