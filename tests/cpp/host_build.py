"""Builds and runs the firmware of bundles on the host, against a stand-in of ESP-DL that replays golden integers.

    python -m tests.cpp.host_build BUNDLE [TARGET]

does it for any bundle that holds golden windows: its own `components/lesp_streaming` and `main`, its own `model_config.hpp`
and golden data, with scripts in place of its `.espdl` files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lightning_esp.bundle import Bundle, read_bundle, read_model
from lightning_esp.verification.proof import Golden
from tests.cpp import object_cache
from tests.cpp.script import read_golden, write_script

SOURCE = Path(__file__).parent
PROJECT = SOURCE.parents[1] / "idf_project"

# The code of the project's README that is built: file, language, and a word of it.
BLOCKS = (
    ("readme_block.hpp", "cpp", "on_frame"),
    ("readme_app.c", "c", "app_main"),
    ("readme_app.cpp", "cpp", "app_main"),
)


def copy_with_scripts(bundle: Bundle, target: str, golden: Golden, directory: Path, made: Golden | None = None) -> Path:
    """Copy a bundle to `directory`, with scripts in place of the `.espdl` files of one target; see `write_script`."""
    shutil.copytree(bundle.path, directory)
    stages = read_model(bundle, target).stages
    for entry, stage in zip(bundle.manifest["targets"][target]["stages"], stages, strict=True):
        (directory / entry["file"]).write_bytes(write_script(stage, golden, made))
    return directory


def build(
    directory: Path,
    bundles: Sequence[Path],
    target: str = "esp32s3",
    project: Path = PROJECT,
    programs: Sequence[str] = ("all",),
) -> Path:
    """Build the host programs of bundles made by `copy_with_scripts`; return the directory of the programs.

    Args:
        directory: where they go.
        bundles: the bundles, by whose folders the programs are named.
        target: which chip's models.
        project: where components and `main` are.
        programs: those to build.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, language, mark in BLOCKS:
        (directory / name).write_text(read_block(project / "README.md", language, mark))
    options = {"PROJECT": project, "BUNDLES": ";".join(map(str, bundles)), "TARGET": target}
    if object_cache.FOLDER in os.environ:
        options["COMPILER_LAUNCHER"] = f"{sys.executable};{object_cache.__file__}"
    configure = ["cmake", "-S", SOURCE, "-B", directory, *(f"-D{key}={value}" for key, value in options.items())]
    for command in (configure, ["cmake", "--build", directory, "-j", "2", "--target", *programs]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}")
    return directory


def read_block(readme: Path, language: str, mark: str) -> str:
    """Return the one block of a README in a language that mentions `mark`."""
    found = re.findall(rf"```{language}\n(.*?)```", readme.read_text(), re.DOTALL)
    (block,) = [text for text in found if mark in text]
    return block


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a host program and return what it printed."""
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=120)


def main(path: str, target: str | None = None) -> int:
    """Replay one bundle on the host; 0 if every value is the golden one."""
    bundle = read_bundle(path)
    target = target or bundle.targets[0]
    with tempfile.TemporaryDirectory() as temporary:
        copy = copy_with_scripts(bundle, target, read_golden(bundle, target), Path(temporary) / "bundle")
        programs = build(Path(temporary) / "build", [copy], target, bundle.path)
        results = [run(programs / name) for name in ("units", "replay_bundle", "checks_bundle")]
    for done in results[:2]:
        sys.stdout.write(done.stdout + ("" if done.returncode == 0 else done.stderr))
    # It also plants a difference, which it prints.
    sys.stdout.write("PASS checks\n" if results[2].returncode == 0 else results[2].stdout + results[2].stderr)
    return int(any(done.returncode for done in results) or "\nPASS " not in results[1].stdout)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
