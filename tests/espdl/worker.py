"""Quantize networks of the zoo with esp-ppq and record what its executor computes; run as a process of its own.

Usage: python worker.py JOBS.json OUT_DIR. Every job is {"name", "network", "target", "bits", "seed", "steps"}; for
each, OUT_DIR gets NAME.espdl and NAME.npz with integer inputs and outputs in the file's layout, step by step, the
caches fed back. esp-ppq prints and logs much, hence the process.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from esp_ppq.api import espdl_quantize_onnx, get_target_platform
from esp_ppq.executor import TorchExecutor
from esp_ppq.parser.espdl.espdl_typedef import ExporterPatternInfo

from lightning_esp.espdl.espdl_model import EspdlModel, Tensor
from lightning_esp.espdl.reader import read_espdl
from tests.espdl.zoo import ZOO, Network, random_network
from tests.espdl.zoo_more import MORE, MORE_REFUSED

PERMS: dict[str, list[int]] = {}


def remember_layouts() -> None:
    """The exporter forgets each tensor's permutation when it is done; keep it."""
    forget = ExporterPatternInfo.reset

    def reset(info: ExporterPatternInfo) -> None:
        PERMS.clear()
        PERMS.update(info.var_permute)
        forget(info)

    ExporterPatternInfo.reset = reset


def randomize(module: torch.nn.Module) -> None:
    """Give biases and batch-norm statistics values that show when they are lost."""
    for name, values in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            values.data.normal_(0, 0.5)
        elif name.endswith("running_var"):
            values.data.uniform_(0.5, 2.0)


def quantize(job: dict[str, object], network: Network, path: Path) -> TorchExecutor:
    torch.manual_seed(int(job["seed"]))
    randomize(network.module)
    network.module.eval()
    options = dict(network.options)
    if "int16" in options:
        wide = get_target_platform(str(job["target"]), "w16a16")
        options["dispatching_override"] = dict.fromkeys(options.pop("int16"), wide)
    example = tuple(torch.randn(shape) for shape in network.inputs.values())
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / "model.onnx")
        names = {"input_names": list(network.inputs), "output_names": list(network.outputs)}
        torch.onnx.export(network.module, example, source, opset_version=18, dynamo=False, **names)
        batches = [[torch.randn(shape) for shape in network.inputs.values()] for _ in range(8)]
        graph = espdl_quantize_onnx(
            source,
            str(path),
            [batch if len(batch) > 1 else batch[0] for batch in batches],
            8,
            [list(shape) for shape in network.inputs.values()],
            inputs=list(example),
            target=str(job["target"]),
            num_of_bits=int(job["bits"]),
            device="cpu",
            error_report=False,
            export_config=False,
            export_test_values=True,
            metadata_props={"network": str(job["network"])},
            **options,
        )
    return TorchExecutor(graph, device="cpu")


def to_torch(tensor: Tensor, values: np.ndarray) -> torch.Tensor:
    floats = torch.from_numpy(tensor.dequantize(values))
    return floats.permute(*np.argsort(PERMS[tensor.name]).tolist()).contiguous()


def to_file(tensor: Tensor, values: torch.Tensor) -> np.ndarray:
    moved = values.detach().permute(PERMS[tensor.name]).numpy()
    if tensor.dtype.kind == "f":
        return moved.astype(np.float32)
    steps = np.ldexp(moved.astype(np.float64), -tensor.exponent)
    assert np.array_equal(steps, np.round(steps)), f"{tensor.name} is off its grid"
    return steps.astype(tensor.dtype)


def record(
    executor: TorchExecutor, model: EspdlModel, network: Network, steps: int, seed: int
) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    caches = {name: np.zeros(model.tensors[name].shape, model.tensors[name].dtype) for name in network.feedback}
    rows: dict[str, list[np.ndarray]] = {}
    for _ in range(steps):
        inputs = dict(caches)
        for name in set(network.inputs) - set(caches):
            tensor = model.tensors[name]
            limits = np.iinfo(tensor.dtype)
            spread = (limits.max + 1) / draw.choice([1.5, 3.0, 8.0])
            inputs[name] = np.clip(draw.normal(0, spread, tensor.shape).round(), limits.min, limits.max).astype(
                tensor.dtype
            )
        # The executor takes the graph's inputs in its own order, so they are given by name.
        floats = {name: to_torch(model.tensors[name], inputs[name]) for name in executor._graph.inputs}
        results = dict(zip(executor._graph.outputs, executor.forward(floats), strict=True))
        outputs = {name: to_file(model.tensors[name], value) for name, value in results.items()}
        caches = {name: outputs[following] for name, following in network.feedback.items()}
        for key, values in (
            {f"in:{n}": v for n, v in inputs.items()} | {f"out:{n}": v for n, v in outputs.items()}
        ).items():
            rows.setdefault(key, []).append(values)
    return {key: np.stack(values) for key, values in rows.items()}


def run(job: dict[str, object], out: Path) -> None:
    name = str(job["network"])
    torch.manual_seed(int(job["seed"]))
    network = random_network(int(job["seed"])) if name == "random" else (ZOO | MORE | MORE_REFUSED)[name]()
    path = out / f"{job['name']}.espdl"
    executor = quantize(job, network, path)
    arrays = record(executor, read_espdl(path), network, int(job["steps"]), int(job["seed"]))
    np.savez(out / f"{job['name']}.npz", **arrays)
    (out / f"{job['name']}.json").write_text(json.dumps({"feedback": network.feedback, "perms": PERMS}))


def main() -> None:
    torch.set_num_threads(1)
    # esp-ppq collects garbage before each of its passes, and would look through all that torch imported every time.
    gc.freeze()
    remember_layouts()
    jobs, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for job in jobs:
        try:
            run(job, out)
        except Exception as error:
            (out / f"{job['name']}.error").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
