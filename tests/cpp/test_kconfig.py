"""The firmware as menuconfig leaves it: every source, board, chip and place of the model, with headers made by Kconfig."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.cpp.compile import needs_compiler
from tests.cpp.host_build import PROJECT
from tests.cpp.kconfig import CHIPS, Choice, Compiler, choices, configure, firmware, mentioned, options
from tests.support.host import needs_cmake

# Pins that a microphone can be at: GPIOs that the chip has and that no module needs for flash or PSRAM; ESP32 and
# ESP32-S2 have some that can only be inputs.
PINS = {
    "esp32": {4, 5, *range(12, 16), *range(18, 24), *range(25, 28), *range(32, 40)},
    "esp32c3": {*range(0, 11), *range(18, 22)},
    "esp32c5": {*range(0, 16), *range(23, 29)},
    "esp32c6": {*range(0, 24)},
    "esp32p4": {*range(0, 55)},
    "esp32s2": {*range(0, 22), *range(33, 47)},
    "esp32s3": {*range(0, 22), *range(38, 49)},
    "esp32s31": {*range(0, 63)},
}
INPUTS_ONLY = {"esp32": {*range(34, 40)}, "esp32s2": {46}}


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    """The header of every choice."""
    directory = tmp_path_factory.mktemp("kconfig")
    return {choice: configure(choice, directory) for choice in choices()}


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    return Compiler(tmp_path_factory.mktemp("compiler"))


@needs_cmake
def test_every_configuration_compiles(headers, compiler):
    """Each source once for all that it can tell apart."""
    jobs = {}
    for choice, sources in firmware(headers).items():
        found = options(headers[choice])
        for source in sources:
            # That a number or a text is another one changes nothing.
            seen = {name: found[name] == "1" for name in sorted(mentioned(source)) if name in found}
            jobs.setdefault((source, *seen.items()), (choice, source))
    assert len(headers) > 150
    assert len({source.name for _, source in jobs.values()}) > 15
    problems = {
        f"{source.name} of {choice}": compiler.compile(source, headers[choice]) for choice, source in jobs.values()
    }
    assert {name: text for name, text in problems.items() if text} == {}


@needs_compiler
def test_an_option_that_is_hidden_is_noticed(headers, compiler):
    """The microphone's driver under a source for which menuconfig asks no pins."""
    replay = headers[Choice("pins", "esp32s3", "REPLAY", "APP")]
    driver = PROJECT / "boards/pins/lesp_board/i2s_microphone.cpp"
    assert "CONFIG_MICROPHONE_CLOCK_PIN" in compiler.compile(driver, replay)


@pytest.mark.parametrize("chip", sorted(set(CHIPS) - {"esp32c2"}))
def test_default_pins_exist(headers, chip):
    found = options(headers[Choice("pins", chip, "MICROPHONE", "APP")])
    clock, word, data = (int(found[f"CONFIG_MICROPHONE_{name}_PIN"]) for name in ("CLOCK", "WORD", "DATA"))
    assert len({clock, word, data}) == 3
    assert {clock, word, data} <= PINS[chip]
    assert not {clock, word} & INPUTS_ONLY.get(chip, set())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("octal", {"SPIRAM", "SPIRAM_MODE_OCT"}), ("quad", {"SPIRAM", "SPIRAM_MODE_QUAD"}), ("none", set())],
)
def test_the_psram_of_the_board_is_chosen(headers, kind, expected):
    found = options(headers[Choice("pins", "esp32s3", "REPLAY", "APP", psram=kind)])
    assert {name for name in found if name.startswith("CONFIG_SPIRAM")} == {f"CONFIG_{name}" for name in expected}


@pytest.mark.parametrize("chip", CHIPS)
def test_chips_without_vectors_get_kernels_of_their_own(headers, chip):
    found = options(headers[Choice("pins", chip, "REPLAY", "APP")])
    has_vectors = chip in ("esp32s3", "esp32p4", "esp32s31")
    assert ("CONFIG_STREAMING_UNROLL_CONVOLUTIONS" in found) != has_vectors
    assert ("CONFIG_STREAMING_INTEGER_REQUANTIZE" in found) != has_vectors


def test_the_project_links_the_operators_of_its_model_alone(headers):
    """And leaves <iostream> out; a firmware that takes the component alone chooses itself."""
    for header in headers.values():
        assert {"CONFIG_STREAMING_ONLY_MODEL_OPERATORS", "CONFIG_STREAMING_NO_IOSTREAM"} <= {*options(header)}


@needs_cmake
def test_only_what_the_source_needs_is_built(headers):
    """And the ESP32-C2, which has no I2S, gets no driver for it."""
    for choice, sources in firmware(headers).items():
        names = {source.name for source in sources}
        has_driver = choice.source == "MICROPHONE" and choice.chip != "esp32c2"
        assert bool(names & {"i2s_microphone.cpp", "codec_microphone.cpp"}) == has_driver, choice
        assert ("no_microphone.cpp" in names) != has_driver
        assert ("replay.cpp" in names) == (choice.source == "REPLAY")
        assert len([name for name in names if re.match("model_(app|card|partition|update)\\.", name)]) == 1


RUNNER = """
function(project)
endfunction()
function(idf_build_set_property)
endfunction()
include(${PROJECT}/CMakeLists.txt)
message("${SDKCONFIG_DEFAULTS}")
"""


@needs_cmake
@pytest.mark.parametrize(
    ("options", "files"),
    [
        ([], ["sdkconfig.defaults"]),
        (["PSRAM=quad"], ["sdkconfig.defaults", "sdkconfig.psram_quad"]),
        (["MODEL=update", "OTA=on"], ["sdkconfig.defaults", "sdkconfig.model_update", "sdkconfig.ota"]),
        (
            ["BOARD=esp_box_3", "MODEL=partition", "PSRAM=none"],
            [
                "sdkconfig.defaults",
                "boards/esp_box_3/sdkconfig.defaults",
                "sdkconfig.model_partition",
                "sdkconfig.psram_none",
            ],
        ),
    ],
)
def test_what_is_said_to_idf_py_chooses_defaults(tmp_path, options, files):
    done = run_project(tmp_path, options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().split(";") == files
    assert all((PROJECT / name).exists() for name in files)


@needs_cmake
def test_apps_over_the_air_have_no_partitions_for_files_of_the_model(tmp_path):
    done = run_project(tmp_path, ["MODEL=partition", "OTA=on"])
    assert done.returncode != 0
    assert "choose MODEL=update" in " ".join(done.stderr.split())


@needs_cmake
@pytest.mark.parametrize("option", ["BOARD=none", "MODEL=cloud", "PSRAM=hex"])
def test_a_choice_that_does_not_exist_is_refused(tmp_path, option):
    done = run_project(tmp_path, [option])
    assert done.returncode != 0
    assert option.split("=")[1] in done.stderr


def run_project(directory, options):
    """Run the project's own CMakeLists.txt, ESP-IDF left out."""
    (directory / "tools/cmake").mkdir(parents=True)
    (directory / "tools/cmake/project.cmake").write_text("")
    (directory / "runner.cmake").write_text(RUNNER)
    command = ["cmake", f"-DPROJECT={PROJECT}", *(f"-D{option}" for option in options), "-P", "runner.cmake"]
    environment = {**os.environ, "IDF_PATH": str(directory)}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
