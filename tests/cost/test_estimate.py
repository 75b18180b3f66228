"""Estimates of whole models, and the limits that they are held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightning_esp import Deployment
from lightning_esp.bundle import write_bundle
from lightning_esp.config import Budget
from lightning_esp.cost import Estimate, Work, cut_by_count, traffic_of, work_of
from lightning_esp.errors import BudgetError, ConfigurationError, EspdlFormatError
from lightning_esp.espdl import EspdlModel, Operator, read_espdl
from lightning_esp.espdl.espdl_model import Tensor
from tests.bundle import handmade
from tests.models.built import Built

Build = Callable[..., Built]


def estimated(built: Built) -> Estimate:
    assert built.quantized.estimate is not None
    return built.quantized.estimate


def make_model(operators: list[tuple[str, str, str]], sizes: dict[str, int], inputs: str, outputs: str) -> EspdlModel:
    """A graph of `(type, inputs, outputs)` with int8 tensors of `sizes` bytes, names being single letters."""
    tensors = {name: Tensor(name, (1, size), np.dtype(np.int8)) for name, size in sizes.items()}
    made = tuple(Operator(f"op{i}", kind, {}, tuple(a), tuple(b)) for i, (kind, a, b) in enumerate(operators))
    return EspdlModel("graph", 0, made, tensors, tuple(inputs), tuple(outputs), {}, {}, {})


def test_memory_is_what_esp_dl_allocates() -> None:
    sizes = {"a": 10, "b": 100, "c": 5, "d": 50}
    # In sixteens: a (16) and b (112) lie side by side, c in place of b, whose bytes it needs no more; d (64) needs room.
    skip = make_model([("Conv", "a", "b"), ("Relu", "b", "c"), ("Concat", "ca", "d")], sizes, "a", "d")
    assert traffic_of(skip).peak == 16 + 112 + 64
    # Without the skip, a and then b are given back: c lies where a was, d where b was.
    chain = make_model([("Conv", "a", "b"), ("Conv", "b", "c"), ("Conv", "c", "d")], sizes, "a", "d")
    assert traffic_of(chain).peak == 16 + 112


def test_a_graph_in_no_order_has_no_memory() -> None:
    model = make_model([("Conv", "b", "c"), ("Conv", "a", "b")], {"a": 1, "b": 1, "c": 1}, "a", "c")
    with pytest.raises(EspdlFormatError, match=r"'op0' reads \['b'\], which no operator before"):
        traffic_of(model)


def test_a_convolution_in_a_file_does_the_work_of_its_shape(build: Build) -> None:
    quantized = build("two_caches", caches="native").quantized
    file = read_espdl(quantized.stages[0].data)
    works = {op.type: work_of(file, op) for op in file.operators}
    # 8 channels count as 16; a window of 2 frames; kernel 3.
    assert works["Conv"] == Work(1, 2 * 3 * 16 * 16, 0, 2 * 8)
    traffic = traffic_of(file)
    # Each cache of n frames behind a window of 2: 2n + 2 frames of 8 channels.
    assert traffic.moved == sum(8 * (2 * n + 2) for n in (2, 4))
    assert traffic.caches == 8 * (2 + 4)
    assert traffic.multiplications == 2 * (2 * 3 * 8 * 8)
    assert traffic.operators["StreamingCache"] == 2


def test_explicit_and_native_move_the_same_bytes_and_explicit_needs_one_operator_more(build: Build) -> None:
    found = [
        traffic_of(read_espdl(build("two_caches", caches=c).quantized.stages[0].data)) for c in ("explicit", "native")
    ]
    assert found[0].moved == found[1].moved
    assert sum(found[0].operators.values()) == sum(found[1].operators.values()) + 2


def test_an_estimate_adds_up(build: Build) -> None:
    for target in ("esp32s3", "esp32p4"):
        found = estimated(build("tutorial", target=target))
        times = [stage.microseconds for stage in found.stages]
        assert found.window_us == pytest.approx(sum(times))  # type: ignore[arg-type]
        assert found.step_us == max(times)  # type: ignore[type-var]
        for stage, file in zip(found.stages, build("tutorial", target=target).quantized.stages, strict=True):
            assert stage.flash == len(file.data)
            assert stage.microseconds == pytest.approx(sum(layer.microseconds or 0 for layer in stage.layers))
        assert found.psram < found.flash
        tensors = sum(stage.activations + stage.caches + stage.copies for stage in found.stages)
        # What ESP-DL takes for itself does not depend on the sizes of tensors.
        assert found.runtime == 4096 + 440 * len(found.layers)
        assert found.ram == found.buffers + tensors + found.runtime
        assert "leave-one-out over" in str(found)
        assert "estimate for" in str(found)


def test_layers_are_named_by_their_modules(build: Build) -> None:
    names = [layer.name for layer in estimated(build("tutorial")).layers]
    assert "stage0.prev_conv (Conv)" in names
    assert "stage2.conv (Conv)" in names


def test_a_chip_without_figures_has_memory_but_no_time(build: Build) -> None:
    found = estimated(build("tutorial", target="esp32c3"))
    assert found.window_us is None
    assert found.step_us is None
    assert found.cut_by_count(2) is None
    assert found.ram > 0
    assert "no public figures" in str(found)


def test_more_channels_cost_more_of_everything(build: Build) -> None:
    small, large = estimated(build("two_caches")), estimated(build("tutorial"))
    assert large.flash > small.flash
    assert (large.window_us or 0) > (small.window_us or 0)


@pytest.mark.parametrize("segments", [1, 2, 3, 4, 7])
def test_a_cut_by_count_is_that_of_the_runtime(segments: int) -> None:
    times = [float(n * n % 11 + 1) for n in range(10)]
    # start = index * size / num; end = (index + 1) * size / num, in integers.
    parts = [times[i * 10 // segments : (i + 1) * 10 // segments] for i in range(segments)]
    assert sum(len(part) for part in parts) == 10
    assert cut_by_count(times, segments) == max(map(sum, parts))


def test_the_manifest_holds_the_estimate_and_says_that_it_is_one(build: Build, tmp_path: Path) -> None:
    built = build("tutorial")
    made = with_estimate(estimated(built))
    bundle = write_bundle({"esp32s3": made}, tmp_path / "kws")
    values = bundle.manifest["targets"]["esp32s3"]["estimate"]
    found = estimated(built)
    assert values["kind"] == "an estimate, not a measurement"
    assert values["window_us"] == round(found.window_us or 0)
    assert values["step_us"] == round(found.step_us or 0)
    assert values["step_us_cut_by_count"]["1"] == values["window_us"]
    assert values["step_us_cut_by_count"]["3"] == round(found.cut_by_count(3) or 0)
    assert (values["ram"], values["psram"], values["flash"]) == (found.ram, found.psram, found.flash)
    assert values["runtime"] == found.runtime
    header = (bundle.path / "components/lesp_model/esp32s3/model_config.hpp").read_text()
    assert f"kEstimatedRam = {found.ram};" in header
    assert f"kEstimatedParameters = {found.psram};" in header
    assert values["error"]["text"] == str(found.error)
    assert [stage["name"] for stage in values["stages"]] == [stage.name for stage in found.stages]
    assert sum(stage["layers"] for stage in values["stages"]) == len(found.layers)


def with_estimate(estimate: Estimate) -> handmade.Result:
    model, verification = handmade.three_stages()
    return replace(model, estimate=estimate), verification


def three_largest(estimate: Estimate, key: Callable[..., float]) -> list[str]:
    return [layer.name for layer in sorted(estimate.layers, key=key, reverse=True)[:3]]


@pytest.mark.parametrize("limit", ["flash", "ram", "step_us"])
def test_a_budget_fails_the_export_before_anything_is_replaced(build: Build, tmp_path: Path, limit: str) -> None:
    estimate = estimated(build("tutorial"))
    result = with_estimate(estimate)
    found = getattr(estimate, limit)
    bundle = write_bundle({"esp32s3": result}, tmp_path / "kws", Deployment(budget=Budget(**{limit: int(found) + 1})))
    before = handmade.read_files(bundle.path)
    with pytest.raises(BudgetError, match=rf"Budget\({limit}=\d+\)\): .* is estimated at .* three costliest") as caught:
        write_bundle({"esp32s3": result}, tmp_path / "kws", Deployment(budget=Budget(**{limit: int(found) - 1})))
    assert handmade.read_files(bundle.path) == before
    # Three layers, by module and type.
    named = str(caught.value).split("layers are ")[1]
    assert named.count(" with ") == 3
    keys = {"flash": lambda layer: layer.parameters, "ram": lambda layer: layer.work.written}
    if limit in keys:
        assert all(name in named for name in three_largest(estimate, keys[limit]))
    else:
        assert "leave-one-out" in str(caught.value)


def test_a_limit_of_time_needs_a_chip_with_figures(build: Build, tmp_path: Path) -> None:
    model, verification = handmade.three_stages("esp32c3")
    result = replace(model, estimate=estimated(build("tutorial", target="esp32c3"))), verification
    write_bundle({"esp32c3": result}, tmp_path / "kws", Deployment(budget=Budget(ram=10**6)))
    with pytest.raises(BudgetError, match="nobody has published figures for esp32c3"):
        write_bundle({"esp32c3": result}, tmp_path / "kws", Deployment(budget=Budget(step_us=1e6)))


@pytest.mark.parametrize("limit", ["flash", "ram", "step_us"])
def test_a_budget_must_be_positive(limit: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"Budget\({limit}=0\) must be a positive number"):
        Budget(**{limit: 0})
