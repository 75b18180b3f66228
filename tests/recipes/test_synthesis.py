"""Words from text: many voices, none in two splits, every clip on disk whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lightning_esp.errors import DataError

ROOT = Path(__file__).parents[2]
RATE = 16_000
Samples = NDArray[np.float32]


@pytest.fixture
def synthesis(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import synthesis

    return synthesis


@pytest.fixture
def engines(synthesis: ModuleType) -> ModuleType:
    import engines

    return engines


class Tones:
    """Synthesizer whose voices are frequencies; it counts what it says."""

    weight = 1.0

    def __init__(self, engines: ModuleType, name: str = "tones", speakers: Sequence[str] = "abcde") -> None:
        self.name, self.version, self.said, self._voice = name, "1", [], engines.Voice
        self.speakers, self.fails = speakers, lambda text: False
        self._error = engines.SynthesisError

    def voices(self) -> list[Any]:
        return [self._voice(f"{name}-{number}", name) for name in self.speakers for number in range(2)]

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> Samples:
        self.said.append(text)
        if self.fails(text):
            raise self._error(f"no way to say {text!r}")
        sound = 0.3 * np.sin(np.arange(round(4000 / speed)) * 0.1 * pitch)
        return np.pad(sound, 8000).astype(np.float32)


@pytest.fixture
def tones(engines: ModuleType) -> Callable[..., Tones]:
    return lambda *arguments, **options: Tones(engines, *arguments, **options)


def fundamental(samples: Samples) -> float:
    """Frequency in Hz of voiced speech, the median over pieces of 40 ms."""
    found = []
    for piece in np.lib.stride_tricks.sliding_window_view(samples, 640)[::320]:
        product = np.correlate(piece, piece, "full")[639:]
        best = 40 + int(product[40:267].argmax())
        if product[0] > 0.3 and product[best] > 0.6 * product[0]:
            found.append(RATE / best)
    return float(np.median(found))


def centroid(samples: Samples) -> float:
    """Mean frequency in Hz of the spectrum of amplitudes below 4 kHz."""
    spectrum = np.abs(np.fft.rfft(samples))[: len(samples) // 4]
    return float((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum() * RATE / len(samples))


ENGINES = {"espeak-ng": "en-us+f3", "flite": "rms", "festival": "kal_diphone"}


@pytest.mark.parametrize("name", ENGINES)
def test_a_synthesizer_speaks_faster_and_higher_as_asked(synthesis: ModuleType, name: str) -> None:
    if name != "espeak-ng" and not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    (engine,) = synthesis.find_synthesizers([name])
    voice = ENGINES[name]
    assert voice in [entry.name for entry in engine.voices()]
    text = "we were away a year ago"
    plain, fast, high = (engine.speak(text, voice, *how) for how in ((1.0, 1.0), (1.4, 1.0), (1.0, 1.3)))
    assert plain.dtype == np.float32
    assert 0.05 < np.abs(plain).max() <= 1
    assert 1 < len(plain) / RATE < 3
    assert len(plain) / len(fast) == pytest.approx(1.4, rel=0.1)
    assert len(high) == pytest.approx(len(plain), rel=0.05)
    assert fundamental(high) / fundamental(plain) == pytest.approx(1.3, rel=0.08)


@pytest.mark.parametrize("name", ENGINES)
def test_a_synthesizer_speaks_from_several_threads(synthesis: ModuleType, name: str) -> None:
    if name != "espeak-ng" and not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    (engine,) = synthesis.find_synthesizers([name])
    texts = ["one", "twenty two", "seven hundred and seventy seven", 'a "quoted" (word)'] * 3
    alone = [len(engine.speak(text, ENGINES[name])) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: len(engine.speak(text, ENGINES[name])), texts)) == alone
    assert alone[0] < alone[1] < alone[2]


def test_espeak_has_many_speakers_and_stresses_words(engines: ModuleType) -> None:
    engine = engines.EspeakNg()
    assert len({voice.speaker for voice in engine.voices()}) > 50
    assert not [voice.name for voice in engine.voices() if "whisper" in voice.name.lower()]
    plain, stressed = (engine.speak(text, "en-us+m3") for text in ("hey robin & co", "hey *robin* & co"))
    assert len(plain) != len(stressed)
    with pytest.raises(ValueError, match="xx"):
        engine.speak("hey", "xx")


def test_festival_says_why_it_failed(synthesis: ModuleType, engines: ModuleType) -> None:
    if not shutil.which("festival"):
        pytest.skip("festival is not installed")
    (engine,) = synthesis.find_synthesizers(["festival"])
    with pytest.raises(engines.SynthesisError, match="voice_nobody"):
        engine.speak("hello", "nobody")
    assert len(engine.speak("hello", "kal_diphone")) > 0


def test_festival_speaks_low_and_slow_and_goes_on_where_a_process_has_died(
    synthesis: ModuleType, engines: ModuleType
) -> None:
    if not shutil.which("festival"):
        pytest.skip("festival is not installed")
    (engine,) = synthesis.find_synthesizers(["festival"])
    # Diphones asked for so low end in a crash of the program.
    for text in ("yes", "stop!", "hey robin"):
        assert fundamental(engine.speak(text, "kal_diphone", 0.5, 0.55)) < 80
    process = engine._idle.get()
    process.kill()
    process.wait()
    engine._idle.put(process)
    with pytest.raises(engines.SynthesisError, match=r"festival (ended|failed)"):
        engine.speak("hello", "kal_diphone")
    assert len(engine.speak("hello", "kal_diphone")) > 0


PROGRAM = """#!/bin/sh
printf '%s\\n' "$@" > {record}
while [ $# -gt 0 ]; do case $1 in -o|-w) cp {sound} "$2"; esac; shift; done
cat > {text}
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a program on the PATH that notes its arguments and copies a tone to where it is told to speak to."""

    def make(name: str) -> Path:
        soundfile.write(tmp_path / "sound.wav", 0.3 * np.sin(np.arange(24_000) * 0.1), 24_000)
        file = tmp_path / "bin" / name
        file.parent.mkdir()
        paths = {key: tmp_path / key for key in ("record", "text")}
        file.write_text(PROGRAM.format(sound=tmp_path / "sound.wav", **paths))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
        return tmp_path

    return make


def test_rhvoice_is_asked_as_its_program_wants(
    engines: ModuleType, program: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = program("RHVoice-test")
    for name, language in (("alan", "English"), ("anna", "Russian")):
        (folder / "voices" / name).mkdir(parents=True)
        (folder / "voices" / name / "voice.info").write_text(f"name={name.title()}\nlanguage={language}\n")
    monkeypatch.setattr(engines.RHVoice, "FOLDERS", (str(folder / "voices"),))
    engine = engines.RHVoice()
    assert engine.voices() == [engines.Voice("Alan", "alan")]
    samples = engine.speak("hey *robin*", "Alan", 1.25, 0.9)
    assert len(samples) == RATE
    assert (folder / "record").read_text().split()[:7] == ["-p", "Alan", "-r", "125", "-t", "90", "-o"]
    assert (folder / "text").read_text() == "hey robin"


def test_pico_is_asked_as_its_program_wants(engines: ModuleType, program: Callable[[str], Path]) -> None:
    folder = program("pico2wave")
    samples = engines.Pico().speak("rock & roll", "en-GB", 1.25, 0.9)
    assert len(samples) == RATE
    asked = (folder / "record").read_text().splitlines()
    assert asked[0] == "-w"
    assert asked[2:] == ["-l", "en-GB", '<speed level="125"><pitch level="90">rock   roll</pitch></speed>']


def test_a_program_that_fails_is_quoted(engines: ModuleType, program: Callable[[str], Path]) -> None:
    folder = program("pico2wave")
    (folder / "bin" / "pico2wave").write_text("#!/bin/sh\necho no such language >&2\nexit 3\n")
    with pytest.raises(engines.SynthesisError, match=r"ended with 3 .*no such language"):
        engines.Pico().speak("hey", "en-GB")


def make_voice(folder: Path, speakers: int) -> None:
    """Write a voice of Piper that answers with the numbers of its phonemes, and its speaker, as samples."""
    inputs = {"input": (7, ["1", "phonemes"]), "input_lengths": (7, ["1"]), "scales": (1, [3])}
    if speakers > 1:
        inputs["sid"] = (7, ["1"])
    taken = ["input_lengths", "sid", "scales"][:: 1 if speakers > 1 else 2]
    nodes = [helper.make_node("Cast", [name], [f"{name}_"], to=TensorProto.FLOAT) for name in ["input", *taken[:-1]]]
    nodes += [helper.make_node("Reshape", [f"{name}_", "flat"], [f"{name}__"]) for name in ["input", *taken[:-1]]]
    joined = [*(f"{name}__" for name in ["input", *taken[:-1]]), "scales"]
    nodes.append(helper.make_node("Concat", joined, ["all"], axis=0))
    nodes.append(helper.make_node("Reshape", ["all", "shape"], ["output"]))
    constants = [
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("shape", TensorProto.INT64, [4], [1, 1, 1, -1]),
    ]
    given = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    made = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "samples"])]
    graph = helper.make_graph(nodes, "voice", given, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    name = f"en_US-test{speakers}-low"
    onnx.save(model, str(folder / f"{name}.onnx"))
    symbols = {symbol: [number] for number, symbol in enumerate("_^$ ,.hɹeɪɑbɪnː", start=0)}
    settings = {
        "audio": {"sample_rate": RATE},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.5, "length_scale": 2.0, "noise_w": 0.25},
        "phoneme_id_map": symbols,
        "num_speakers": speakers,
    }
    (folder / f"{name}.onnx.json").write_text(json.dumps(settings), encoding="utf-8")


def test_a_voice_of_piper_gets_phonemes_scales_and_speaker(
    synthesis: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for speakers in (1, 3):
        make_voice(tmp_path, speakers)
    (tmp_path / "en_US-half-low.onnx").touch()
    monkeypatch.setenv("PIPER_VOICES", str(tmp_path))
    (engine,) = synthesis.find_synthesizers(["piper"])
    names = ["en_US-test1-low", *(f"en_US-test3-low#{number}" for number in range(3))]
    assert [voice.name for voice in engine.voices()] == names
    assert [voice.speaker for voice in engine.voices()] == ["en_US-test1#0", *(f"en_US-test3#{n}" for n in range(3))]
    samples = engine.speak("hey, *robin*.", names[0], speed=2.0)
    symbols = dict(enumerate("_^$ ,.hɹeɪɑbɪnː"))
    spoken = [symbols[round(float(number))] for number in samples[:-4]]
    # A blank follows everything but the end.
    assert "".join(spoken[::2]) == "^heɪ, ɹɑːbɪn.$"
    assert set(spoken[1::2]) == {"_"}
    assert samples[-4:].tolist() == [len(spoken), 0.5, 1.0, 0.25]
    assert engine.speak("hey", names[2])[-4] == 1


def test_what_is_not_there_is_said_with_a_way_out(
    synthesis: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"no program flite.*pip install espeakng-loader"):
        synthesis.find_synthesizers(["flite", "espeak-ng"])
    with pytest.raises(DataError, match=r"\['say'\] are not known; give some of \['espeak-ng', "):
        synthesis.find_synthesizers(["say"])
    assert next(found.name for found in synthesis.find_synthesizers()) == "espeak-ng"


def test_a_synthesizer_that_is_of_no_use_does_not_stop_the_others(
    synthesis: ModuleType, engines: ModuleType, program: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = program("RHVoice-test")
    (folder / "bin" / "flite").write_text("#!/bin/sh\necho broken >&2\nexit 127\n")
    (folder / "bin" / "flite").chmod(0o755)
    monkeypatch.setattr(engines.RHVoice, "FOLDERS", (str(folder / "voices"),))
    assert not {"rhvoice", "flite"} & {found.name for found in synthesis.find_synthesizers()}
    with pytest.raises(DataError, match=r"has no English voice; flite: .* 127 .*broken"):
        synthesis.find_synthesizers(["rhvoice", "flite"])


def test_speakers_are_in_one_split_and_all_ways_to_speak_come(
    synthesis: ModuleType, tones: Callable[..., Tones], tmp_path: Path
) -> None:
    both = [tones(), tones("other", "cdefghij")]
    clips = synthesis.synthesize(["hey robin", "lights off"], 200, tmp_path, synthesizers=both)
    speakers = {split: {clip.speaker for clip in clips if clip.split == split} for split in ("train", "val")}
    assert not speakers["train"] & speakers["val"]
    # Those whom both have are trained with.
    assert speakers["val"] <= set("abfghij")
    assert speakers["train"] >= set("cde")
    counts = {(label, split): 0 for label in ("hey robin", "lights off") for split in ("train", "val")}
    for clip in clips:
        counts[clip.label, clip.split] += 1
    assert list(counts.values()) == [80, 20, 80, 20]
    said = both[0].said + both[1].said
    for begin, end in (
        ("hey robin", ("", ".", "!", "?", ",")),
        ("hey, ", ".!?"),
        ("*hey* ", ".!?"),
        ("hey *robin*", ".!?"),
    ):
        assert any(text.startswith(begin) and text.endswith(tuple(end)) for text in said)
    assert {text[-1] for text in said} >= set("n.!?,")
    lengths = sorted(soundfile.info(clip.path).frames for clip in clips)
    assert lengths[-1] / lengths[0] > 1.5
    samples, rate = soundfile.read(clips[0].path)
    assert rate == RATE
    # The silence around it is gone.
    assert np.abs(samples).max() == pytest.approx(0.7, abs=0.01)
    assert len(samples) < 8000


def test_clips_are_made_once_and_anew_for_another_version(
    synthesis: ModuleType, tones: Callable[..., Tones], tmp_path: Path
) -> None:
    first, second, third = tones(), tones(), tones()
    clips = synthesis.synthesize(["hey robin"], 20, tmp_path, synthesizers=[first])
    assert len(first.said) == len({clip.path for clip in clips}) == 20
    assert synthesis.synthesize(["hey robin"], 20, tmp_path, synthesizers=[second]) == clips
    assert second.said == []
    clips[3].path.unlink()
    assert synthesis.synthesize(["hey robin"], 20, tmp_path, synthesizers=[second]) == clips
    assert len(second.said) == 1
    third.version = "2"
    other = synthesis.synthesize(["hey robin"], 20, tmp_path, synthesizers=[third])
    assert len(third.said) == 20
    assert not {clip.path for clip in other} & {clip.path for clip in clips}
    assert synthesis.synthesize(["hey robin"], 20, tmp_path, seed=1, synthesizers=[first]) != clips
    labels = synthesis.synthesize(["hey robin"], 20, tmp_path, synthesizers=[first], label="robin")
    assert {clip.label for clip in labels} == {"robin"}


def test_a_killed_run_leaves_whole_clips_only(
    synthesis: ModuleType, tones: Callable[..., Tones], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(file: Any, samples: Samples, *_: object, **__: object) -> None:
        file.write(b"RIFF")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            synthesis.write_wav(tmp_path / "a.wav", np.zeros(100, np.float32))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "tones").mkdir()
    old, new = (tmp_path / "tones" / f".{name}.tmp" for name in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    clips = synthesis.synthesize(["hey robin"], 10, tmp_path, synthesizers=[tones()])
    # Another run may be writing the new one.
    assert (old.exists(), new.exists()) == (False, True)
    assert all(soundfile.info(clip.path).frames > 0 for clip in clips)


def test_two_runs_at_once_share_a_folder(synthesis: ModuleType, tones: Callable[..., Tones], tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(synthesis.synthesize, ["hey robin"], 60, tmp_path, synthesizers=[tones()]) for _ in range(2)
        ]
    first, second = (run.result() for run in runs)
    assert first == second
    assert all(soundfile.info(clip.path).frames > 1000 for clip in first)
    assert not list(tmp_path.rglob("*.tmp"))


def test_clips_that_fail_are_counted_and_too_many_stop_it(
    synthesis: ModuleType, tones: Callable[..., Tones], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = tones()
    fails: Iterator[bool] = iter([True])
    engine.fails = lambda text: next(fails, False)
    assert len(synthesis.synthesize(["hey"], 100, tmp_path, synthesizers=[engine], val_share=0)) == 99
    engine.fails = lambda text: True
    with pytest.raises(DataError, match=r"30 of 30 clips .*'tones': 30.*no way to say 'bye"):
        synthesis.synthesize(["bye"], 30, tmp_path, synthesizers=[engine], val_share=0)


def test_a_silent_synthesizer_is_noticed(
    synthesis: ModuleType, tones: Callable[..., Tones], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tones, "speak", lambda *_: np.zeros(8000, np.float32))
    with pytest.raises(DataError, match="is not heard at 'hey"):
        synthesis.synthesize(["hey"], 5, tmp_path, synthesizers=[tones()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": []}, "give a list of texts"),
        ({"texts": ["hey", "?!"]}, "each with a letter"),
        ({"texts": "hey"}, "give a list of texts"),
        ({"count": 0}, "count=0"),
        ({"val_share": 1.0}, r"val_share=1\.0"),
    ],
    ids=["none", "no letters", "a string", "count", "share"],
)
def test_wrong_wishes_are_refused(
    synthesis: ModuleType, tones: Callable[..., Tones], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    options = {"texts": ["hey"], "count": 5, "folder": tmp_path, "synthesizers": [tones()], **change}
    with pytest.raises(DataError, match=message):
        synthesis.synthesize(**options)


def test_one_speaker_cannot_be_held_out(synthesis: ModuleType, tones: Callable[..., Tones], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 speaker is too few"):
        synthesis.synthesize(["hey"], 5, tmp_path, synthesizers=[tones(speakers="a")])
    assert len(synthesis.synthesize(["hey"], 5, tmp_path, synthesizers=[tones(speakers="a")], val_share=0)) == 5
    with pytest.raises(DataError, match="no English voice"):
        synthesis.synthesize(["hey"], 5, tmp_path, synthesizers=[tones(speakers="")])


def test_formants_move_alone(synthesis: ModuleType, engines: ModuleType, tmp_path: Path) -> None:
    engine = engines.EspeakNg()
    found = []
    for formants in (0.86, 1.2):
        wish = synthesis._Wish("espeak-ng", "1", "en-us+m3", "we were away a year ago", 1.0, 1.0, formants)
        synthesis._make(engine, wish, tmp_path / "a.wav")
        samples = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
        found.append((fundamental(samples), len(samples), centroid(samples)))
    (low_pitch, low_length, low), (high_pitch, high_length, high) = found
    assert high_pitch == pytest.approx(low_pitch, rel=0.1)
    assert high_length == pytest.approx(low_length, rel=0.06)
    assert high / low > 1.15


def test_waveforms_keep_their_tone_and_lose_their_silence(synthesis: ModuleType) -> None:
    from waveforms import find_audible, resample, trim

    tone = np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050).astype(np.float32)
    moved = resample(tone, 22_050, RATE)
    assert len(moved) == RATE
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(moved[800:-800], expected[800:-800], atol=2e-2)
    # A tone above half of the new rate is gone, not folded.
    high = np.sin(2 * np.pi * 9500 * np.arange(22_050) / 22_050).astype(np.float32)
    assert np.abs(resample(high, 22_050, RATE)[800:-800]).max() < 0.03
    hiss = np.random.default_rng(0).normal(0, 1e-3, RATE * 2)
    hiss[RATE // 2 : RATE] += moved[: RATE // 2]
    start, stop = find_audible(hiss.astype(np.float32), RATE)
    assert start == pytest.approx(RATE // 2, abs=400)
    assert stop == pytest.approx(RATE, abs=400)
    assert len(trim(np.zeros(RATE, np.float32), RATE)) == 0
    assert len(trim(np.zeros(0, np.float32), RATE)) == 0
    assert find_audible(moved, RATE) == (0, RATE)
