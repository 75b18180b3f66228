"""A model in a build folder that another one was built in, through the CMake of components/lesp_model and ninja.

ESP-IDF's and ESP-DL's own functions are stood in for by a few lines each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cpp.host_build import PROJECT
from tests.support.host import needs_cmake

pytestmark = [needs_cmake, pytest.mark.skipif(shutil.which("ninja") is None, reason="needs ninja")]

IDF = r"""
cmake_minimum_required(VERSION 3.16)
project(firmware CXX)
set(CMAKE_CXX_STANDARD 20)
set(IDF_TARGET esp32s3)
macro(idf_component_register)
    set(COMPONENT_LIB model)
    add_library(model STATIC model.cpp)
    target_include_directories(model PUBLIC ${IDF_TARGET})
endmacro()
macro(idf_build_get_property)
endmacro()
macro(idf_component_get_property variable)
    set(${variable} ${CMAKE_SOURCE_DIR}/esp-dl)
endmacro()
add_subdirectory(model)
add_executable(firmware main.cpp)
target_link_libraries(firmware model)
"""
ESP_DL = r"""
function(target_add_aligned_binary_data target file type)
    cmake_parse_arguments(_ "" "" "DEPENDS" ${ARGN})
    get_filename_component(name ${file} NAME)
    string(MAKE_C_IDENTIFIER ${name} symbol)
    set(source ${CMAKE_BINARY_DIR}/${name}.cpp)
    add_custom_command(OUTPUT ${source} MAIN_DEPENDENCY ${file} DEPENDS ${__DEPENDS}
        COMMAND ${CMAKE_COMMAND} -D FILE=${file} -D SYMBOL=_binary_${symbol}_start -D OUT=${source}
                -P ${CMAKE_SOURCE_DIR}/esp-dl/embed.cmake)
    target_sources(${target} PRIVATE ${source})
endfunction()
"""
EMBED = r"""
file(READ ${FILE} text)
file(WRITE ${OUT} "extern const char symbol[] asm(\"${SYMBOL}\");\nconst char symbol[] = \"${text}\";\n")
"""
MAIN = """#include <cstdio>
#include "model_config.hpp"
int main() { std::puts(model_file); }
"""


def write_model(directory: Path, name: str, content: str) -> None:
    """Write a model that is older than anything that was built, as a copied bundle is."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "golden").mkdir(parents=True)
    (directory / f"{name}.espdl").write_text(content)
    (directory / "golden" / f"{name}_golden.bin").write_text("golden")
    (directory / "model_config.hpp").write_text(f'extern const char model_file[] asm("_binary_{name}_espdl_start");\n')
    for path in directory.rglob("*"):
        os.utime(path, (1e9, 1e9))


def build(directory: Path) -> str:
    for command in (["cmake", "-G", "Ninja", "-S", ".", "-B", "build"], ["ninja", "-C", "build"]):
        if "cmake" in command and (directory / "build/build.ninja").exists():
            continue
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return subprocess.run([directory / "build/firmware"], capture_output=True, text=True).stdout


def make_project(directory: Path) -> None:
    """Write a project around the CMake of components/lesp_model."""
    (directory / "esp-dl/fbs_loader/cmake").mkdir(parents=True)
    (directory / "model").mkdir()
    (directory / "CMakeLists.txt").write_text(IDF)
    (directory / "esp-dl/fbs_loader/cmake/utilities.cmake").write_text(ESP_DL)
    (directory / "esp-dl/embed.cmake").write_text(EMBED)
    (directory / "main.cpp").write_text(MAIN)
    (directory / "model/model.cpp").write_text('#include "model_config.hpp"\nconst char *used = model_file;\n')
    shutil.copy(PROJECT / "components/lesp_model/CMakeLists.txt", directory / "model")


def test_another_model_takes_the_place_of_the_one_before(tmp_path):
    make_project(tmp_path)
    folder = tmp_path / "model/esp32s3"
    write_model(folder, "first", "one")
    assert build(tmp_path) == "one\n"
    write_model(folder, "second", "two")
    assert build(tmp_path) == "two\n"
    # The same names, and newer: what they hold is embedded again.
    (folder / "second.espdl").write_text("three")
    assert build(tmp_path) == "three\n"


@pytest.mark.parametrize(
    ("front_end", "update", "is_linked"),
    [
        ("FrontEndKind::kFbank Arithmetic::kFloat", False, True),
        ("FrontEndKind::kMfcc", False, True),
        ("FrontEndKind::kFbank Arithmetic::kFixedPoint", False, False),
        ("FrontEndKind::kFbank Arithmetic::kFixedPoint", True, True),
        ("", False, False),
    ],
)
def test_a_front_end_in_float_is_linked_where_a_model_may_have_one(tmp_path, front_end, update, is_linked):
    make_project(tmp_path)
    write_model(tmp_path / "model/esp32s3", "first", "one")
    with (tmp_path / "model/esp32s3/model_config.hpp").open("a") as config:
        config.write("".join(f"// {word}\n" for word in front_end.split()))
    if update:
        idf = (tmp_path / "CMakeLists.txt").read_text()
        (tmp_path / "CMakeLists.txt").write_text(f"set(CONFIG_STREAMING_MODEL_UPDATE 1)\n{idf}")
    assert build(tmp_path) == "one\n"
    assert ("-u audio_float_front_end" in (tmp_path / "build/build.ninja").read_text()) == is_linked
