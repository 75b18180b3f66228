"""The firmware on the host: bundles from the Python writer, run by the C++ of idf_project under the sanitizers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightning_esp.bundle import Bundle, write_bundle
from lightning_esp.config import Deployment
from lightning_esp.verification.proof import Array, Golden
from tests.bundle import handmade
from tests.cpp.host_build import build, copy_with_scripts, run
from tests.cpp.script import forge_bytes, read_golden
from tests.support.host import needs_cmake, silent_ends

CASES = {
    "kws": silent_ends,
    "vad": handmade.three_stages,
    "int16": handmade.int16_stage,
    "image": handmade.image_stage,
    "rnn": handmade.recurrent_stages,
}


def off_by(values: Array, where: Sequence[int], steps: int) -> Array:
    """Move a few values by a number of steps, away from the ends of their type."""
    moved = values.reshape(-1).copy()
    moved[list(where)] = np.where(moved[list(where)] > 0, moved[list(where)] - steps, moved[list(where)] + steps)
    return moved.reshape(values.shape)


def fused(golden: Golden, where: Sequence[int], steps: int) -> Golden:
    """Return what a chip with other float32 sums makes: the first cache off by `steps` at the places `where`."""
    name = next(iter(golden.caches))
    return replace(golden, caches={**golden.caches, name: off_by(golden.caches[name], where, steps)})


# Which values of the first cache a chip makes otherwise, by how many steps, and what the firmware says.
FUSED = {
    "a_step": ([5, 77, 130], 1, "PASS 20 windows"),
    "two_steps": ([5, 77, 130], 2, "FAIL 20 windows: stages differ from the host"),
    "everywhere": (range(160), 1, "FAIL 20 windows: stages differ from the host"),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("host")
    copies = []
    for name, case in CASES.items():
        result = case()
        bundle = write_bundle({"esp32s3": result}, directory / "bundles" / name, Deployment(name=name, labels=("a",)))
        copies.append(copy_with_scripts(bundle, "esp32s3", result[1].golden, directory / "scripts" / name))
    result, frontend = handmade.sensor_stage(silent_ends())
    for name, shift in (("motion", 0), ("drift", 1)):
        moved = replace(result[1].golden, readings=result[1].golden.readings + np.float32(shift))
        bundle = write_bundle(
            {"esp32s3": (result[0], replace(result[1], golden=moved))},
            directory / "bundles" / name,
            Deployment(name=name, frontend=frontend),
        )
        copies.append(copy_with_scripts(bundle, "esp32s3", result[1].golden, directory / "scripts" / name))
    quantized, verification = handmade.three_stages()
    golden = replace(verification.golden, caches={n: v + 1 for n, v in verification.golden.caches.items()})
    bundle = write_bundle(
        {"esp32s3": (quantized, verification)}, directory / "bundles" / "wrong", Deployment(name="wrong")
    )
    copies.append(copy_with_scripts(bundle, "esp32s3", golden, directory / "scripts" / "wrong"))
    for name, (where, steps, _) in FUSED.items():
        result = handmade.recurrent_stages()
        golden = result[1].golden
        bundle = write_bundle({"esp32s3": result}, directory / "bundles" / name, Deployment(name=name))
        copies.append(
            copy_with_scripts(bundle, "esp32s3", golden, directory / "scripts" / name, fused(golden, where, steps))
        )
    without = write_bundle(
        {"esp32s3": handmade.one_stage()}, directory / "bundles" / "silent", Deployment(golden=False)
    )
    copies.append(
        copy_with_scripts(without, "esp32s3", handmade.one_stage()[1].golden, directory / "scripts" / "silent")
    )
    return build(directory / "build", copies)


@needs_cmake
def test_parts_without_a_model(programs):
    done = run(programs / "units")
    assert (done.returncode, done.stdout) == (0, "PASS units\n"), done.stdout + done.stderr


@needs_cmake
@pytest.mark.parametrize("name", CASES)
def test_the_firmware_replays_every_golden_window(programs, name):
    done = run(programs / f"replay_{name}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("PASS 20 windows\n"), done.stdout
    assert re.findall(r"(\d+) differ \((\d+) within tolerance\)", done.stdout) == [("0", "0")] * len(
        CASES[name]()[0].stages
    )


@needs_cmake
@pytest.mark.parametrize("name", CASES)
def test_the_pipeline_keeps_its_contract(programs, name):
    done = run(programs / f"checks_{name}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 of 20 windows" in done.stdout
    assert re.search(r"first difference: window 3, tensor output(_1)?, index \d+: expected \S+, got \S+", done.stdout)
    assert done.stdout.endswith("PASS checks\n")


@needs_cmake
def test_a_sensor_feeds_frames_of_its_own(programs):
    """Every output frame of its recording is printed, that which trails included, and the values are the golden ones."""
    quantized, verification = silent_ends()
    golden, (output,) = verification.golden, quantized.stages[0].outputs
    done = run(programs / "sensor_kws")
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^((?:-?\d+\.\d{4} )+)$", done.stdout, re.MULTILINE)
    frames = golden.outputs["output"][: golden.resets[1]].reshape(-1, output.shape[2])
    expected = frames[: -quantized.spec.window + quantized.spec.delay] * 2.0**output.exponent
    assert quantized.spec.delay == 1
    assert [[float(value) for value in line.split()] for line in lines] == expected.round(4).tolist()
    assert f"{len(lines) - 1} steps, " in done.stdout


@needs_cmake
def test_a_sensor_feeds_raw_readings(programs):
    """The stand-in of ESP-DL stops where it is fed other integers than the golden ones."""
    done = run(programs / "sensor_motion")
    assert done.returncode == 0, done.stderr
    (quantized, verification), _ = handmade.sensor_stage(silent_ends())
    golden, (output,) = verification.golden, quantized.stages[0].outputs
    first = golden.outputs["output"][0].reshape(-1, output.shape[2])[0] * 2.0**output.exponent
    lines = re.findall(r"^((?:-?\d+\.\d{4} )+)$", done.stdout, re.MULTILINE)
    assert [float(value) for value in lines[0].split()] == first.round(4).tolist()


@needs_cmake
def test_golden_readings_are_compared_with_golden_windows(programs):
    (_, verification), _ = handmade.sensor_stage(silent_ends())
    values = verification.golden.readings.size
    good, bad = (run(programs / f"replay_{name}").stdout for name in ("motion", "drift"))
    assert f"readings: 20 windows, 0 of {values} values differ\n" in good
    assert good.endswith("PASS 20 windows\n")
    (differing,) = re.findall(r"readings: 20 windows, (\d+) of", bad)
    assert int(differing) > values / 2
    assert bad.endswith("FAIL 20 windows: front end differ from the host\n")


@needs_cmake
def test_a_model_with_several_inputs_says_who_writes_the_others(programs):
    text = run(programs / "sensor_vad").stdout
    assert text.startswith("The model has 2 inputs, and this firmware feeds the first.")
    assert text.endswith("FAIL ESP_ERR_NOT_SUPPORTED\n")


@needs_cmake
def test_two_models_run_side_by_side(programs):
    done = run(programs / "two_models")
    assert (done.returncode, done.stdout) == (0, "PASS two models\n"), done.stdout + done.stderr


@needs_cmake
def test_a_pipeline_that_writes_state_straight_back_is_stopped(programs):
    done = run(programs / "write_back", "write-back")
    assert done.returncode != 0
    assert re.search(r"FAKE stage_0: window 1: input block\.\S+ was fed", done.stderr)
    assert run(programs / "write_back", "copy").stdout == "PASS copy\n"


@needs_cmake
def test_a_tensor_of_another_exponent_is_stopped(programs):
    done = run(programs / "write_back", "requantize")
    assert done.returncode != 0
    assert "another shape, type or exponent" in done.stderr


@needs_cmake
def test_the_first_difference_of_every_stage_is_printed(programs):
    done = run(programs / "replay_wrong")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\nFAIL 20 windows: stages differ from the host\n")
    differences = re.findall(r"stage (\S+): .*\n  first difference: window (\d+), CRC32 of cache (\S+), ", done.stdout)
    assert differences == [("encoder", "0", "encoder.a"), ("head", "0", "head.past")]


@needs_cmake
@pytest.mark.parametrize("name", FUSED)
def test_a_step_behind_a_recurrent_layer_is_tolerated_and_does_not_travel(programs, name):
    """The script stops where it is fed another state than the host's, so every window must have started from that."""
    where, _, verdict = FUSED[name]
    done = run(programs / f"replay_{name}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"every window started from the host's state, since gates are float32\n{verdict}\n")
    differing, tolerated = re.findall(r"stage encoder: .* (\d+) differ \((\d+) within tolerance\)", done.stdout)[0]
    count = str(len(where))
    assert (differing, tolerated) == ((count, "0") if name == "two_steps" else ("0", count))
    assert ("cache encoder.a, index 5" in done.stdout) == (name == "two_steps")


@needs_cmake
def test_a_bundle_without_golden_windows_says_so(programs):
    done = run(programs / "replay_silent")
    assert done.returncode == 0, done.stderr
    assert "holds no golden windows" in done.stdout


def test_a_recurrent_bundle_holds_states_and_tolerances(tmp_path):
    result = handmade.recurrent_stages()
    bundle = write_bundle({"esp32s3": result}, tmp_path / "rnn")
    found, golden = read_golden(bundle, "esp32s3"), result[1].golden
    assert found.tolerances == {name: golden.tolerances.get(name, 0) for name in found.tolerances}
    assert list(found.tolerances) == [
        "encoder",
        "encoder_1",
        "encoder.a",
        "encoder.b",
        "middle",
        "output",
        "output_1",
        "head.past",
    ]
    assert all((found.caches[name] == values).all() for name, values in golden.caches.items())


def test_scripts_of_a_bundle_have_the_golden_checksums(tmp_path):
    quantized, verification = handmade.three_stages()
    bundle = write_bundle({"esp32s3": (quantized, verification)}, tmp_path / "kws")
    assert isinstance(bundle, Bundle)
    found, golden = read_golden(bundle, "esp32s3"), verification.golden
    assert found.resets == golden.resets
    assert all((found.inputs[name] == values).all() for name, values in golden.inputs.items())
    assert all((found.outputs[name] == values).all() for name, values in golden.outputs.items())
    for name, values in golden.caches.items():
        assert [zlib.crc32(v.tobytes()) for v in found.caches[name]] == [zlib.crc32(v.tobytes()) for v in values]


@pytest.mark.parametrize("count", [4, 5, 64])
def test_forged_bytes_have_the_checksum(count):
    for crc in (0, 1, 0xFFFFFFFF, 0xCBF43926):
        assert zlib.crc32(forge_bytes(count, crc, seed=count)) == crc
