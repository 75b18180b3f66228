"""The firmware with slots for models: which one runs, and what its console takes."""

from __future__ import annotations

import os
import re
import struct
import subprocess

import pytest

from lightning_esp.bundle import pack_image, write_bundle
from lightning_esp.bundle.codec import encode
from lightning_esp.bundle.schema import EstimateEntry
from lightning_esp.config import Deployment, Detector
from tests.cpp.host_build import PROJECT, build
from tests.cpp.script import with_scripts
from tests.support.host import needs_cmake, silent_ends

pytestmark = needs_cmake

LABELS = ("a", "b", "c", "d", "e")
EVENT = r"^event (\w) \(\d\) at "


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    """A program whose app has a model without a detector, and the container of another one, with labels and a detector."""
    directory = tmp_path_factory.mktemp("slots")
    quantized, verification = silent_ends()
    result = {"esp32s3": (with_scripts(quantized, verification.golden), verification)}
    bundle = write_bundle(result, directory / "slots", Deployment(name="slots"))
    detector = Detector(0.01, activation="sigmoid")
    other = write_bundle(result, directory / "other", Deployment(LABELS, name="newest", detector=detector))
    estimate = EstimateEntry(ram=1000)
    other.manifest["targets"]["esp32s3"]["estimate"] = encode(estimate)  # more than FAKE_FREE_BYTES=1
    programs = build(directory / "build", [bundle.path], programs=["update_slots", "replay_slots"])
    return programs / "update_slots", pack_image(other)


def start(firmware, directory, container, **environment):
    (directory / "model_a").write_bytes(container.ljust(32 * 1024, b"\xff"))
    (directory / "model_b").write_bytes(b"\xff" * 32 * 1024)
    environment = {**os.environ, "FAKE_PARTITIONS": str(directory), **environment}
    done = subprocess.run([firmware[0]], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    # What is called of ESP-IDF is told there, too, beside what is logged for information.
    done.stderr = "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("I "))
    return done


def run(*arguments, **environment):
    return start(*arguments, **environment).stdout


def test_the_model_of_the_app_runs_where_there_is_no_other(firmware, tmp_path):
    text = run(firmware, tmp_path, b"")
    assert text.startswith("the model is that of the app (no update)\n")
    assert re.search(r"^(-?\d+\.\d{4} ){5}$", text, re.MULTILINE)
    assert not re.search(EVENT, text, re.MULTILINE)
    damaged = bytearray(firmware[1])
    damaged[-1] ^= 1
    assert run(firmware, tmp_path, bytes(damaged)).startswith("the model is that of the app (no update)\n")
    assert run(firmware, tmp_path, firmware[1], FAKE_NO_NVS="1").startswith("the model is that of the app (")


def test_the_model_of_a_slot_runs_with_its_labels_and_its_detector(firmware, tmp_path):
    text = run(firmware, tmp_path, firmware[1])
    assert text.startswith("the model is newest, of partition model_a\n")
    assert set(re.findall(EVENT, text, re.MULTILINE)) <= set(LABELS)
    assert re.search(EVENT, text, re.MULTILINE)


def test_a_command_changes_what_is_heard(firmware, tmp_path):
    heard = re.findall(EVENT, run(firmware, tmp_path, firmware[1]), re.MULTILINE)
    text = run(firmware, tmp_path, firmware[1], FAKE_COMMAND=f"threshold {heard[0]} never")
    _, set_, after = text.partition(f"\n{heard[0]} never, set\n")
    assert set_
    # On a busy machine the listener may be ahead of the console.
    assert heard[0] not in re.findall(EVENT, after, re.MULTILINE)
    assert 'The model has no class "x", only: a b c d e\n' in run(
        firmware, tmp_path, firmware[1], FAKE_COMMAND="threshold x 0.5"
    )


def test_an_app_over_the_air_is_kept_once_it_works(firmware, tmp_path):
    """When it listens, or has replayed; not before, and nothing is said of one from a cable."""
    valid = "the app is valid\n"
    assert start(firmware, tmp_path, b"", FAKE_APP="new").stderr == valid
    assert start(firmware, tmp_path, b"").stderr == ""
    unheard = start(firmware, tmp_path, b"", FAKE_APP="new", FAKE_PSRAM="0")
    assert unheard.stdout.endswith("FAIL ESP_ERR_NOT_SUPPORTED\n")
    assert unheard.stderr == ""
    assert "this app is not kept" in run(firmware, tmp_path, b"", FAKE_APP="failed")
    replay = (firmware[0].parent / "replay_slots", firmware[1])
    replayed = start(replay, tmp_path, b"", FAKE_APP="new")
    assert replayed.stdout.splitlines()[-1].startswith("PASS ")
    assert replayed.stderr == valid


def choose(directory, container):
    """Make the container in model_a a new one, as an update leaves it: version, state, chosen slot, CRC32."""
    (crc,) = struct.unpack_from("<I", container, 12)
    (directory / "nvs_slots").write_bytes(struct.pack("<IBBBB", crc, 0, 1, 1, 1))


def chosen(directory):
    """Return slot and state."""
    return struct.unpack("<IBBBB", (directory / "nvs_slots").read_bytes())[2:4]


def test_a_new_model_is_confirmed_once_it_listens(firmware, tmp_path):
    choose(tmp_path, firmware[1])
    assert "\nlistening\n" in run(firmware, tmp_path, firmware[1])
    assert chosen(tmp_path) == (1, 0b100)  # confirmed after one try


def test_a_new_model_that_passes_its_test_and_does_not_start_is_left(firmware, tmp_path):
    choose(tmp_path, firmware[1])
    failed = start(firmware, tmp_path, firmware[1], FAKE_FREE_BYTES="1")
    assert failed.stdout.startswith("the model is newest, of partition model_a\n")
    ending = "FAIL ESP_ERR_NO_MEM\nthe new model did not start; the one before takes its place\n"
    assert failed.stdout.endswith(ending)
    assert failed.stderr == "restart\n"
    assert chosen(tmp_path)[0] == 0
    again = start(firmware, tmp_path, firmware[1], FAKE_FREE_BYTES="1")
    assert again.stdout.startswith("the model is that of the app (no update)\n")
    assert again.stderr == ""  # once


def test_a_new_model_is_tested_in_the_memory_that_it_is_loaded_into():
    """One function reads the choices of menuconfig."""
    names = ("CONFIG_STREAMING_COPY_WEIGHTS", "CONFIG_STREAMING_INTERNAL_BYTES", "CONFIG_STREAMING_STATE_")
    sources = [path for path in PROJECT.rglob("*.cpp") if any(name in path.read_text() for name in names)]
    assert [path.name for path in sources] == ["load.cpp"]
