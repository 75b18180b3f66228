"""What the manifests of the components say, and what their CMake finds out about ESP-DL."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from lightning_esp.versions import ESP_DL, ESP_IDF
from tests.cpp.compile import compile_program, run_program
from tests.cpp.host_build import PROJECT
from tests.support.host import needs_cmake

COMPONENTS = sorted(path.parent for path in PROJECT.glob("components/*/idf_component.yml"))

IDF = r"""
cmake_minimum_required(VERSION 3.16)
project(firmware CXX)
set(CMAKE_CXX_STANDARD 20)
macro(idf_component_register)
    set(COMPONENT_LIB streaming)
    add_library(streaming STATIC src/version.cpp)
    target_include_directories(streaming PUBLIC include)
endmacro()
function(idf_build_get_property variable name)
    set(${variable} @TARGETS@ PARENT_SCOPE)
endfunction()
function(idf_component_get_property variable component name)
    set(${variable} ${CMAKE_SOURCE_DIR}/${component} PARENT_SCOPE)
endfunction()
add_subdirectory(streaming)
add_executable(firmware main.cpp)
target_link_libraries(firmware streaming)
"""
MAIN = """
#include <cstdio>
#include "streaming/version.hpp"
int main() { std::printf("%s", lesp::streaming::esp_dl_version().data()); }
"""


def ask_version(directory, targets, name, manifest):
    """Return what a firmware says of the ESP-DL beside it, which is a component with this name and manifest."""
    (directory / name).mkdir()
    if manifest is not None:
        (directory / name / "idf_component.yml").write_text(manifest)
    (directory / "streaming").symlink_to(PROJECT / "components/lesp_streaming")
    (directory / "CMakeLists.txt").write_text(IDF.replace("@TARGETS@", targets))
    (directory / "main.cpp").write_text(MAIN)
    for command in (["cmake", "-S", ".", "-B", "build"], ["cmake", "--build", "build"]):
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return run_program(directory / "build/firmware")


@needs_cmake
@pytest.mark.parametrize(
    ("targets", "name", "manifest", "expected"),
    [
        ("___idf_main ___idf_espressif__esp-dl", "espressif__esp-dl", 'version: "3.3.12"\nlicense: "MIT"\n', "3.3.12"),
        ("___idf_esp-dl", "esp-dl", "license: MIT\nversion: 3.3.9~1\n", "3.3.9~1"),
        ("___idf_esp-dl", "esp-dl", None, ""),
    ],
)
def test_the_build_finds_the_version_of_esp_dl(tmp_path, targets, name, manifest, expected):
    assert ask_version(tmp_path, targets, name, manifest) == expected


@needs_cmake
def test_versions_agree(tmp_path):
    """The one that proofs know, that the project pins, that the components take, and that the firmware compares with."""
    assert re.findall(r'espressif/esp-dl:\n    version: "(.*)"', (PROJECT / "main/idf_component.yml").read_text()) == [
        ESP_DL
    ]
    main = tmp_path / "main.cpp"
    main.write_text(MAIN.replace("esp_dl_version()", "kProvedEspDl"))
    assert run_program(compile_program(tmp_path / "proved", [str(main)], ["lesp_streaming"])) == ESP_DL


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda path: path.name)
def test_a_component_can_be_published(component):
    text = (component / "idf_component.yml").read_text()
    found = dict(re.findall(r'^(\w+): "?([^"\n]+)"?$', text, re.MULTILINE))
    assert set(found) == {"version", "description", "license"}
    minor = ".".join(ESP_DL.split(".")[:2])
    following = f"{minor.split('.')[0]}.{int(minor.split('.')[1]) + 1}"
    assert f'idf: "{ESP_IDF}"' in text
    if "esp-dl" in (component / "CMakeLists.txt").read_text():
        assert f'espressif/esp-dl:\n    version: ">={ESP_DL},<{following}"' in text
    assert f"## {found['version']}\n" in (component / "CHANGELOG.md").read_text()


MANIFESTS = sorted(path.relative_to(PROJECT) for path in PROJECT.rglob("idf_component.yml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=str)
def test_a_manifest_is_yaml_of_the_known_keys(path):
    """The component manager reads all of them before anything is built, and one that is none ends every build."""
    found = yaml.safe_load((PROJECT / path).read_text())
    assert set(found) <= {"version", "description", "license", "tags", "dependencies", "examples", "targets"}
    assert all(isinstance(found[key], str) for key in ("version", "description", "license") if key in found)
    assert isinstance(found.get("dependencies", {}), dict)


def test_components_are_there():
    assert {path.name for path in COMPONENTS} >= {"lesp_audio", "lesp_streaming"}
