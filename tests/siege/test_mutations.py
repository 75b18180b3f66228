"""Damaged files: whatever is done to them, reading and computing ends in a value or in an error of this package."""

from __future__ import annotations

import json
import random
import shutil
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lightning_esp import Bundle, simulate, verify_bundle
from lightning_esp.bundle import read_both
from lightning_esp.bundle.manifest import sha256
from lightning_esp.cli import main
from lightning_esp.errors import LightningEspError
from lightning_esp.espdl import EspdlInterpreter, read_espdl
from lightning_esp.frontend.files import read_audio
from lightning_esp.inspection.golden import unpack_golden
from tests.siege.mutations import mutate_bytes, mutate_json

Check = Callable[[random.Random], object]


def besiege(check: Check, count: int, seed: int) -> None:
    """Run a check with `count` seeds of its own; what raises anything but an error of this package is a fault."""
    faults: dict[str, int] = {}
    for number in range(count):
        try:
            # numpy warns of NaN and overflow, which damaged weights are full of.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                check(random.Random(seed * 10_000_000 + number))
        except LightningEspError:
            continue
        except Exception as error:
            faults.setdefault(f"{type(error).__name__}: {str(error)[:200]}", number)
    assert not faults, f"foreign errors by their first number, of {count}, seed {seed}: {faults}"


def sizes(some: int, full: int) -> pytest.MarkDecorator:
    """A short sample in every run; the full number in pieces, so that they run side by side."""
    pieces = [pytest.param(full // 10, seed, id=f"full-{seed}", marks=pytest.mark.full) for seed in range(1, 11)]
    return pytest.mark.parametrize(("count", "seed"), [pytest.param(some, 0, id="some"), *pieces])


def compute(data: bytes, target: str) -> None:
    """Read a model and run one window of ones."""
    model = read_espdl(data)
    interpreter = EspdlInterpreter(model, target)
    shapes = {name: model.tensors[name].shape for name in model.inputs}
    inputs = {
        name: np.ones((1, *(shape[1:] if shape[:1] == (1,) else shape)), model.tensors[name].dtype)
        for name, shape in shapes.items()
    }
    interpreter.step(inputs, interpreter.initial_state(1))


@pytest.fixture(scope="module")
def models(bundle: Bundle) -> list[tuple[bytes, str]]:
    return [(stage.data, target) for target in bundle.targets for stage in read_both(bundle.path, target)[1].stages]


@sizes(1500, 700_000)
def test_a_damaged_model_is_computed_or_refused(models: list[tuple[bytes, str]], count: int, seed: int) -> None:
    def check(rng: random.Random) -> None:
        data, target = rng.choice(models)
        # The container's header is short; most faults shall meet the model behind it.
        compute(data[:16] + mutate_bytes(data[16:], rng) if rng.random() < 0.9 else mutate_bytes(data, rng), target)

    for data, target in models:
        compute(data, target)
    besiege(check, count, seed)


@sizes(300, 100_000)
def test_a_damaged_manifest_is_read_or_refused(bundle: Bundle, tmp_path: Path, count: int, seed: int) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "b"))
    texts = {name: (copy / name).read_text() for name in ("manifest.json", "report.json")}
    recording = torch.zeros(8, 9)
    uses: tuple[Callable[[], object], ...] = (
        lambda: read_both(copy),
        lambda: simulate(copy, recording),
        lambda: verify_bundle(copy),
        lambda: main(["report", str(copy), "--output", str(tmp_path / "page.html")]),
        lambda: main(["compare", str(copy), str(bundle.path)]),
    )

    for use in uses:
        failed = use()
        assert not isinstance(failed, int) or failed == 0

    def check(rng: random.Random) -> None:
        name = "manifest.json" if rng.random() < 0.8 else "report.json"
        text = mutate_json(texts[name], rng) if rng.random() < 0.8 else mutate_bytes(texts[name].encode(), rng)
        (copy / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        if name == "report.json":  # as if its hash were right
            manifest = json.loads(texts["manifest.json"])
            manifest["files"][name] = sha256((copy / name).read_bytes())
            (copy / "manifest.json").write_text(json.dumps(manifest))
        try:
            rng.choices(uses, (40, 3, 1, 3, 3))[0]()
        finally:
            for kept, text in texts.items():
                (copy / kept).write_text(text)

    besiege(check, count, seed)


@sizes(1500, 100_000)
def test_damaged_golden_windows_are_read_or_refused(bundle: Bundle, count: int, seed: int) -> None:
    _, quantized = read_both(bundle.path)
    (path,) = (bundle.path / f"components/lesp_model/{quantized.target}").rglob("*_golden.bin")
    data = path.read_bytes()
    assert unpack_golden(quantized, data, "golden").windows
    besiege(lambda rng: unpack_golden(quantized, mutate_bytes(data, rng), "golden"), count, seed)


@sizes(600, 100_000)
def test_a_damaged_recording_is_heard_or_refused(tmp_path: Path, count: int, seed: int) -> None:
    samples = np.sin(np.arange(800)) / 4
    files = []
    for kind, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAVEX", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("AIFF", "PCM_16"),
    ):
        soundfile.write(tmp_path / kind, samples, 16000, subtype, format=kind)
        files.append((tmp_path / kind).read_bytes())
        assert len(read_audio(tmp_path / kind)[0]) == 800
    # A header that promises 4 GB.
    files.append(files[0][:40] + struct.pack("<I", 0xFFFFFFF0) + files[0][44:])

    def check(rng: random.Random) -> None:
        data = rng.choice(files)
        head = rng.random() < 0.7
        (tmp_path / "x.wav").write_bytes(
            mutate_bytes(data[:100], rng) + data[100:] if head else mutate_bytes(data, rng)
        )
        read_audio(tmp_path / "x.wav")

    besiege(check, count, seed)
