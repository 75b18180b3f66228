"""The firmware with its model outside the app: in partitions, or on an SD card; whole, damaged, or not there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lightning_esp.bundle import write_bundle
from lightning_esp.config import Deployment
from tests.bundle import handmade
from tests.cpp.host_build import build
from tests.cpp.script import with_scripts
from tests.support.host import needs_cmake

pytestmark = needs_cmake

NAME = "outside"


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    """Programs of a model of three stages, and its files by label and by name."""
    directory = tmp_path_factory.mktemp("location")
    quantized, verification = handmade.three_stages()
    result = (with_scripts(quantized, verification.golden), verification)
    bundle = write_bundle({"esp32s3": result}, directory / NAME, Deployment(name=NAME))
    folder = bundle.path / "components/lesp_model/esp32s3"
    entries = re.findall(r'\.name = "(\S+)", \.partition = "(\S+)"', (folder / "model_config.hpp").read_text())
    files = {label: (name, (folder / name).read_bytes()) for name, label in entries}
    programs = [f"{place}_{NAME}" for place in ("partition", "sdcard", "replay")]
    return build(directory / "build", [bundle.path], programs=programs), files


def replay(program: Path, directory: Path, **environment: str) -> str:
    environment = {**os.environ, "FAKE_PARTITIONS": str(directory / "partitions"), **environment}
    done = subprocess.run([program], cwd=directory, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def place(firmware, tmp_path):
    """A directory with the model's files in partitions, which are larger, and on a card."""
    _, files = firmware
    for folder in ("partitions", "card"):
        (tmp_path / folder).mkdir()
    for label, (name, data) in files.items():
        (tmp_path / "partitions" / label).write_bytes(data + b"\xff" * 1000)
        (tmp_path / "card" / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("location", ["partition", "sdcard"])
def test_the_model_is_loaded_from_there(firmware, place, location):
    programs, _ = firmware
    assert replay(programs / f"{location}_{NAME}", place).endswith("\nPASS 20 windows\n")


@pytest.mark.parametrize("location", ["partition", "sdcard"])
def test_the_files_are_not_in_the_app(firmware, location):
    programs, files = firmware
    program = (programs / f"{location}_{NAME}").read_bytes()
    inside = (programs / f"replay_{NAME}").read_bytes()
    for _, data in files.values():
        assert data in inside
        assert data not in program


def test_partitions_that_do_not_fit_say_what_to_do(firmware, place):
    programs, files = firmware
    program, label = programs / f"partition_{NAME}", f"{NAME}_1"
    name, data = files[label]
    partition = place / "partitions" / label
    partition.write_bytes(b"\xff" * (len(data) + 1000))
    text = replay(program, place)
    assert f"Partition {label} does not hold {name} of this bundle for esp32s3. `idf.py flash` writes it" in text
    assert f"--partition-name={label} --input=components/lesp_model/esp32s3/{name}\nFAIL ESP_ERR_INVALID_CRC" in text
    partition.write_bytes(data[:-7])
    text = replay(program, place)
    assert f"{name} takes {len(data)} bytes, it has {len(data) - 7}, 7 are missing.\nFAIL ESP_ERR_INVALID_SIZE" in text
    partition.unlink()
    text = replay(program, place)
    assert f"There is no data partition {label}. Build with the table that has it: idf.py -D MODEL=partition" in text
    assert text.endswith("FAIL ESP_ERR_NOT_FOUND\n")


def test_address_space_that_is_short_is_told_before_esp_dl_stops_the_chip(firmware, place):
    programs, _ = firmware
    text = replay(programs / f"partition_{NAME}", place, FAKE_PAGES="2")
    # Each of the three starts in the last bytes of a page and ends in the next one.
    assert "take 6 pages of address space, 2 are free, 4 are missing.\nFAIL ESP_ERR_NO_MEM" in text


def test_a_card_that_lacks_a_file_says_which(firmware, place):
    programs, files = firmware
    program = programs / f"sdcard_{NAME}"
    name, data = files[f"{NAME}_2"]
    path = place / "card" / name
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    text = replay(program, place)
    assert f"card/{name} has {len(data)} bytes and is not {name} of this bundle for esp32s3" in text
    assert text.endswith("FAIL ESP_ERR_INVALID_CRC\n")
    path.write_bytes(data + b"x")
    assert replay(program, place).endswith("FAIL ESP_ERR_INVALID_SIZE\n")
    text = replay(program, place, FAKE_NO_CARD="1")
    assert text == "The SD card cannot be mounted (ESP_ERR_TIMEOUT). Is one in the slot?\nFAIL ESP_ERR_TIMEOUT\n"
    shutil.rmtree(place / "card")
    text = replay(program, place)
    assert re.search(r"There is no file card/\S+\. Copy components/lesp_model/esp32s3/\S+ to the card\.\nFAIL", text)
