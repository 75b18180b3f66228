"""Builds the firmware of a bundle with and without what makes it small and fast, and prints the size of each app.

    . $IDF_PATH/export.sh
    python benchmarks/firmware_size.py BUNDLE CHIP

It needs ESP-IDF, no board. Each row adds one choice of menuconfig to the one above it; the last is what the project does by
itself. How long the network takes is what the self-test prints on the board: `idf.py flash monitor` with each of the build
directories, which `--keep DIRECTORY` keeps.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# What each row switches on, in the order of the rows.
ROWS = {
    "ESP-DL as it builds itself": (),
    "only the operators of the model": ("STREAMING_ONLY_MODEL_OPERATORS",),
    "no <iostream>": ("STREAMING_NO_IOSTREAM",),
    "unrolled convolutions": ("STREAMING_UNROLL_CONVOLUTIONS",),
    "exponents changed with integers": ("STREAMING_INTEGER_REQUANTIZE",),
    "no golden data (source: microphone)": ("STREAMING_SOURCE_MICROPHONE",),
}


def options_of(rows: Sequence[str]) -> str:
    """Return lines for an sdkconfig that go over the project's defaults, with the choices of these rows switched on."""
    chosen = {name for row in rows for name in ROWS[row]}
    lines = []
    for name in (name for names in ROWS.values() for name in names):
        if not name.startswith("STREAMING_SOURCE_") or name in chosen:
            lines.append(f"CONFIG_{name}=y" if name in chosen else f"# CONFIG_{name} is not set")
    return "\n".join(lines) + "\n"


def build(bundle: Path, chip: str, directory: Path, options: str) -> int:
    """Build the firmware and return the bytes of its app."""
    directory.mkdir(parents=True)
    (directory / "sdkconfig").write_text(options)
    command = [
        "idf.py",
        "-B",
        directory,
        "-D",
        f"SDKCONFIG={directory / 'sdkconfig'}",
        "-D",
        f"IDF_TARGET={chip}",
        "build",
    ]
    done = subprocess.run(list(map(str, command)), cwd=bundle, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return (directory / "streaming_model.bin").stat().st_size


def measure(bundle: Path, chip: str, directory: Path) -> dict[str, int]:
    """Build every row."""
    rows = list(ROWS)
    return {
        row: build(bundle, chip, directory / str(index), options_of(rows[: index + 1]))
        for index, row in enumerate(rows)
    }


def table(sizes: Mapping[str, int]) -> str:
    """Return a line for each row: its bytes, and their part of the first row's."""
    first = next(iter(sizes.values()))
    return "\n".join(f"{row:36} {size:9} bytes  {size / first:4.0%}" for row, size in sizes.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("chip")
    parser.add_argument("--keep", type=Path, help="build here, in folders 0, 1, ...; a directory that does not exist")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = (arguments.keep or Path(temporary) / "build").resolve()
        print(table(measure(arguments.bundle.resolve(), arguments.chip, directory)))


if __name__ == "__main__":
    main()
