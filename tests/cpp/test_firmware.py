"""The whole firmware on the host: samples from a WAV file or a microphone to events, and the golden chain from samples."""

from __future__ import annotations

import os
import re
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_esp import Deployment, Streaming, export
from lightning_esp.config import Detector
from tests.cpp.host_build import build, copy_with_scripts, run
from tests.cpp.script import read_golden
from tests.models.spotter import Net
from tests.support.host import needs_cmake
from tests.support.tones import LABELS, make_front_end, make_waveforms, read_audio

pytestmark = needs_cmake


@pytest.fixture(scope="module")
def ear(tmp_path_factory):
    """A bundle that listens, the host programs of its firmware, and its first golden recording as a WAV file."""
    directory = tmp_path_factory.mktemp("firmware")
    torch.manual_seed(0)
    front_end = make_front_end()
    bundle = export(
        Net().eval(),
        list(make_waveforms()),
        directory / "bundles" / "ear",
        # The recordings end within a window.
        streaming=Streaming(window=3, frame_period=front_end.frame_period),
        deployment=Deployment(LABELS, name="ear", detector=Detector(0.4, average=3, refractory=5)),
        front_end=front_end,
    )
    copy = copy_with_scripts(bundle, "esp32s3", read_golden(bundle, "esp32s3"), directory / "scripts" / "ear")
    programs = build(directory / "build", [copy])
    write_wav(directory / "recording.wav", read_audio(bundle)[0][0])
    return bundle, programs, directory / "recording.wav"


def test_it_says_how_much_of_their_stacks_the_tasks_have_used(ear):
    """The stand-in of FreeRTOS says that 1,192 bytes were never touched."""
    _, programs, recording = ear
    done = subprocess.run([programs / "wav_ear"], cwd=recording.parent, capture_output=True, text=True, timeout=60)
    found = re.findall(r"the (\S+) task has used (\d+) of its (\d+) bytes .* (LISTENER_\w+)=(\d+) is", done.stderr)
    capture = ("capture", "4952", "6144", "LISTENER_CAPTURE_STACK", "6400")
    models = ("models'", "7000", "8192", "LISTENER_MODEL_STACK", "8960")
    assert sorted(found) == [capture, models, models]


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def run_in(program: Path, directory: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(program)], cwd=directory, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected_events(bundle, frames: int) -> list[tuple[str, str]]:
    """Label and time of the events of the first golden recording, as the firmware prints them."""
    events = bundle.manifest["targets"]["esp32s3"]["golden_events"]
    return [
        (LABELS[c], f"{0.01 * (frame + 1):.3f}") for recording, frame, c in events if recording == 0 and frame < frames
    ]


def found_events(text: str) -> list[tuple[str, str]]:
    return re.findall(r"event (\S+) \(\d\) at (\S+) s, score 0\.\d+", text)


def test_the_golden_chain_starts_at_samples_and_ends_at_decisions(ear):
    bundle, programs, _ = ear
    done = run(programs / "replay_ear")
    assert done.returncode == 0, done.stderr
    events = len(bundle.manifest["targets"]["esp32s3"]["golden_events"])
    samples, features = read_audio(bundle)
    frames = sum(len(each) for each in features)
    front_end = re.search(
        r"front end: (\d+) frames of (\d+) recordings, largest difference (\S+), 0 of (\d+) values differ, "
        r"(\d+) quantized one step off, 0 further",
        done.stdout,
    )
    assert front_end is not None, done.stdout
    assert [int(value) for value in front_end.group(1, 2, 4)] == [frames, len(samples), frames * 6]
    assert float(front_end.group(3)) < 5e-4
    assert f"detector: {events} of {events} events, all at the same frames\n" in done.stdout
    assert "memory: " in done.stdout
    assert re.findall("^(?:PASS|FAIL)", done.stdout, re.MULTILINE) == ["PASS"]
    assert re.search(r"\nPASS \d+ windows\n$", done.stdout)
    assert events > 3


def test_a_recording_makes_the_golden_events(ear):
    bundle, programs, recording = ear
    text = run_in(programs / "wav_ear", recording.parent)
    assert found_events(text) == expected_events(bundle, len(read_audio(bundle)[1][0])) != []
    assert re.search(
        r"\n\d+ steps, \d+ us on average, \d+ us at most of 10000 us, \d+ too long, 0 samples lost, "
        r"at work for \d+\.\d % of the time \(front end \d+\.\d %\)\n$",
        text,
    )


@pytest.mark.parametrize("microphone", ["i2s", "pdm", "codec"])
def test_a_microphone_makes_the_golden_events(ear, microphone):
    bundle, programs, recording = ear
    text = run_in(programs / f"{microphone}_ear", recording.parent, FAKE_MICROPHONE=str(recording))
    assert "listening\n" in text
    assert found_events(text) == expected_events(bundle, len(read_audio(bundle)[1][0])) != []
    assert ", 0 samples lost, " in text
    # A microphone that falls silent is an error, after all that it gave was heard.
    assert text.endswith("FAIL ESP_FAIL\n" if microphone == "codec" else "FAIL ESP_ERR_TIMEOUT\n")


@pytest.mark.parametrize("microphone", ["i2s", "codec"])
def test_a_microphone_that_times_out_is_opened_again(ear, microphone):
    """What was lost counts in the time of an event."""
    bundle, programs, recording = ear
    text = run_in(programs / f"{microphone}_ear", recording.parent, FAKE_MICROPHONE=str(recording), FAKE_HICCUP="1")
    (lost,) = re.findall(r"\noverrun: (\d+) samples lost\n", text)
    expected = expected_events(bundle, len(read_audio(bundle)[1][0]))
    assert [label for label, _ in found_events(text)] == [label for label, _ in expected] != []
    shifts = [float(found[1]) - float(each[1]) for found, each in zip(found_events(text), expected, strict=True)]
    assert shifts == [pytest.approx(int(lost) / 16000, abs=1.5e-3)] * len(expected)


@pytest.mark.parametrize("language", ["c", "cpp"])
def test_the_app_of_the_readme_hears_the_golden_events(ear, language):
    bundle, programs, recording = ear
    text = run_in(programs / f"readme_{language}_ear", recording.parent, FAKE_MICROPHONE=str(recording))
    expected = expected_events(bundle, len(read_audio(bundle)[1][0]))
    assert re.findall(r"^(\S+) 0\.\d\d$", text, re.MULTILINE) == [label for label, _ in expected] != []


def test_examples_act_on_events(ear):
    bundle, programs, recording = ear
    expected = expected_events(bundle, len(read_audio(bundle)[1][0]))
    text = run_in(programs / "led_ear", recording.parent, FAKE_MICROPHONE=str(recording))
    assert text.count("LED 5 on\nLED 5 off\n") == len(expected)
    text = run_in(programs / "mqtt_ear", recording.parent, FAKE_MICROPHONE=str(recording))
    messages = re.findall(r'^MQTT detected/(\S+) {"score": 0\.\d{3}, "ms": (\d+)}$', text, re.MULTILINE)
    assert messages == [(label, str(round(float(time) * 1000))) for label, time in expected]
    assert text.count("MQTT mqtt://") == 1


def test_listening_allocates_nothing_after_start(ear):
    """And a step that is longer than a frame is told."""
    _, programs, _ = ear
    done = run(programs / "chain_ear")
    assert (done.returncode, done.stdout) == (0, "PASS chain\n"), done.stdout + done.stderr


def test_start_up_errors_say_what_to_do(ear, tmp_path):
    _, programs, recording = ear
    text = run_in(programs / "wav_ear", recording.parent, FAKE_PSRAM="0")
    assert text.startswith("This firmware is built for octal PSRAM, and this board shows none.")
    assert "idf.py -D PSRAM=quad set-target esp32s3" in text
    assert "idf.py -D PSRAM=none set-target esp32s3" in text
    assert text.endswith("FAIL ESP_ERR_NOT_SUPPORTED\n")
    text = run_in(programs / "wav_ear", recording.parent, FAKE_FREE_BYTES="100")
    assert re.search(
        r"No memory: the model takes about \d+ bytes, 100 are free, \d+ are missing\.\nFAIL ESP_ERR_NO_MEM", text
    )
    text = run_in(programs / "wav_ear", tmp_path)
    assert text.endswith(
        "There is no file recording.wav (ESP_ERR_NOT_FOUND); is its file system mounted?\nFAIL ESP_ERR_NOT_FOUND\n"
    )
    assert run_in(programs / "wav_ear", recording.parent).startswith(
        "the model took 0 bytes of internal RAM and 0 of PSRAM: weights copied, 0 bytes of internal RAM for the tensors of "
        "each file, state in internal RAM or PSRAM\nmemory: "
    )
    (tmp_path / "recording.wav").write_bytes(b"RIFF")
    assert "cannot be read: it does not start as a RIFF/WAVE file" in run_in(programs / "wav_ear", tmp_path)
    write_wav(tmp_path / "recording.wav", np.zeros(800), rate=8000)
    assert "has 8000 samples a second, the model takes 16000" in run_in(programs / "wav_ear", tmp_path)
    assert run_in(programs / "i2s_ear", tmp_path).endswith("FAIL ESP_ERR_NOT_FOUND\n")
    assert "define streaming_next_frame" in run_in(programs / "frames_ear", tmp_path)
