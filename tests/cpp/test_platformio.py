"""The example for PlatformIO, against the project that it builds; with PlatformIO's own parser where it is installed."""

from __future__ import annotations

import configparser
import importlib.util
import re

import pytest

from tests.cpp.host_build import PROJECT
from tests.cpp.kconfig import CHIPS

INI = PROJECT / "examples/platformio/platformio.ini"

# Which chip each board has, by its definition in pioarduino's platform.
BOARDS = {
    "esp32-c3-devkitm-1": "esp32c3",
    "esp32-c6-devkitc-1": "esp32c6",
    "esp32-p4-evboard": "esp32p4",
    "esp32-s2-saola-1": "esp32s2",
    "esp32-s3-devkitc-1": "esp32s3",
    "esp32dev": "esp32",
}


def read_ini() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(INI)
    return parser


def read_defaults(chip: str) -> dict[str, str]:
    """The options that sdkconfig.defaults and those of a chip set, the latter last."""
    files = [PROJECT / "sdkconfig.defaults", PROJECT / f"sdkconfig.defaults.{chip}"]
    text = "".join(path.read_text() for path in files if path.exists())
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.MULTILINE))


def environments() -> list[str]:
    return sorted(name.removeprefix("env:") for name in read_ini().sections() if name.startswith("env:"))


def test_it_builds_the_project_by_its_own_files():
    ini = read_ini()
    assert (PROJECT / ini["platformio"]["src_dir"] / "CMakeLists.txt").is_file()
    assert ini["env"]["framework"] == "espidf"
    assert f'"{ini["env"]["board_build.partitions"]}"' == read_defaults("esp32")["PARTITION_TABLE_CUSTOM_FILENAME"]
    assert ini["platformio"]["default_envs"] in environments()


@pytest.mark.parametrize("chip", environments())
def test_each_environment_is_a_chip_with_the_flash_of_the_project(chip):
    section = read_ini()[f"env:{chip}"]
    assert chip in CHIPS
    assert BOARDS[section["board"]] == chip
    sizes = [name for name in read_defaults(chip) if re.fullmatch(r"ESPTOOLPY_FLASHSIZE_\d+MB", name)]
    assert section["board_upload.flash_size"] == sizes[-1].removeprefix("ESPTOOLPY_FLASHSIZE_")


@pytest.mark.skipif(importlib.util.find_spec("platformio") is None, reason="needs PlatformIO")
def test_platformio_knows_every_option():
    from platformio.project.config import ProjectConfig

    config = ProjectConfig(str(INI))
    assert config.validate()
    assert sorted(config.envs()) == environments()
    assert config.get("env:esp32s3", "platform") == "espressif32 @ >=55.3.38"
