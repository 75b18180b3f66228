"""`quantize`: what stands in the files is what we asked for, and what crosses a file agrees on both sides."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Quantization, Streaming, calibrate, convert, quantize
from lightning_esp.chips import TARGETS
from lightning_esp.errors import EnvironmentMismatchError, QuantizationError, UnknownTargetError
from lightning_esp.espdl import read_espdl
from lightning_esp.espdl.seal import is_sealed
from lightning_esp.quantization import QuantizedModel, TensorInfo, Worker, quantizer
from lightning_esp.quantization.job import ExportedStage, Job
from tests.models.built import Built
from tests.models.contracts import CASES
from tests.models.tutorial_tcn import TutorialTcn, shake

Build = Callable[..., Built]


def of(tensor: TensorInfo) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, tensor.exponent


def in_file(quantized: QuantizedModel, stage: int, name: str) -> tuple[object, ...]:
    found = read_espdl(quantized.stages[stage].data).tensors[name]
    return tuple(found.shape), str(found.dtype), found.exponent


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "int8") for name in CASES), *((name, "int16") for name in ("tutorial", "two_inputs", "recurrent"))],
)
def test_files_keep_our_names_and_agree_at_every_boundary(build: Build, name: str, precision: str) -> None:
    built = build(name, precision)
    quantized, spec = built.quantized, built.model.spec
    shapes = {port.name: port.shape for stage in spec.stages for port in (*stage.inputs, *stage.outputs)}
    shapes |= {cache.name: cache.shape for cache in spec.caches}
    written: dict[str, TensorInfo] = {}
    for index, (stage, file) in enumerate(zip(spec.stages, quantized.stages, strict=True)):
        read = read_espdl(file.data)
        assert set(read.inputs) == set(stage.input_names)
        assert set(read.outputs) == set(stage.output_names)
        for tensor in (*file.inputs, *file.outputs, *(cache.tensor for cache in file.caches)):
            assert of(tensor) == in_file(quantized, index, tensor.name)
            assert tensor.dtype == precision
            assert tensor.shape == tuple(shapes[tensor.name][axis] for axis in tensor.layout)
        for cache in file.caches:
            assert of(cache.tensor) == in_file(quantized, index, cache.next)
        for tensor in file.inputs:
            assert written.get(tensor.name, tensor) == tensor
        written |= {tensor.name: tensor for tensor in file.outputs}
    assert [cache.tensor.name for file in quantized.stages for cache in file.caches] == [c.name for c in spec.caches]


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("recurrent", "two_inputs")])
def test_no_transpose_stands_around_a_cache(build: Build, name: str) -> None:
    types = [op.type for stage in build(name).quantized.stages for op in read_espdl(stage.data).operators]
    assert "Transpose" not in types
    assert "Conv" in types


@pytest.mark.parametrize("name", ["tutorial", "two_caches", "conv2d", "strided", "skip_stages"])
def test_native_caches_are_operators_of_the_file(build: Build, name: str) -> None:
    explicit, native = build(name).quantized, build(name, caches="native").quantized
    for before, after in zip(explicit.stages, native.stages, strict=True):
        operators = [op.type for op in read_espdl(after.data).operators]
        assert operators.count("StreamingCache") == len(before.caches) == len(after.native_caches)
        assert "Slice" not in operators
        assert not after.caches
        assert set(read_espdl(after.data).inputs) == {tensor.name for tensor in after.inputs}
        # The cache itself is the same tensor in both forms.
        assert {of(c.tensor) for c in before.caches} == {of(cache) for cache in after.native_caches}
        assert [of(t) for t in before.outputs] == [of(t) for t in after.outputs]


@pytest.mark.parametrize("name", ["recurrent", "gated_cell"])
def test_recurrent_state_stays_explicit(build: Build, name: str) -> None:
    caches = [cache.tensor.name for stage in build(name, caches="auto").quantized.stages for cache in stage.caches]
    assert caches == [cache.name for cache in build(name).model.spec.caches]


def test_recurrent_state_cannot_be_native(build: Build, worker: Worker) -> None:
    built = build("gated_cell")
    model = replace(built.model, spec=replace(built.model.spec, cache_form="native"))
    with pytest.raises(QuantizationError, match=r"caches='native'\): cache 'state' cannot"):
        quantize(model, built.samples, worker=worker)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_quantized(build: Build, target: str) -> None:
    quantized = build("tutorial", target=target).quantized
    assert quantized.target == target
    assert [stage.name for stage in quantized.stages] == ["stage0", "stage1", "stage2"]
    weights = [t for s in quantized.stages for t in read_espdl(s.data).tensors.values() if "conv" in t.name.lower()]
    assert weights


def test_targets_of_one_family_get_the_same_numbers_and_others_their_own(build: Build) -> None:
    files = {
        target: [_content(s.data) for s in build("tutorial", target=target).quantized.stages] for target in TARGETS
    }
    assert files["esp32"] == files["esp32c3"]
    assert files["esp32"] != files["esp32s3"] != files["esp32p4"]


def _content(data: bytes) -> tuple[str, list[bytes]]:
    """A file without its notes, of which the name of the chip is one."""
    file = read_espdl(data)
    parameters = [tensor.data.tobytes() for tensor in file.tensors.values() if tensor.data is not None]
    return str(replace(file, metadata={})), parameters


def test_a_file_notes_its_chip_and_its_layouts(build: Build) -> None:
    for stage in build("tutorial", target="esp32p4").quantized.stages:
        notes = read_espdl(stage.data).metadata
        assert notes["target"] == "esp32p4"
        layouts = {name: tuple(layout) for name, layout in json.loads(notes["layouts"]).items()}
        tensors = [*stage.inputs, *stage.outputs, *(cache.tensor for cache in stage.caches), *stage.native_caches]
        assert layouts == {tensor.name: tensor.layout for tensor in tensors}
        assert set(layouts.values()) == {(0, 2, 1)}
        assert is_sealed(stage.data)


def test_exponents_of_state_are_tied(worker: Worker) -> None:
    # The state grows: what leaves the last window of a short recording is larger than all that enters one.
    case = CASES["gated_cell"]
    model = convert(case.module(), case.recordings(20)[0], replace(case.streaming, caches="explicit"))
    samples = calibrate(model, case.recordings(*[2] * 64))
    assert samples.values["state"].abs().max() < 4
    job = quantizer._job(model, samples, Quantization(method="minmax"), "esp32s3")

    def exponents(job: Job) -> list[object]:
        _, (stage,) = worker.call("quantize", job)
        tensors = read_espdl(stage.data).tensors
        return [tensors[name].exponent for name in ("state", "state.next")]

    untied = replace(job, stages=tuple(replace(stage, caches=()) for stage in job.stages))
    assert exponents(untied) == [-5, -4], "esp-ppq alone gives both the same exponent: this test shows nothing"
    assert exponents(job) == [-4, -4]


def test_the_bytes_depend_on_nothing_but_the_job(build: Build, capfd: pytest.CaptureFixture[str]) -> None:
    built = build("tutorial")
    # A process of its own, in which nothing was quantized before; and the shared one, in which much was.
    with Worker() as fresh:
        first = quantize(built.model, built.samples, worker=fresh)
        again = quantize(built.model, built.samples, worker=fresh)
    assert [stage.data for stage in first.stages] == [stage.data for stage in built.quantized.stages]
    assert again.stages == first.stages
    assert first.stages == built.quantized.stages
    # esp-ppq's banner, bars and warnings stay in the worker.
    assert capfd.readouterr() == ("", "")


def test_quantize_starts_a_worker_where_none_is_given(build: Build) -> None:
    built = build("stateless")
    assert quantize(built.model, built.samples).stages == built.quantized.stages


@pytest.mark.parametrize("windows", [1, 2, 7, 8, 65])
def test_any_number_of_windows_calibrates(worker: Worker, windows: int) -> None:
    module, recording = CASES["stateless"].module(), torch.randn(8, windows)
    model = convert(module, recording, Streaming(window=1, time_axis=2))
    samples = calibrate(model, [recording])
    assert len(samples) == windows
    assert quantize(model, samples, worker=worker).stages[0].inputs[0].dtype == "int8"


@pytest.mark.parametrize("method", ["kl", "percentile", "mse", "minmax"])
def test_every_method_quantizes(build: Build, worker: Worker, method: str) -> None:
    built = build("two_caches")
    options = Quantization(method=method)  # type: ignore[arg-type]
    (stage,) = quantize(built.model, built.samples, options, worker=worker).stages
    # A range of about 4 in int8: neither clipped away nor wasted.
    assert -7 <= stage.inputs[0].exponent <= -4


def test_a_larger_range_gets_a_larger_exponent(worker: Worker) -> None:
    module = CASES["stateless"].module()
    model = convert(module, torch.randn(8, 20), Streaming(window=2))
    exponents = []
    for scale in (1.0, 8.0):
        samples = calibrate(model, [scale * r for r in CASES["stateless"].recordings(400)])
        exponents.append(quantize(model, samples, worker=worker).stages[0].inputs[0].exponent)
    assert exponents[1] == exponents[0] + 3


def test_chosen_modules_stay_in_int16(build: Build, worker: Worker) -> None:
    built = build("two_caches")
    quantized = quantize(built.model, built.samples, Quantization(int16=("second",)), worker=worker)
    file = read_espdl(quantized.stages[0].data)
    widths = {op.name: str(file.tensors[op.outputs[0]].dtype) for op in file.operators if op.type == "Conv"}
    assert widths == {"/stages.0/first/Conv": "int8", "/stages.0/second/Conv": "int16"}


def test_a_path_that_names_no_module_is_refused(build: Build, worker: Worker) -> None:
    built = build("tutorial")
    # `conv` is only a part of `stage0.conv`.
    with pytest.raises(QuantizationError, match=r"'conv' \.\.\.\]\) names no module .*'stage0"):
        quantize(built.model, built.samples, Quantization(int16=("conv",)), worker=worker)


def test_an_unknown_target_is_refused(build: Build) -> None:
    built = build("stateless")
    with pytest.raises(UnknownTargetError, match="target='esp8266' is not a chip"):
        quantize(built.model, built.samples, target="esp8266")


def test_another_esp_ppq_is_refused(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_esp.versions.version", lambda name: "1.4.0" if name == "esp-ppq" else version(name))
    message = (
        r"esp-ppq 1\.4\.0 is installed, but this package works with 1\.3\.12: .*Run: pip install esp-ppq==1\.3\.12"
    )
    with pytest.raises(EnvironmentMismatchError, match=message):
        quantize(build("stateless").model, build("stateless").samples)


class Normalised(nn.Module):
    """A layer inside a module inside a stage, which esp-ppq can't lay out."""

    class Block(nn.Module):
        def __init__(self, norm: nn.Module) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv1d(8, 8, 1), norm

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.norm(self.conv(x)))

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Normalised.Block(norm)])

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[0](x)

    def streaming_forward(self, x: Tensor) -> Tensor:
        return self.forward(x)


class Lower(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tril(x.unsqueeze(-1)).squeeze(-1)


class FrameNorm(nn.Module):
    """A group norm per frame, so that it streams."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.GroupNorm(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.inner(frame) for frame in x.split(1, dim=2)], dim=2)


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        # Logged only: esp-ppq would have written a file.
        (
            FrameNorm,
            r"reported .*Inst.* module 'blocks\.0\.norm\.inner'",
        ),
        # Raised, deep inside.
        (
            Lower,
            r"RuntimeError: .*Trilu.* module 'blocks\.0\.norm'",
        ),
    ],
)
def test_an_error_of_esp_ppq_names_operator_and_module(
    worker: Worker, norm: Callable[[], nn.Module], message: str
) -> None:
    module, recordings = shake(Normalised(norm())), [torch.randn(8, 40)]
    model = convert(module, recordings[0], Streaming(window=2))
    with pytest.raises(QuantizationError, match=f"(?s){message}"):
        quantize(model, calibrate(model, recordings), worker=worker)
    # The advice; and the worker is as good as new.
    mended = convert(shake(Normalised(nn.BatchNorm1d(8))), recordings[0], Streaming(window=2))
    assert quantize(mended, calibrate(mended, recordings), worker=worker).stages


def test_the_tutorial_at_its_full_size(worker: Worker) -> None:
    torch.manual_seed(0)
    module, recordings = shake(TutorialTcn()), [torch.randn(64, 60), torch.randn(64, 41)]
    streaming = Streaming(window=3, stages=["stage0", "stage1", "stage2"], caches="explicit")
    model = convert(module, recordings[0], streaming)
    quantized = quantize(model, calibrate(model, recordings), worker=worker)
    shapes = [[t.shape for t in (*s.inputs, *s.outputs, *(c.tensor for c in s.caches))] for s in quantized.stages]
    assert shapes == [[(1, 3, 64), (1, 3, 64), (1, 4, 128)], [(1, 3, 64)] * 2, [(1, 3, 64), (1, 3, 64), (1, 4, 64)]]


def test_a_tensor_that_is_missing_in_its_file_is_named(build: Build) -> None:
    built, other = build("tutorial", "int8"), build("two_outputs", "int8").quantized.stages[0]

    class Losing(Worker):
        def __init__(self) -> None:
            pass

        def call(self, function: str, *arguments: object) -> object:
            stages = built.model.spec.stages
            layouts = {name: (0, 1, 2) for stage in stages for name in (*stage.input_names, *stage.output_names)}
            return b"", [ExportedStage(stage.name, other.data, layouts) for stage in stages]

    with pytest.raises(QuantizationError, match=r"tensor 'stage0.output' .* left it out of the file"):
        quantize(built.model, calibrate(built.model, built.recordings), worker=Losing())
