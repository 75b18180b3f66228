"""Quantized networks for the tests of `lightning_esp.espdl`, made by esp-ppq in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lightning_esp.espdl import EspdlModel, read_espdl

_HERE = Path(__file__).parent
TARGETS = ("esp32s3", "esp32p4", "esp32c3")


@dataclass(frozen=True)
class Quantized:
    """One quantized network and what esp-ppq's executor computed with it, in the file's layout.

    `inputs` and `outputs` hold (steps, *file shape) by tensor name; caches were fed back from step to step.
    """

    name: str
    network: str
    target: str
    path: Path
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    feedback: dict[str, str]

    @property
    def model(self) -> EspdlModel:
        return read_espdl(self.path)


Quantize = Callable[..., list[Quantized]]


@pytest.fixture(scope="session")
def quantize(tmp_path_factory: pytest.TempPathFactory) -> Quantize:
    """Return a function that quantizes networks of the zoo: one process for all of one call, each once a session."""
    folder = tmp_path_factory.mktemp("espdl")
    known: dict[str, Quantized] = {}

    def run(
        networks: list[str],
        targets: tuple[str, ...] = TARGETS,
        bits: int = 8,
        seeds: tuple[int, ...] = (1,),
        steps: int = 8,
    ) -> list[Quantized]:
        jobs = [
            {"name": f"{n}_{t}_{bits}_{s}_{steps}", "network": n, "target": t, "bits": bits, "seed": s, "steps": steps}
            for n in networks
            for t in targets
            for s in seeds
        ]
        missing = [job for job in jobs if job["name"] not in known]
        if missing:
            _work(missing, folder)
            known.update({str(job["name"]): _load(job, folder) for job in missing})
        return [known[str(job["name"])] for job in jobs]

    return run


def _work(jobs: list[dict[str, object]], folder: Path) -> None:
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(_HERE.parents[1])}
    command = [sys.executable, str(_HERE / "worker.py"), str(folder / "jobs.json"), str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def _load(job: dict[str, object], folder: Path) -> Quantized:
    name = str(job["name"])
    error = folder / f"{name}.error"
    assert not error.exists(), f"{name}: {error.read_text()}"
    arrays = np.load(folder / f"{name}.npz")
    notes = json.loads((folder / f"{name}.json").read_text())
    inputs = {key[3:]: arrays[key] for key in arrays if key.startswith("in:")}
    outputs = {key[4:]: arrays[key] for key in arrays if key.startswith("out:")}
    network, target = str(job["network"]), str(job["target"])
    return Quantized(name, network, target, folder / f"{name}.espdl", inputs, outputs, notes["feedback"])
