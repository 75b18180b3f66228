"""Small models of every form that a bundle can hold, with made-up integers: what a writer and a pipeline must keep apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lightning_esp.conversion.spec import Cache, Port, Stage, StreamSpec
from lightning_esp.frontend import Normalize
from lightning_esp.quantization.quantized_model import CacheInfo, QuantizedModel, StageFile, TensorInfo
from lightning_esp.verification.proof import Array, Golden, Proof, Verification

NWC = (0, 2, 1)
NCW = (0, 1, 2)
NHWC = (0, 2, 3, 1)

Result = tuple[QuantizedModel, Verification]


def tensor(
    name: str,
    shape: Sequence[int],
    dtype: str = "int8",
    exponent: int = -4,
    layout: Sequence[int] = NWC,
    time_axis: int | None = 1,
) -> TensorInfo:
    return TensorInfo(name, tuple(shape), dtype, exponent, tuple(layout), time_axis)


def cache(name: str, shape: Sequence[int], initial: int = 0, dtype: str = "int8", exponent: int = -5) -> CacheInfo:
    return CacheInfo(tensor(name, shape, dtype, exponent), f"{name}.next", initial)


def one_stage(target: str = "esp32s3", seed: int = 0) -> Result:
    """One stage, two caches of different size, one stream input and one output."""
    x, y = tensor("x", (1, 3, 4)), tensor("output", (1, 3, 5), exponent=-3)
    caches = (cache("block.conv.past", (1, 4, 4)), cache("block.skip.past", (1, 2, 4)))
    return make_result((StageFile("stage_0", b"", (x,), (y,), caches),), window=3, target=target, seed=seed)


def sensor_stage(result: Result | None = None) -> tuple[Result, dict[str, Any]]:
    """A model of raw readings, with the description of its normalisation; its figures are powers of two, so nothing rounds."""
    quantized, verification = one_stage() if result is None else result
    golden, info = verification.golden, quantized.stages[0].inputs[0]
    count = info.shape[info.layout.index(1)]
    normalize = Normalize([10.0 * index for index in range(count)], [2.0 ** (index % 3) for index in range(count)])
    assert info.time_axis is not None
    frames = np.moveaxis(golden.inputs[info.name], info.time_axis, 1).astype(np.float32) * 2.0**info.exponent
    readings = frames.reshape(*frames.shape[:2], count) * normalize.scale.numpy() + normalize.mean.numpy()
    told = replace(verification, golden=replace(golden, readings=readings.astype(np.float32)))
    return (quantized, told), normalize.describe()


def three_stages(target: str = "esp32s3", seed: int = 1) -> Result:
    """Three stages: a skip past one of them, a held input, a cache that does not start at zero, two outputs."""
    x, speaker = tensor("x", (1, 3, 4)), tensor("speaker", (1, 6), layout=(0, 1), time_axis=None)
    h0, skip = tensor("encoder", (1, 3, 8)), tensor("encoder_1", (1, 3, 2), exponent=-2)
    h1 = tensor("middle", (1, 3, 8), exponent=-6)
    y, gate = tensor("output", (1, 3, 5)), tensor("output_1", (1, 3, 1))
    stages = (
        StageFile("encoder", b"", (x,), (h0, skip), (cache("encoder.a", (1, 2, 4)), cache("encoder.b", (1, 6, 4), 3))),
        StageFile("0.middle", b"", (h0, speaker), (h1,), ()),
        StageFile("head", b"", (h1, x, skip), (y, gate), (cache("head.past", (1, 2, 8), -7),)),
    )
    return make_result(stages, window=3, target=target, seed=seed)


def recurrent_stages(target: str = "esp32s3", seed: int = 6) -> Result:
    """Three stages of which the first holds a GRU: what is behind it may be a step off."""
    model, verification = three_stages(target, seed)
    tolerances = {"encoder": 1, "encoder.a": 1, "middle": 1, "output": 2, "head.past": 1}
    return model, replace(verification, golden=replace(verification.golden, tolerances=tolerances))


def int16_stage(target: str = "esp32s3", seed: int = 2) -> Result:
    """int16 in torch's own layout: the frames of a window are interleaved. Two inputs, no cache, a window of 4."""
    x = tensor("x", (1, 5, 4), "int16", -9, NCW, 2)
    second = tensor("second", (1, 4, 3), "int16", -9)
    y = tensor("output", (1, 2, 4), "int16", -8, NCW, 2)
    return make_result((StageFile("stage_0", b"", (x, second), (y,), ()),), window=4, target=target, seed=seed)


def mixed_stage(target: str = "esp32s3", seed: int = 4) -> Result:
    """A cache that the file keeps itself beside one that the loop feeds back, in the other order in the float model."""
    x, y = tensor("x", (1, 3, 4)), tensor("output", (1, 3, 5))
    native = tensor("conv.past", (1, 6, 4), time_axis=None)
    stage = StageFile("stage_0", b"", (x,), (y,), (cache("rnn.h", (1, 1, 4)),), (native,))
    model, verification = make_result((stage,), window=3, target=target, seed=seed)
    (only,) = model.spec.stages
    stages = (replace(only, caches=only.caches[::-1]),)
    return replace(model, spec=replace(model.spec, stages=stages, cache_form="auto")), verification


def paced_stage(target: str = "esp32s3", seed: int = 5) -> Result:
    """Two outputs, one of which has a stride, a trim and a delay of its own."""
    x, y, slow = tensor("x", (1, 4, 4)), tensor("output", (1, 4, 5)), tensor("output_1", (1, 2, 1))
    model, verification = make_result((StageFile("stage_0", b"", (x,), (y, slow), ()),), 4, target, seed)
    own = replace(
        model.spec.outputs[1], stride=2, trim=1, delay=0, unlike_first=1, unlike_last=(2,) * model.spec.stride
    )
    outputs = (model.spec.outputs[0], own)
    stages = (replace(model.spec.stages[0], outputs=outputs),)
    return replace(model, spec=replace(model.spec, outputs=outputs, stages=stages)), verification


def image_stage(target: str = "esp32s3", seed: int = 3) -> Result:
    """A 2-D model with several channels, a float output, and a label per class."""
    x = tensor("x", (1, 2, 3, 2), layout=NHWC, time_axis=1)
    y = tensor("output", (1, 2, 3), "float32", 0, (0, 1, 2), 1)
    state = CacheInfo(tensor("rnn.h", (1, 1, 4), layout=(0, 1, 2), time_axis=None), "rnn.h.next", 0)
    return make_result((StageFile("stage_0", b"", (x,), (y,), (state,)),), window=2, target=target, seed=seed)


def make_result(
    stages: Sequence[StageFile],
    window: int,
    target: str,
    seed: int,
    windows: int = 20,
    resets: Sequence[int] = (0, 7, 13),
) -> Result:
    """Wrap stages into a model with a spec, file bytes and golden windows of their own."""
    rng = np.random.default_rng(seed)
    files = tuple(replace(stage, data=b"EDL2" + rng.bytes(60 + 16 * index)) for index, stage in enumerate(stages))
    spec = make_spec(files, window)
    made = {info.name for stage in stages for info in stage.outputs}
    inputs = {info.name: info for stage in stages for info in stage.inputs if info.name not in made}
    golden = Golden(
        inputs={name: draw(rng, info, windows) for name, info in inputs.items()},
        outputs={info.name: draw(rng, info, windows) for stage in stages for info in stage.outputs},
        caches={c.tensor.name: draw(rng, c.tensor, windows) for stage in stages for c in stage.caches},
        resets=tuple(resets),
    )
    model = QuantizedModel(target, "int8", spec, files, {"esp-ppq": "1.3.12"})
    proofs = (Proof("float parity", 2e-7, 1e-5, True, "block.conv"), Proof("signal", float("inf"), 1.0, True))
    metrics = {"val_accuracy": 0.9375}, {"val_accuracy": 0.931640625}
    return model, Verification(proofs, golden, ("a remainder of 2 frames was dropped",), *metrics)


def make_spec(stages: Sequence[StageFile], window: int) -> StreamSpec:
    made = {info.name for stage in stages for info in stage.outputs}
    read = {info.name for stage in stages for info in stage.inputs}
    ports = {info.name: port(info) for stage in stages for info in (*stage.inputs, *stage.outputs)}
    return StreamSpec(
        window=window,
        stride=1,
        inputs=tuple(found for name, found in ports.items() if name not in made),
        outputs=tuple(found for name, found in ports.items() if name in made and name not in read),
        stages=tuple(
            Stage(
                stage.name,
                tuple(ports[info.name] for info in stage.inputs),
                tuple(ports[info.name] for info in stage.outputs),
                (
                    *(
                        Cache(c.tensor.name, port(c.tensor).shape, c.initial * 2.0**c.tensor.exponent)
                        for c in stage.caches
                    ),
                    *(Cache(tensor.name, port(tensor).shape) for tensor in stage.native_caches),
                ),
            )
            for stage in stages
        ),
        delay=1,
        receptive_field=11,
        frame_period=0.01,
    )


def port(info: TensorInfo) -> Port:
    shape = [0] * len(info.shape)
    for size, axis in zip(info.shape, info.layout, strict=True):
        shape[axis] = size
    return Port(info.name, tuple(shape), None if info.time_axis is None else info.layout[info.time_axis])


def draw(rng: np.random.Generator, info: TensorInfo, windows: int) -> Array:
    shape = (windows, *info.shape[1:])
    if info.dtype == "float32":
        return rng.standard_normal(shape).astype(np.float32)
    limits = np.iinfo(info.dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=info.dtype, endpoint=True)


def read_files(directory: Path) -> dict[str, bytes]:
    """Return what a directory holds, by path inside it."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
