"""`verify`: the proofs that hold, and the golden windows that come out of them."""

from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
import torch

from lightning_esp import Quantization, QuantizedModel, Streaming, calibrate, convert, quantize, verify
from lightning_esp.errors import DataError, EspdlOperatorError
from lightning_esp.quantization import Worker
from lightning_esp.quantization.executor import ExecutorStream
from lightning_esp.simulation import IntegerPipeline, integer_windows, interpret
from lightning_esp.verification import Golden
from lightning_esp.verification.verify import GOLDEN_WINDOWS
from tests.models.built import Built
from tests.models.contracts import CASES
from tests.models.tutorial_tcn import TutorialTcn, shake

Build = Callable[..., Built]


def batch_of(name: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {key: torch.randn(4, *shape, generator=generator) for key, shape in CASES[name].shapes(60).items()}


def check(built: Built, worker: Worker) -> dict[str, float]:
    result = verify(built.module, built.model, built.quantized, built.recordings, worker=worker)
    assert all(proof.passed and proof.figure <= proof.limit for proof in result.proofs)
    return {proof.name: proof.figure for proof in result.proofs}


@pytest.mark.parametrize("caches", ["explicit", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_int8_files_equal_the_graph_in_every_value(build: Build, worker: Worker, name: str, caches: str) -> None:
    built = build(name, caches=caches)
    figures = check(built, worker)
    assert list(figures) == [
        "float parity, float32",
        "float parity, float64",
        "esp-ppq's graph equals the streaming form in float32",
        "boundaries agree",
        "files window by window equal esp-ppq's uncut graph over whole recordings",
        "a batch equals single recordings",
        "shifts of accumulators are not negative",
        "tensors keep their bytes in ESP-DL's memory until they are read",
        "accumulators fit 20 bits (ESP32-S3)",
        *(f"output {port.name!r} follows the float network" for port in built.model.spec.outputs),
    ]
    assert [figures[name] for name in list(figures)[3:8]] == [0, 0, 0, 0, 0]
    assert figures["accumulators fit 20 bits (ESP32-S3)"] > 100


@pytest.mark.parametrize("name", ["tutorial", "two_inputs", "recurrent"])
def test_int16_files_stay_within_the_steps_that_esp_dl_takes(build: Build, worker: Worker, name: str) -> None:
    check(build(name, "int16"), worker)


@pytest.mark.parametrize("target", ["esp32s3", "esp32p4"])
@pytest.mark.parametrize("name", ["two_caches", "strided", "valid", "conv2d", "skip_stages"])
def test_int16_sums_agree_to_the_bit(build: Build, worker: Worker, name: str, target: str) -> None:
    figures = check(build(name, "int16", target), worker)
    assert figures["files window by window equal esp-ppq's uncut graph over whole recordings"] == 0


@pytest.mark.parametrize(("name", "target"), [("two_inputs", "esp32s3"), ("gated_cell", "esp32p4")])
def test_an_int16_product_may_end_one_step_off(build: Build, worker: Worker, name: str, target: str) -> None:
    # ESP-DL's float32 holds 24 of the 30 bits of a product, so a value next to a tie may go the other way.
    built = build(name, "int16", target)
    windows = integer_windows(built.quantized, batch_of(name))
    ours, theirs = interpret(built.quantized).run(windows), ExecutorStream(built.quantized, worker).run(windows)
    gaps = [np.abs(a[n].astype(int) - b[n]) for a, b in zip(ours, theirs, strict=True) for n in a if n in b]
    assert max(int(gap.max()) for gap in gaps) <= 1
    assert sum(int(gap.sum()) for gap in gaps) <= 0.001 * sum(gap.size for gap in gaps)


@pytest.mark.parametrize("target", ["esp32p4", "esp32"])
@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_the_other_families_are_proved_too(build: Build, worker: Worker, target: str, precision: str) -> None:
    figures = check(build("tutorial", precision, target), worker)
    assert figures["boundaries agree"] == 0


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_the_tutorial_at_its_full_size(worker: Worker, precision: str) -> None:
    torch.manual_seed(0)
    module, recordings = shake(TutorialTcn()), [torch.randn(64, n) for n in (60, 41, 50)]
    streaming = Streaming(window=3, stages=["stage0", "stage1", "stage2"], caches="explicit")
    model = convert(module, recordings[0], streaming)
    samples = calibrate(model, recordings)
    quantized = quantize(model, samples, Quantization(precision=precision), worker=worker)
    check(Built(module, recordings, model, samples, quantized), worker)


@pytest.mark.parametrize(
    ("name", "caches"), [("tutorial", "explicit"), ("two_outputs", "explicit"), ("tutorial", "auto")]
)
def test_golden_windows_replay(build: Build, worker: Worker, name: str, caches: str) -> None:
    built = build(name, caches=caches)
    golden = verify(built.module, built.model, built.quantized, built.recordings, worker=worker).golden
    spec = built.model.spec
    assert golden.windows >= GOLDEN_WINDOWS == 200
    assert set(golden.inputs) == {port.name for port in spec.inputs}
    assert set(golden.outputs) == {port.name for stage in spec.stages for port in stage.outputs}
    explicit = [cache.tensor.name for stage in built.quantized.stages for cache in stage.caches]
    assert set(golden.caches) == set(explicit)
    assert golden.resets[:3] == (0, *np.cumsum([spec.windows(40), spec.windows(41)]))
    _replay(interpret(built.quantized), golden)


def _replay(files: IntegerPipeline, golden: Golden) -> None:
    """Window by window, as the firmware does: state back to its start at a reset, and every byte equal."""
    after = {cache.tensor.name: cache.next for stage in files.files for cache in stage.caches}
    for index in range(golden.windows):
        if index in golden.resets:
            state = files.initial_state(1)
        outputs, state = files.step({n: v[index : index + 1] for n, v in golden.inputs.items()}, state)
        for name, values in golden.outputs.items():
            assert np.array_equal(outputs[name][0], values[index])
        for name, values in golden.caches.items():
            assert np.array_equal(outputs[after[name]][0], values[index])


def test_a_later_stage_sees_what_an_earlier_one_wrote(build: Build) -> None:
    # Pipelined means: the stages read each other's integers, nothing else.
    built = build("tutorial")
    files = interpret(built.quantized)
    rng = np.random.default_rng(0)
    state = files.initial_state(2)
    for _ in range(5):
        window = {"x": rng.integers(-128, 128, (2, 3, 8)).astype(np.int8)}
        outputs, after = files.step(window, state)
        values = window["x"]
        for file, stream in zip(files.files, files.streams, strict=True):
            given = {file.inputs[0].name: values} | {c.tensor.name: state[c.tensor.name] for c in file.caches}
            found, _ = stream.step(given, {})
            values = found[file.outputs[0].name]
            assert np.array_equal(values, outputs[file.outputs[0].name])
        state = after


def test_verify_starts_a_worker_where_none_is_given(build: Build) -> None:
    built = build("stateless")
    assert verify(built.module, built.model, built.quantized, built.recordings).proofs


def test_no_recordings_are_refused(build: Build, worker: Worker) -> None:
    built = build("stateless")
    with pytest.raises(DataError, match="there are no recordings"):
        verify(built.module, built.model, built.quantized, [], worker=worker)


def test_an_operator_that_esp_dl_gets_wrong_is_named_with_its_module(
    build: Build, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(quantized: QuantizedModel) -> IntegerPipeline:
        raise EspdlOperatorError("Div '/stages.0/gate/Div' (output output): planted.")

    monkeypatch.setattr(import_module("lightning_esp.verification.verify"), "interpret", refuse)
    built = build("stateless")
    with pytest.raises(EspdlOperatorError, match=r"(?s)planted\..*comes from module '.*gate'\. Replace it"):
        verify(built.module, built.model, built.quantized, [built.recordings[0]], worker=worker)
