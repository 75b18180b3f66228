"""The command that measures apps, with an `idf.py` that takes for an app what was switched on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cpp.host_build import PROJECT

SCRIPT = Path(__file__).parents[1] / "benchmarks/firmware_size.py"
IDF = """#!{python}
import sys
from pathlib import Path
directory = Path(sys.argv[2])
sdkconfig = Path(next(word for word in sys.argv if word.startswith("SDKCONFIG=")).split("=")[1])
on = sum(line.endswith("=y") for line in sdkconfig.read_text().splitlines())
if "IDF_TARGET=esp32" in sys.argv:
    sys.exit("no such chip")
(directory / "streaming_model.bin").write_bytes(bytes(1000 - 100 * on))
"""


@pytest.fixture
def run(tmp_path):
    program = tmp_path / "bin/idf.py"
    program.parent.mkdir()
    program.write_text(IDF.format(python=sys.executable))
    program.chmod(0o755)

    def measure(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
        command = [sys.executable, SCRIPT, tmp_path, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return measure


def test_each_row_adds_a_choice(run, tmp_path):
    done = run("esp32c3", "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    found = [line.split()[-3:] for line in done.stdout.splitlines()]
    assert found == [[str(1000 - 100 * on), "bytes", f"{100 - 10 * on}%"] for on in range(6)]
    assert (tmp_path / "kept/5/streaming_model.bin").exists()


def test_every_choice_is_one_of_menuconfig(run, tmp_path):
    run("esp32c3", "--keep", str(tmp_path / "kept"))
    kconfig = "".join(path.read_text() for path in PROJECT.rglob("Kconfig*"))
    for line in (tmp_path / "kept/5/sdkconfig").read_text().splitlines():
        assert f"config {line.removeprefix('CONFIG_').removesuffix('=y')}\n" in kconfig


def test_a_build_that_fails_is_shown(run):
    done = run("esp32")
    assert done.returncode == 1
    assert "no such chip" in done.stderr
