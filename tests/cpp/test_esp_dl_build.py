"""What components/lesp_streaming changes in how ESP-DL is built, through CMake, a compiler and a linker.

A few files stand in for ESP-DL, in the form of its 3.3.9: a header that registers every operator, and one that includes
<iostream>. With `ESP_DL_PATH` the header of ESP-DL itself is read as well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cpp.compile import FLAGS
from tests.cpp.host_build import PROJECT, SOURCE
from tests.support.host import needs_cmake

pytestmark = [needs_cmake, pytest.mark.skipif(shutil.which("ninja") is None, reason="needs ninja")]

OPERATORS = ("Add", "Conv", "GRU")
# As ESP-IDF has them: a component's library is known by its name once its own CMakeLists.txt has run.
IDF = r"""
cmake_minimum_required(VERSION 3.16)
project(firmware CXX)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
add_compile_options(-ffunction-sections -fdata-sections)
add_library(__idf_esp-dl STATIC ${CMAKE_SOURCE_DIR}/esp-dl/dl/base/dl_base_conv2d.cpp ${CMAKE_SOURCE_DIR}/esp-dl/model.cpp)
target_include_directories(__idf_esp-dl PUBLIC ${CMAKE_SOURCE_DIR}/esp-dl/dl/module/include)
function(idf_build_get_property)
endfunction()
function(idf_component_get_property variable component property)
    if(property STREQUAL "COMPONENT_LIB")
        set(${variable} __idf_${component} PARENT_SCOPE)
    else()
        set(${variable} ${CMAKE_SOURCE_DIR}/esp-dl PARENT_SCOPE)
    endif()
endfunction()
macro(idf_component_register)
    set(COMPONENT_LIB streaming)
    add_library(streaming STATIC ${CMAKE_SOURCE_DIR}/streaming.cpp)
    target_link_libraries(streaming PUBLIC __idf_esp-dl)
endmacro()
add_subdirectory(streaming)
if(CONFIG_STREAMING_ONLY_MODEL_OPERATORS)
    streaming_link_operators(${FIRST})
    streaming_link_operators(${SECOND}) # another model
endif()
add_executable(firmware main.cpp)
target_link_libraries(firmware streaming)
target_link_options(firmware PRIVATE -Wl,--gc-sections)
"""
CREATOR = """#pragma once
#include "dl_module.hpp"
#include <iostream>
struct ModuleCreator {
    void register_module(const char *name, int (*make)()) { count += name != nullptr && make() > 0; }
    void register_dl_modules()
    {
        if (count == 0) {
{registrations}
        }
    }
    int count = 0;
};
"""
MODULES = "#pragma once\n#include <iostream>\n" + "".join(
    f"struct {name} {{ [[gnu::noinline]] static int deserialize() {{ return sizeof({name}); }} }};\n"
    for name in OPERATORS
)
MODEL = """#include "dl_module_creator.hpp"
int run() { ModuleCreator creator; creator.register_dl_modules(); return creator.count; }
"""
MAIN = """#include <cstdio>
int stream();
int main() { std::printf("%d\\n", stream()); }
"""
STREAMING = '#include "dl_module_creator.hpp"\nint run();\nint stream() { return run(); }\n'


@pytest.fixture
def project(tmp_path):
    include = tmp_path / "esp-dl/dl/module/include"
    include.mkdir(parents=True)
    (tmp_path / "esp-dl/dl/base").mkdir()
    lines = [f'            this->register_module("{name}", {name}::deserialize);' for name in OPERATORS]
    (include / "dl_module_creator.hpp").write_text(CREATOR.replace("{registrations}", "\n".join(lines)))
    (include / "dl_module.hpp").write_text(MODULES)
    (tmp_path / "esp-dl/model.cpp").write_text(MODEL)
    (tmp_path / "esp-dl/dl/base/dl_base_conv2d.cpp").write_text("int convolve() { return 0; }\n")
    (tmp_path / "main.cpp").write_text(MAIN)
    (tmp_path / "streaming.cpp").write_text(STREAMING)
    (tmp_path / "CMakeLists.txt").write_text(IDF)
    shutil.copytree(PROJECT / "components/lesp_streaming", tmp_path / "streaming")
    return tmp_path


def configure(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    defined = [f"-D{option}" if "=" in option else f"-DCONFIG_STREAMING_{option}=1" for option in options]
    command = ["cmake", "-G", "Ninja", "-S", ".", "-B", "build", *defined]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True)


def build(directory: Path, *options: str) -> str:
    """Return the symbols of the program, once it was found to run."""
    done = configure(directory, *options)
    assert done.returncode == 0, done.stderr
    make(directory)
    return subprocess.run(["nm", "-C", directory / "build/firmware"], capture_output=True, text=True, check=True).stdout


def make(directory: Path) -> str:
    done = subprocess.run(["ninja", "-C", "build"], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def linked(symbols: str) -> set[str]:
    return {name for name in OPERATORS if f" {name}::deserialize" in symbols}


def count(directory: Path) -> int:
    return int(subprocess.run([directory / "build/firmware"], capture_output=True, text=True, check=True).stdout)


def test_all_operators_are_linked_unless_asked(project):
    assert linked(build(project)) == set(OPERATORS)
    assert count(project) == len(OPERATORS)


def test_only_the_operators_of_all_models_are_linked(project):
    symbols = build(project, "ONLY_MODEL_OPERATORS", "FIRST=Conv", "SECOND=Conv\\;Add")
    assert linked(symbols) == {"Conv", "Add"}
    assert count(project) == 2


def test_further_operators_are_linked(project):
    symbols = build(project, "ONLY_MODEL_OPERATORS", "FIRST=Conv", "CONFIG_STREAMING_MORE_OPERATORS=GRU Add")
    assert linked(symbols) == set(OPERATORS)


def test_nothing_is_built_anew_when_nothing_changed(project):
    build(project, "ONLY_MODEL_OPERATORS", "FIRST=Conv")
    configure(project)
    assert "no work to do" in make(project)
    build(project, "FIRST=Add")
    assert count(project) == 1


def test_an_operator_that_esp_dl_lacks_is_named(project):
    done = configure(project, "ONLY_MODEL_OPERATORS", "FIRST=Erf")
    assert done.returncode != 0
    assert re.search(r"registers no\s+operator\s+Erf", done.stderr)


def test_iostream_stays_out(project):
    assert "std::ios_base" in build(project)
    assert "std::ios_base" not in build(project, "NO_IOSTREAM", "ONLY_MODEL_OPERATORS", "FIRST=Conv")
    assert count(project) == 1


def test_iostream_stays_where_esp_dl_uses_it(project):
    (project / "esp-dl/model.cpp").write_text(MODEL.replace("{ Mod", '{ std::cout << ""; Mod'))
    assert "std::cout" in build(project, "NO_IOSTREAM")


def test_convolutions_alone_are_unrolled(project):
    build(project, "UNROLL_CONVOLUTIONS")
    commands = json.loads((project / "build/compile_commands.json").read_text())
    unrolled = {Path(entry["file"]).name for entry in commands if "-funroll-loops" in entry["command"]}
    assert unrolled == {"dl_base_conv2d.cpp"}


@pytest.mark.skipif("ESP_DL_PATH" not in os.environ, reason="ESP_DL_PATH names no checkout of ESP-DL")
def test_every_registration_of_esp_dl_is_found(project):
    header = Path(os.environ["ESP_DL_PATH"]) / "dl/module/include/dl_module_creator.hpp"
    shutil.copy(header, project / "esp-dl/dl/module/include")
    assert configure(project, "ONLY_MODEL_OPERATORS", "FIRST=Conv").returncode == 0
    made = (project / "build/streaming_esp_dl/dl_module_creator.hpp").read_text()
    found = re.findall(r"^#if defined\(STREAMING_LINKS_(\w+)\)\n *this->register_module\(\"\1\".*\n#endif", made, re.M)
    assert len(found) == len(set(found)) == header.read_text().count('register_module("') > 60
    assert "<iostream>" not in made


@pytest.mark.parametrize("option", ["ONLY_MODEL_OPERATORS", "INTEGER_REQUANTIZE"])
@pytest.mark.parametrize("value", [0, 1])
def test_stages_compile_with_and_without(tmp_path, option, value):
    fake = (SOURCE / "fake/sdkconfig.h").read_text()
    (tmp_path / "sdkconfig.h").write_text(
        f"{fake}\n#undef CONFIG_STREAMING_{option}\n#define CONFIG_STREAMING_{option} {value}\n"
    )
    component = PROJECT / "components/lesp_streaming"
    includes = [f"-I{tmp_path}", f"-I{component / 'include'}", "-isystem", SOURCE / "fake"]
    command = ["c++", *FLAGS, "-fsyntax-only", *includes, component / "src/stage.cpp"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
