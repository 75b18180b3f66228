"""The fixed-point front end of the firmware against that of the exporter: no value differs."""

from __future__ import annotations

import struct
import subprocess
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_esp.bundle.audio import pack_audio
from lightning_esp.frontend import FixedPointFrontEnd, FrontEnd, LogMel, Mfcc, Spectrogram
from lightning_esp.verification.proof import Golden, GoldenAudio
from tests.cpp.compile import COMPONENTS, SOURCE, compile_program, needs_compiler, run_program
from tests.frontend.sounds import make_sounds
from tests.support.audio_sources import SOURCES

pytestmark = needs_compiler

KINDS = {"Fbank": 1, "MFCC": 2, "Spectrogram": 3}
WINDOWS = ("hanning", "hann", "sine", "hamming", "povey", "blackman", "rectangular")

FRONT_ENDS: dict[str, FrontEnd] = {
    "log-mel": LogMel(num_mel_bins=40),
    "magnitudes": LogMel(use_power=False, use_log_fbank=2, low_freq=20),
    "energy": LogMel(use_energy=True, raw_energy=False, use_log_fbank=2, preemphasis=0.0),
    "large floor": LogMel(log_epsilon=2.0, use_log_fbank=2, remove_dc_offset=False),
    "small floor": LogMel(log_epsilon=1e-20, use_log_fbank=2),
    "mfcc": Mfcc(num_mel_bins=40, use_energy=True),
    "mfcc, no lifter": Mfcc(cepstral_lifter=0.0, num_ceps=26),
    "spectrogram": Spectrogram(),
    "8 kHz": LogMel(sample_rate=8000, high_freq=3800.0, num_mel_bins=20),
    "few samples": Spectrogram(sample_rate=1000, frame_length=7, frame_shift=3),
    "48 kHz, long": LogMel(sample_rate=48000, frame_length=100, frame_shift=50, high_freq=20000.0, num_mel_bins=64),
    **{window: LogMel(window_type=window) for window in WINDOWS},
}


def pack(front_end: FrontEnd, samples: torch.Tensor) -> bytes:
    config = front_end.config
    numbers = (
        *(KINDS[front_end.kind], config.sample_rate, config.frame_length, config.frame_shift, config.num_mel_bins),
        *(
            config.num_ceps,
            WINDOWS.index(config.window_type),
            config.use_log_fbank,
            config.raw_energy,
            config.use_power,
        ),
        *(config.use_energy, config.remove_dc_offset, front_end.bands, config.frame_samples, config.hop_samples),
        len(samples),
    )
    floats = (config.preemphasis, config.cepstral_lifter, config.low_freq, config.high_freq, config.log_epsilon)
    arrays = (front_end.mean.numpy(), front_end.scale.numpy(), samples.numpy())
    return struct.pack("<16i5f", *numbers, *floats) + b"".join(array.tobytes() for array in arrays)


def make_golden(samples: torch.Tensor) -> bytes:
    """Golden samples and features of the front end that `fixed_point.cpp` has: mean and scale are ones."""
    front_end = LogMel(num_mel_bins=40)
    front_end.mean.fill_(1)
    features = FixedPointFrontEnd(front_end)(samples).T.numpy()
    return pack_audio(Golden({}, {}, {}, (0,), audio=(GoldenAudio(samples.numpy(), features),)))


Features = dict[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]]


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Features:
    """What firmware and exporter make of every sound with every front end, mean and scale measured on one of them."""
    directory = tmp_path_factory.mktemp("fixed_point")
    sounds = make_sounds()
    for front_end in FRONT_ENDS.values():
        front_end.measure([sounds["noise"]])
    cases = list(product(FRONT_ENDS, sounds))
    data = b"".join(pack(FRONT_ENDS[name], sounds[sound]) for name, sound in cases)
    (directory / "cases.bin").write_bytes(data)
    program = compile_program(
        directory / "program",
        ["fixed_point.cpp", *SOURCES],
        ["lesp_audio", "lesp_streaming"],
        "-O1",
        "-ffp-contract=off",
    )
    (directory / "golden.bin").write_bytes(make_golden(sounds["rising noise"]))
    files = (directory / name for name in ("cases.bin", "out.bin", "golden.bin"))
    assert run_program(program, *files) == "PASS fixed point\n"
    values = np.fromfile(directory / "out.bin", "<f4")
    found: Features = {}
    for name, front_end in FRONT_ENDS.items():
        ours = FixedPointFrontEnd(front_end)
        for sound, samples in sounds.items():
            expected = ours(samples).T.numpy()
            found[name, sound] = expected, values[: expected.size].reshape(expected.shape)
            values = values[expected.size :]
    assert len(values) == 0
    return found


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_no_value_differs(features: Features, name: str) -> None:
    for (front_end, sound), (expected, values) in features.items():
        if front_end == name:
            assert len(expected) > 0
            assert np.array_equal(expected, values), f"{sound}: {(expected != values).sum()} of {values.size} values"


def test_what_each_bin_needs_is_inline(tmp_path):
    """The steps of a frame are in several files; a call for every bin is 6 % of the instructions on a chip."""
    source, made = COMPONENTS / "lesp_audio/src/fixed_point_features.cpp", tmp_path / "features.o"
    includes = [f"-I{COMPONENTS / name / 'include'}" for name in ("lesp_audio", "lesp_streaming")]
    command = ["c++", "-std=c++20", "-O2", "-isystem", SOURCE / "fake", *includes, "-c", source, "-o", made]
    subprocess.run(list(map(str, command)), check=True)
    called = subprocess.run(["nm", "-uC", made], check=True, capture_output=True, text=True).stdout
    assert "FixedPointFeatures::transform_halves()" in called
    assert "power(" not in called
