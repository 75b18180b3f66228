"""Prints what four ways to stream a model cost per window, side by side, from the operators of their files.

    python benchmarks/operators.py [--target esp32s3]

The ways: our native caches, our explicit ones, explicit caches as the tutorial of ESP-DL has them (the same graph, written
by esp-ppq as it is), and esp-ppq's own `auto_streaming` of the offline model. The last is run in our interpreter of
`.espdl` files as well: its output over a whole recording must be as close to the float model as ours, or it is wrong. Its
file keeps the shapes of whole recordings inside, so they are worked out for a window first. It is wrong wherever a cached
tensor has a second reader, as in every residual network; `plain` is the recipe's network without its skips.

Bytes moved are those that Transpose, Concat, Slice, StreamingCache, Requantize and Pad write; `peak` are the bytes that
ESP-DL allocates for all tensors. A cached convolution of n frames with a window of w frames moves 2n + w frames in both of our
forms, and 3n + 3w in the tutorial's. Of the recipe's network, the costliest stage is printed next to the costliest segment
of `Model::run(stage_num, i)`, which cuts the one native file by the number of operators.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "recipes"))

from tcn import KeywordTcn

from lightning_esp import QuantizedModel, Streaming, StreamingModel, calibrate, convert, quantize
from lightning_esp.cost import Traffic, traffic_of
from lightning_esp.errors import LightningEspError
from lightning_esp.espdl import EspdlInterpreter, EspdlModel, read_espdl
from lightning_esp.inspection.simulator import QuantizedStreaming
from lightning_esp.quantization import Worker
from lightning_esp.quantization.onnx_graph import graph_inputs, to_onnx
from tests.models.architectures import bc_resnet, tc_resnet
from tests.models.tutorial_tcn import TutorialTcn, shake

FRAMES = 96


class Plain(nn.Module):
    """The recipe's depthwise-separable convolutions in a row, without skips."""

    def __init__(self, channels: int = 80, dilations: Sequence[int] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.stem = nn.Conv1d(32, channels, 1)
        self.depthwise = nn.ModuleList(nn.Conv1d(channels, channels, 5, dilation=d, groups=channels) for d in dilations)
        self.pointwise = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in dilations)
        self.head = nn.Conv1d(channels, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, 32, frames]` to `[batch, 12, frames]`."""
        x = torch.relu(self.stem(x))
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = torch.relu(pointwise(depthwise(nn.functional.pad(x, (4 * depthwise.dilation[0], 0)))))
        y: Tensor = self.head(x)
        return y


class OverBins(nn.Module):
    """The BC-ResNet-like network with a mean over its bins, since ONNX has no pool that keeps the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*list(bc_resnet().children())[:3])

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, 1, bins, frames]` to `[batch, channels, frames]`."""
        y: Tensor = self.blocks(x).mean(dim=2)
        return y


@dataclass(frozen=True)
class Case:
    """A network, the shape of a recording of n frames, its time axis (batch in front), and how it is streamed."""

    make: Callable[[], nn.Module]
    shape: Callable[[int], tuple[int, ...]]
    axis: int
    streaming: Streaming

    def module(self) -> nn.Module:
        """The network, the same each time."""
        torch.manual_seed(0)
        return shake(self.make()).requires_grad_(False)

    def recordings(self) -> list[Tensor]:
        """Noise to calibrate with."""
        generator = torch.Generator().manual_seed(1)
        return [torch.randn(self.shape(FRAMES), generator=generator) for _ in range(8)]


CASES = {
    "recipe": Case(
        lambda: KeywordTcn(32, 12, 80, 5, (1, 2, 4, 8, 1, 2, 4, 8)), lambda n: (32, n), 2, Streaming(window=4)
    ),
    "plain": Case(Plain, lambda n: (32, n), 2, Streaming(window=4)),
    "tc_resnet": Case(tc_resnet, lambda n: (5, n), 2, Streaming(window=8)),
    "bc_resnet": Case(OverBins, lambda n: (1, 10, n), 3, Streaming(window=4, time_axis=3)),
    "tutorial": Case(TutorialTcn, lambda n: (64, n), 2, Streaming(window=3, stages=["stage0", "stage1", "stage2"])),
}


@dataclass(frozen=True)
class Form:
    """One way to stream a model: its files, cache bytes that are inputs, and decibels of its output over its error."""

    files: tuple[EspdlModel, ...]
    cache_inputs: int
    decibels: float | None
    note: str = ""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--target", default="esp32s3")
    arguments.add_argument("--models", nargs="*", default=list(CASES))
    options = arguments.parse_args()
    torch.set_num_threads(1)
    with Worker() as worker:
        for name in options.models:
            print_model(name, options.target, worker)
        print_stages(options.target, worker)


def print_model(name: str, target: str, worker: Worker) -> None:
    forms = {
        "ours, native": ours(name, "native", target, worker),
        "ours, explicit": ours(name, "explicit", target, worker),
        "tutorial's explicit": tutorial(name, target),
        "auto_streaming": auto_streaming(name, target),
    }
    window = CASES[name].streaming.window
    forms["auto_streaming"] = judged(forms["auto_streaming"], forms["ours, native"])
    print(f"\n{name}, {window} frames a window, {target}")
    heads = ("operators", "Transpose", "moved", "MACs", "caches", "parameters", "peak", "dB")
    print(f"{'':22}" + "".join(f"{head:>11}" for head in heads))
    for label, form in forms.items():
        print(f"{label:22}" + "".join(f"{cell:>11}" for cell in cells(form)) + f"  {form.note}")


def judged(form: Form, ours: Form) -> Form:
    """Say of a form that runs whether it computes what the model does."""
    if form.decibels is None or ours.decibels is None or form.note:
        return form
    return replace(
        form, note="right" if form.decibels > ours.decibels - 3 else "wrong: another output than the model's"
    )


def cells(form: Form) -> Iterator[str]:
    if not form.files:
        yield from ["-"] * 8
        return
    traffics = [traffic_of(file) for file in form.files]

    def total(value: Callable[[Traffic], int]) -> str:
        return str(sum(map(value, traffics)))

    yield total(lambda traffic: sum(traffic.operators.values()))
    yield total(lambda traffic: traffic.operators.get("Transpose", 0))
    yield total(lambda traffic: traffic.moved)
    yield total(lambda traffic: traffic.multiplications)
    yield str(sum(traffic.caches for traffic in traffics) + form.cache_inputs)
    yield total(lambda traffic: traffic.parameters)
    # The stages of a pipeline hold their memory all the time.
    yield total(lambda traffic: traffic.peak)
    yield "-" if form.decibels is None else f"{form.decibels:.1f}"


def build(name: str, caches: str, stages: Any = None) -> tuple[nn.Module, StreamingModel, list[Tensor]]:
    case = CASES[name]
    module, recordings = case.module(), case.recordings()
    options = replace(case.streaming, caches=caches, stages=stages or case.streaming.stages)  # type: ignore[arg-type]
    return module, convert(module, recordings[0], options), recordings


def ours(name: str, caches: str, target: str, worker: Worker) -> Form:
    module, model, recordings = build(name, caches)
    quantized = quantize(model, calibrate(model, recordings), target=target, worker=worker)
    inputs = sum(prod(cache.tensor.shape) for stage in quantized.stages for cache in stage.caches)
    output = QuantizedStreaming(quantized)(torch.stack(recordings))
    return Form(read_files(quantized), inputs, decibels(module(torch.stack(recordings)), output))


def read_files(quantized: QuantizedModel) -> tuple[EspdlModel, ...]:
    return tuple(read_espdl(stage.data) for stage in quantized.stages)


def decibels(expected: Tensor, found: Tensor) -> float:
    error = (found - expected).square().sum()
    return float(10 * torch.log10(expected.square().sum() / error)) if error > 0 else float("inf")


def tutorial(name: str, target: str) -> Form:
    """The streaming graph as the tutorial hands it to esp-ppq: one ONNX file per stage, caches as inputs."""
    _, model, recordings = build(name, "explicit")
    samples = calibrate(model, recordings)
    known = dict(samples.values)
    files, caches = [], 0
    for stage, part in zip(model.spec.stages, model.stages, strict=True):
        spec = replace(model.spec, inputs=stage.inputs, outputs=stage.outputs, stages=(stage,))
        alone = replace(model, spec=spec, stages=(part,))
        rows = [known[key] for key in graph_inputs(spec)]
        job = {"onnx": to_onnx(alone), "rows": rows, "shapes": list(graph_inputs(spec).values()), "target": target}
        files.append(read_espdl(upstream("explicit", job)))
        caches += sum(prod(cache.shape) for cache in stage.caches)
        with torch.no_grad():
            known |= dict(zip(stage.output_names, part(*rows), strict=True))
    return Form(tuple(files), caches, None)


def auto_streaming(name: str, target: str) -> Form:
    """esp-ppq's own conversion of the offline model; compared with the float model through the interpreter."""
    case, recordings = CASES[name], CASES[name].recordings()
    shape = [1, *case.shape(case.streaming.window or 1)]
    job = {
        "onnx": offline_onnx(case),
        "rows": [torch.stack(recordings)],
        "shapes": [[1, *case.shape(FRAMES)]],
        "streaming": shape,
        "target": target,
    }
    try:
        file = read_espdl(upstream("auto", job))
    except (subprocess.CalledProcessError, LightningEspError) as error:
        return Form((), 0, None, f"not exported: {last_line(error)}")
    counted = (for_window(file, case),)
    try:
        return Form(counted, 0, judge(file, target, case, recordings[:2]))
    except Exception as error:  # whatever a wrong file makes of itself is what is reported
        return Form(counted, 0, None, f"wrong: {type(error).__name__}: {str(error)[:80]}")


def offline_onnx(case: Case) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        example = torch.zeros(1, *case.shape(FRAMES))
        torch.onnx.export(case.module(), (example,), file, input_names=["x"], opset_version=18, dynamo=False)
        return file.read_bytes()


def for_window(file: EspdlModel, case: Case) -> EspdlModel:
    """The file with the frames that its tensors have in one window, channels being last."""
    axis = case.axis - 1
    frames = {file.inputs[0]: case.streaming.window or 1}
    for operator in file.operators:
        given = [frames[name] for name in operator.inputs if name in frames]
        if not given:
            continue
        found = max(given)
        if operator.type == "StreamingCache" and operator.attributes["frame_axis"] == axis:
            found += int(operator.attributes["window_size"]) - 1
        elif "kernel_shape" in operator.attributes:
            kernel, stride = (operator.attributes[key][axis - 1] for key in ("kernel_shape", "strides"))
            dilation = operator.attributes.get("dilations", (1,) * axis)[axis - 1]
            found = max(1, (found - (kernel - 1) * dilation - 1) // stride + 1)
        frames |= dict.fromkeys(operator.outputs, found)

    def cut(tensor: Any) -> Any:
        if tensor.name not in frames or len(tensor.shape) < 3:
            return tensor
        shape = list(tensor.shape)
        shape[min(axis, len(shape) - 2)] = frames[tensor.name]
        return replace(tensor, shape=tuple(shape))

    return replace(file, tensors={name: cut(tensor) for name, tensor in file.tensors.items()})


def judge(file: EspdlModel, target: str, case: Case, recordings: Sequence[Tensor]) -> float:
    """Step a file over recordings and compare with the offline model in every layout of the output that fits."""
    batch = torch.stack(list(recordings))
    expected = case.module()(batch)
    interpreter = EspdlInterpreter(file, target)
    state = interpreter.initial_state(len(batch))
    tensor = file.tensors[file.inputs[0]]
    order = input_order(tuple(batch.shape[1:]), tensor.shape, case)
    outputs = []
    for window in batch.split(case.streaming.window or 1, dim=case.axis):
        integers = np.clip(np.floor(window.permute(order).numpy() * 2.0 ** -_exponent(tensor) + 0.5), -128, 127)
        found, state = interpreter.step({tensor.name: integers.astype(np.int8)}, state)
        outputs.append(torch.from_numpy(file.tensors[file.outputs[0]].dequantize(found[file.outputs[0]])))
    return best_match(expected, outputs)


def _exponent(tensor: Any) -> int:
    assert isinstance(tensor.exponent, int)
    return tensor.exponent


def input_order(recording: tuple[int, ...], shape: tuple[int, ...], case: Case) -> tuple[int, ...]:
    plain = (1, *case.shape(case.streaming.window or 1))
    last = (0, *range(2, len(plain)), 1)
    return last if shape == tuple(plain[axis] for axis in last) else tuple(range(len(plain)))


def best_match(expected: Tensor, outputs: Sequence[Tensor]) -> float:
    best = -float("inf")
    for order in ((0, 1, 2), (0, 2, 1)):
        if expected.ndim != 3 or outputs[0].ndim != 3:
            break
        joined = torch.cat([output.permute(order) for output in outputs], dim=2)
        if joined.shape == expected.shape:
            best = max(best, decibels(expected, joined))
    if best == -float("inf"):
        raise ValueError(
            f"gives {tuple(outputs[0].shape)} a window, but the model gives {tuple(expected.shape)} in all"
        )
    return best


def upstream(way: str, job: Mapping[str, Any]) -> bytes:
    """Run esp-ppq in a process of its own and return the file that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "job").write_bytes(pickle.dumps(dict(job)))
        command = [sys.executable, __file__, "--upstream", way, folder]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return (Path(folder) / "model.espdl").read_bytes()


def last_line(error: Exception) -> str:
    text = str(getattr(error, "stderr", "") or error).strip()
    return text.splitlines()[-1][:100] if text else type(error).__name__


def run_upstream(way: str, folder: Path) -> None:
    from esp_ppq.api import espdl_quantize_onnx

    job = pickle.loads((folder / "job").read_bytes())
    common = {
        "espdl_export_file": str(folder / "model.espdl"),
        "target": job["target"],
        "device": "cpu",
        "error_report": False,
        "verbose": 0,
    }
    (folder / "model.onnx").write_bytes(job["onnx"])
    rows = [[row[i : i + 1] for row in job["rows"]] for i in range(len(job["rows"][0]))]
    streaming = {"auto_streaming": True, "streaming_input_shape": job["streaming"]} if way == "auto" else {}
    espdl_quantize_onnx(
        onnx_import_file=str(folder / "model.onnx"),
        calib_dataloader=rows,
        calib_steps=len(rows),
        input_shape=[list(shape) for shape in job["shapes"]],
        inputs=rows[0],
        **streaming,
        **common,
    )


def print_stages(target: str, worker: Worker) -> None:
    """The costliest stage of the recipe's network, ours and by the number of operators."""
    _, whole, recordings = build("recipe", "native")
    one = quantize(whole, calibrate(whole, recordings), target=target, worker=worker).estimate
    assert one is not None
    print(f"\n{one}")
    if one.window_us is None:
        return
    for stages in (2, 3, 4):
        _, model, _ = build("recipe", "native", stages)
        cut = quantize(model, calibrate(model, recordings), target=target, worker=worker).estimate
        assert cut is not None
        assert cut.step_us is not None
        assert cut.window_us is not None
        segment = one.cut_by_count(stages)
        assert segment is not None
        print(
            f"{stages} stages: the costliest takes {cut.step_us:.0f} us, {cut.step_us * stages / cut.window_us:.3f} x total / "
            f"{stages}; run({stages}, i) of one file {segment:.0f} us, {segment * stages / one.window_us:.3f} x total / {stages}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--upstream"]:
        run_upstream(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
