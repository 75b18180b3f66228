"""`lightning-esp simulate`: a recording to events, and errors that say what to do."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
import wave
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_esp import Deployment, Streaming, export
from lightning_esp.cli import main
from lightning_esp.config import Detector
from tests.bundle import handmade
from tests.models.spotter import Net
from tests.support.tones import LABELS, make_front_end, make_waveforms, read_audio


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    front_end = make_front_end()
    return export(
        Net().eval(),
        list(make_waveforms()),
        tmp_path_factory.mktemp("cli") / "ear",
        streaming=Streaming(frame_period=front_end.frame_period),
        deployment=Deployment(LABELS, detector=Detector(0.4, average=3, refractory=5)),
        front_end=front_end,
    )


def write_wav(path, samples, rate=16000, channels=1, width=2):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return str(path)


def test_events_are_those_of_the_golden_recording(bundle, tmp_path, capsys):
    samples, features = read_audio(bundle)
    assert main(["simulate", str(bundle.path), write_wav(tmp_path / "a.wav", samples[0])]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = [
        f"event {LABELS[label]} ({label}) at {0.01 * (frame + 1):.3f} s"
        for recording, frame, label in bundle.manifest["targets"]["esp32s3"]["golden_events"]
        if recording == 0
    ]
    assert [line.split(",")[0] for line in lines[:-1]] == expected != []
    seconds = len(samples[0]) / 16000
    assert lines[-1] == f"{len(expected)} events in {seconds:.3f} s, {len(features[0])} output frames, esp32s3"


def test_of_several_channels_the_first_is_heard(bundle, tmp_path, capsys):
    samples = read_audio(bundle)[0][0]
    both = np.stack([samples, np.zeros_like(samples)], axis=1)
    printed = []
    for name, values, channels in (("mono", samples, 1), ("stereo", both, 2)):
        assert main(["simulate", str(bundle.path), write_wav(tmp_path / name, values, channels=channels)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_flac_sounds_like_wav(bundle, tmp_path, capsys):
    soundfile = pytest.importorskip("soundfile")
    samples = read_audio(bundle)[0][0]
    soundfile.write(tmp_path / "a.flac", samples, 16000, subtype="PCM_16")
    printed = []
    for recording in (write_wav(tmp_path / "a.wav", samples), str(tmp_path / "a.flac")):
        assert main(["simulate", str(bundle.path), recording]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    (tmp_path / "text.flac").write_text("not audio")
    assert main(["simulate", str(bundle.path), str(tmp_path / "text.flac")]) == 1
    assert "text.flac cannot be read" in capsys.readouterr().err


def test_a_detector_by_hand(bundle, tmp_path, capsys):
    recording = write_wav(tmp_path / "a.wav", read_audio(bundle)[0][0])

    def events(*options):
        assert main(["simulate", str(bundle.path), recording, *options]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("event ")]

    own = events()
    assert own
    # What is not given stays as it is in the bundle.
    assert events("--threshold", "0.4") == events("--average", "3", "--refractory", "5") == own
    assert events("--threshold", "1") == []
    assert events("--average", "60") == []
    assert len(events("--refractory", "0")) >= len(own)


def test_a_plot(bundle, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    recording = write_wav(tmp_path / "a.wav", read_audio(bundle)[0][0])
    plot = tmp_path / "plot.png"
    assert main(["simulate", str(bundle.path), recording, "--plot", str(plot)]) == 0
    data = plot.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > height > 400
    assert main(["simulate", str(bundle.path), recording, "--plot", str(tmp_path / "new" / "plot.png")]) == 0
    assert (tmp_path / "new" / "plot.png").read_bytes() == data


def test_a_plot_of_minutes_hides_no_curve_and_no_name(bundle, tmp_path, monkeypatch, capsys):
    figure_module = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figure_module.Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    clips = (2**15 * make_waveforms()).flatten().numpy().astype(np.int16)
    samples = np.tile(clips, 80)[: 150 * 16000]
    recording = write_wav(tmp_path / "minutes.wav", samples)
    assert main(["simulate", str(bundle.path), recording, "--refractory", "0", "--plot", str(tmp_path / "p.png")]) == 0
    printed = capsys.readouterr().out
    (figure,) = drawn
    figure.draw_without_rendering()
    _, scores, events = figure.axes
    # The legend stands beside the curves, and names stand on rows of their own: none over another.
    assert scores.get_legend().get_window_extent().x0 >= scores.get_window_extent().x1
    assert [text for axes in figure.axes for text in axes.texts] == []
    for labels in (events.get_xticklabels(), events.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels if label.get_text()]
        assert len(boxes) >= 1
        assert sum(a.overlaps(b) for a in boxes for b in boxes) == len(boxes)
    assert "2:00" in [label.get_text() for label in events.get_xticklabels()]
    assert sum(len(line.get_xdata()) for line in events.get_lines()) == printed.count("event ") > 100


def test_memory_does_not_grow_with_the_recording(bundle, tmp_path, capsys):
    piece = read_audio(bundle)[0][0]

    def measure(seconds):
        path = write_wav(tmp_path / "long.wav", np.tile(piece, 1 + seconds * 16000 // len(piece))[: seconds * 16000])
        tracemalloc.start()
        try:
            assert main(["simulate", str(bundle.path), path, "--threshold", "1"]) == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    measure(10)
    assert measure(160) < 1.2 * measure(40)
    assert capsys.readouterr().out.splitlines()[1].startswith("0 events in 160.000 s, 15998 output frames")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_long_recording_shows_how_far_it_is(bundle, tmp_path, monkeypatch, capsys):
    samples = read_audio(bundle)[0][0]
    short, long = write_wav(tmp_path / "s.wav", samples), write_wav(tmp_path / "l.wav", np.tile(samples, 300))
    shown = {}
    for path in (short, long):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stderr", terminal)
            assert main(["simulate", str(bundle.path), path]) == 0
        shown[path] = terminal.getvalue()
    assert shown[short] == ""
    assert "min: 100%" in shown[long]
    assert "%" not in capsys.readouterr().out


def test_a_microphone_is_heard_as_it_comes(bundle, tmp_path, monkeypatch, capsys):
    samples = read_audio(bundle)[0][0][:, None]

    class Stream:
        place = 0

        def __init__(self, samplerate, channels, dtype):
            assert (samplerate, channels, dtype) == (16000, 1, "int16")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def read(self, count):
            assert count <= 4000
            self.place += count
            return samples[self.place - count : self.place], self.place == count

    fake = SimpleNamespace(InputStream=Stream, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    seconds = len(samples) / 16000
    assert main(["simulate", str(bundle.path), "--microphone", str(seconds)]) == 0
    spoken = capsys.readouterr()
    assert spoken.err.count("were lost") == 1
    assert main(["simulate", str(bundle.path), write_wav(tmp_path / "a.wav", samples[:, 0])]) == 0
    assert capsys.readouterr().out == spoken.out != ""


def test_what_cannot_be_heard_says_why(bundle, tmp_path, capsys):
    def fails(*arguments, code=1):
        assert main(["simulate", *map(str, arguments)]) == code
        return capsys.readouterr().err

    path, good = bundle.path, write_wav(tmp_path / "a.wav", np.zeros(16000, np.int16))
    assert "manifest.json cannot be read" in fails(tmp_path, good)
    assert "no.wav cannot be read (No such file or directory)" in fails(path, tmp_path / "no.wav")
    (tmp_path / "text.wav").write_text("not audio")
    assert "text.wav cannot be read as audio" in fails(path, tmp_path / "text.wav")
    slow = write_wav(tmp_path / "slow.wav", np.zeros(8000, np.int16), rate=8000)
    assert "8000 samples a second; the model takes 16000. Convert it: `ffmpeg" in fails(path, slow)
    assert "fewer than one frame of 400" in fails(path, write_wav(tmp_path / "s.wav", np.zeros(399, np.int16)))
    assert "either a recording or --microphone" in fails(path, code=2)
    assert "no model for target='esp32c3'" in fails(path, good, "--target", "esp32c3")
    for option, value in (
        ("average", 0),
        ("minimum", -1),
        ("refractory", -1),
        ("threshold", 2.0),
        ("threshold", "nan"),
    ):
        assert f"Detector({option}={value})" in fails(path, good, f"--{option}", value, code=2)
    deaf = handmade_bundle(tmp_path / "deaf")
    assert "has no front end for audio" in fails(deaf, good)


def handmade_bundle(path):
    from lightning_esp import write_bundle

    return write_bundle({"esp32s3": handmade.one_stage()}, path).path


def test_no_microphone_package(bundle, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["simulate", str(bundle.path), "--microphone", "1"]) == 1
    assert "needs the package sounddevice" in capsys.readouterr().err


def test_a_bundle_that_listens_is_verified(bundle, capsys):
    assert main(["verify", str(bundle.path)]) == 0
    assert "the header is what the manifest makes: 0, at most 0" in capsys.readouterr().out
