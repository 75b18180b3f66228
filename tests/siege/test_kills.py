"""Exports that are killed at any moment: the older bundle or the newer one is there, whole, and nothing else is left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_esp import verify_bundle

EXPORT = """
import sys
import torch
from lightning_esp import export
from tests.siege.small import make_net

torch.manual_seed(int(sys.argv[2]))
export(make_net(), [torch.randn(4, 220) for _ in range(4)], sys.argv[1])
"""


class Siege:
    """Processes that export to one directory, each with a mark in its environment by which it and its worker are found."""

    def __init__(self, place: Path) -> None:
        self.bundle, self.temporary, self.script = place / "firmware", place / "tmp", place / "export.py"
        self.mark = f"LIGHTNING_ESP_SIEGE={place.name}{time.monotonic_ns()}"
        self.temporary.mkdir()
        self.script.write_text(EXPORT)

    def start(self, seed: int) -> subprocess.Popen[bytes]:
        name, value = self.mark.split("=")
        settings = {"TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1", name: value}
        settings["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, str(self.script), str(self.bundle), str(seed)]
        return subprocess.Popen(command, env={**os.environ, **settings}, stderr=subprocess.PIPE)

    def finish(self, seed: int) -> float:
        """Export to the end; return the seconds that it took."""
        begun = time.monotonic()
        process = self.start(seed)
        complaints = process.communicate()[1]
        assert process.returncode == 0, complaints.decode()
        return time.monotonic() - begun

    def survivors(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:  # of another user, or gone meanwhile
                continue
        return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the worker of a killed export in /proc")
@pytest.mark.parametrize(("kills", "earliest"), [(1, 0.4), pytest.param(200, 0.0, marks=pytest.mark.full)])
def test_a_killed_export_loses_and_leaves_nothing(tmp_path: Path, kills: int, earliest: float) -> None:
    siege, rng, died = Siege(tmp_path), random.Random(kills), 0
    whole = siege.finish(0)
    for number in range(1, kills + 1):
        process = siege.start(number)
        time.sleep(rng.uniform(earliest, 0.9) * whole)
        process.kill()
        process.communicate()
        died += process.returncode < 0
        deadline = time.monotonic() + 60
        while siege.survivors() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert siege.survivors() == [], "the worker outlives its export"
        verify_bundle(siege.bundle)
    assert died > kills // 2
    siege.finish(kills + 1)
    verify_bundle(siege.bundle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.py", "firmware", "tmp"]
    assert [path.name for path in siege.temporary.iterdir()] == []
