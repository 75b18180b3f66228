"""The `sdkconfig.h` that Kconfig makes of idf_project's own options, without the rest of ESP-IDF, and what is built with it."""

from __future__ import annotations

import re
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

from esp_kconfiglib.core import Kconfig

from tests.cpp.host_build import PROJECT, SOURCE

CHIPS = ("esp32", "esp32c2", "esp32c3", "esp32c5", "esp32c6", "esp32p4", "esp32s2", "esp32s3", "esp32s31")
SOURCES = ("REPLAY", "WAV", "MICROPHONE", "FRAMES")
LOCATIONS = ("APP", "PARTITION", "SDCARD", "UPDATE")
TWO_CORES = ("esp32", "esp32p4", "esp32s3", "esp32s31")
CHIPS_OF = {"esp32_p4_function_ev": ("esp32p4",), "m5_atom_echo": ("esp32",), "pins": CHIPS}  # all others: ESP32-S3
BOARDS = tuple(sorted(path.parent.parent.name for path in PROJECT.glob("boards/*/lesp_board/CMakeLists.txt")))

STANDARD = ("algorithm", "atomic", "cstdint", "cstdio", "cstring", "limits", "memory", "span", "string_view")

# What the options refer to of ESP-IDF's.
_ROOT = """
mainmenu "ESP-IDF"
config IDF_TARGET
    string "chip"
{chips}
config SPIRAM
    bool "PSRAM"
choice SPIRAM_MODE
    prompt "lines"
    depends on SPIRAM
    config SPIRAM_MODE_QUAD
        bool "4"
    config SPIRAM_MODE_OCT
        bool "8"
endchoice
config FREERTOS_TASK_CREATE_ALLOW_EXT_MEM
    bool "stacks in PSRAM"
config PM_ENABLE
    bool "power management"
config FREERTOS_UNICORE
    bool
    default y if {single}
source "{main}"
source "{listener}"
source "{board}"
source "{streaming}"
"""
_CHIP = """config IDF_TARGET_{upper}
    bool
    default y if IDF_TARGET = "{chip}"
"""


@dataclass(frozen=True)
class Choice:
    """One way to configure the project."""

    board: str
    chip: str
    source: str
    location: str
    further: tuple[str, ...] = ()
    psram: str = ""

    def __str__(self) -> str:
        return "-".join((self.board, self.chip, self.source, self.location, *self.further, self.psram))


def choices() -> list[Choice]:
    """All boards, on their chips, with every source and place of the model, and the other kinds of microphones."""
    found = []
    for board in BOARDS:
        for chip, source, location in product(CHIPS_OF.get(board, ("esp32s3",)), SOURCES, LOCATIONS):
            found.append(Choice(board, chip, source, location))
    for option in ("MICROPHONE_PDM", "MICROPHONE_SLOT_16", "MICROPHONE_RIGHT"):
        found.append(Choice("pins", "esp32s3", "MICROPHONE", "APP", (option,)))
    for source in ("WAV", "MICROPHONE", "FRAMES"):
        found.append(Choice("pins", "esp32s3", source, "UPDATE", ("STREAMING_CONSOLE",)))
    for option in ("STREAMING_STATE_INTERNAL", "STREAMING_STATE_PSRAM"):
        found.append(Choice("pins", "esp32s3", "REPLAY", "APP", (option,)))
    power = ("PM_ENABLE", "FREERTOS_TASK_CREATE_ALLOW_EXT_MEM", "LISTENER_STACK_PSRAM")
    found.append(Choice("pins", "esp32s3", "MICROPHONE", "APP", power))
    return found + [Choice("pins", "esp32s3", "REPLAY", "APP", psram=kind) for kind in ("octal", "quad", "none")]


@lru_cache(None)
def _parse(board: str, directory: Path) -> Kconfig:
    chips = "\n".join(_CHIP.format(upper=chip.upper(), chip=chip) for chip in CHIPS)
    folder = PROJECT / "boards" / board / "lesp_board"
    root = directory / f"Kconfig.{board}"
    single = " || ".join(f"IDF_TARGET_{chip.upper()}" for chip in CHIPS if chip not in TWO_CORES)
    files = {
        "main": PROJECT / "main/Kconfig.projbuild",
        "listener": PROJECT / "components/lesp_listener/Kconfig",
        "board": folder / "Kconfig.projbuild",
        "streaming": PROJECT / "components/lesp_streaming/Kconfig",
    }
    root.write_text(_ROOT.format(chips=chips, single=single, **files))
    return Kconfig(str(root), print_report=False)


def configure(choice: Choice, directory: Path) -> str:
    """Return the header that a choice leads to, with the defaults of the project, its chip and its board."""
    kconfig = _parse(choice.board, directory)
    files = [PROJECT / name for name in ("sdkconfig.defaults", f"sdkconfig.defaults.{choice.chip}")]
    files.append(PROJECT / "boards" / choice.board / "sdkconfig.defaults")
    files += [PROJECT / f"sdkconfig.psram_{choice.psram}"] if choice.psram else []
    # ESP-IDF's own options are not known here.
    known = "|".join(kconfig.syms)
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    lines = [line for line in lines if re.match(rf"CONFIG_(?!STREAMING_SOURCE_)({known})=", line)]
    chosen = [f"STREAMING_SOURCE_{choice.source}", f"STREAMING_MODEL_{choice.location}", *choice.further]
    lines += [f'CONFIG_IDF_TARGET="{choice.chip}"', *(f"CONFIG_{name}=y" for name in chosen)]
    (directory / "sdkconfig").write_text("\n".join(lines) + "\n")
    kconfig.load_config(str(directory / "sdkconfig"))
    kconfig.write_autoconf(str(directory / "sdkconfig.h"), header="#pragma once\n")
    return (directory / "sdkconfig.h").read_text()


def options(header: str) -> dict[str, str]:
    """Return the macros of a header by name."""
    return dict(re.findall(r"^#define (CONFIG_\w+) (.*)$", header, re.MULTILINE))


def firmware(headers: Mapping[Choice, str]) -> dict[Choice, list[Path]]:
    """Return the sources of `main`, the listener and the board that each choice builds, given the header of each."""
    found: dict[Choice, list[Path]] = {choice: [] for choice in headers}
    for board in BOARDS:
        rows = {choice: _row(choice, header) for choice, header in headers.items() if choice.board == board}
        for component in (
            PROJECT / "main",
            PROJECT / "components/lesp_listener",
            PROJECT / "boards" / board / "lesp_board",
        ):
            sources = _register(component, sorted(set(rows.values())))
            for choice, row in rows.items():
                found[choice] += sources[row]
    return found


def _row(choice: Choice, header: str) -> str:
    names = (
        name
        for name in options(header)
        if re.match(r"CONFIG_(STREAMING_(SOURCE|MODEL)_[A-Z]+|STREAMING_CONSOLE|LISTENER_MICROPHONE)$", name)
    )
    return ",".join((choice.chip, *names))


def _register(component: Path, rows: Sequence[str]) -> dict[str, list[Path]]:
    """Return the sources that CMake says a component has, for each configuration."""
    command = ["cmake", f"-DCOMPONENT={component}", f"-DCHOICES={';'.join(rows)}", "-P"]
    done = subprocess.run([*command, SOURCE / "component_sources.cmake"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return {row: [Path(p).resolve() for p in line.split(";")] for row, line in zip(rows, lines, strict=True)}


@lru_cache(None)
def mentioned(source: Path) -> frozenset[str]:
    """The options that a source and the headers of the project that it includes mention."""
    folders = [source.parent, PROJECT / "main", *PROJECT.glob("components/*/include")]
    found, pending = set[str](), [source]
    seen = set(pending)
    while pending:
        text = pending.pop().read_text()
        found |= set(re.findall(r"\bCONFIG_\w+", text))
        for name in re.findall(r'#include "(\S+)"', text):
            paths = [folder / name for folder in folders if (folder / name).exists()]
            pending += [path for path in paths[:1] if path not in seen]
            seen |= set(paths[:1])
    return frozenset(found)


class Compiler:
    """Compiles sources, without objects, against configurations.

    Args:
        directory: for what it needs.
    """

    flags = ("-std=c++20", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Parsing the standard library is most of the time of each.
        (directory / "standard.hpp").write_text("".join(f"#include <{name}>\n" for name in STANDARD))
        self._run(["-x", "c++-header", directory / "standard.hpp", "-o", directory / "standard.hpp.gch"])

    def compile(self, source: Path, header: str) -> str:
        """Return what the compiler has to say about a source."""
        folder = self.directory / f"{source.stem}-{zlib.crc32(header.encode())}"
        folder.mkdir(exist_ok=True)
        (folder / "sdkconfig.h").write_text(header)
        components = PROJECT / "components"
        includes = [folder, PROJECT / "main", components / "lesp_model/esp32s3", *components.glob("*/include")]
        options = [f"-I{path}" for path in includes]
        standard = self.directory / "standard.hpp"
        return self._run(["-fsyntax-only", "-include", standard, *options, "-isystem", SOURCE / "fake", source])

    def _run(self, arguments: Sequence[str | Path]) -> str:
        command = ["c++", *self.flags, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True).stderr
