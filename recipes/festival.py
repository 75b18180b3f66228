"""Festival, kept running: it takes a third of a second to start, and some 50 ms for a clip."""

from __future__ import annotations

import re
import subprocess
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from queue import Empty, SimpleQueue

from engines import Program, SynthesisError, Voice, without_marks
from waveforms import Waveform, resample

_DONE = "clip-is-written"


class Festival(Program):
    """Festival by its interpreter of Scheme; as many run as threads speak at once."""

    name = program = "festival"
    # Mean frequency in Hz of the voices of diphones, which can be asked for; an HTS voice has its own.
    _HERTZ, _LOWEST = 105.0, 0.8
    _ENGLISH = re.compile(r"^(kal|ked|rab|don|cmu_us|us\d)_?")

    def __init__(self) -> None:
        super().__init__()
        self.version = (re.findall(r"System: (\S+)", self.run("--version")) or ["?"])[0]
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._lock = threading.Lock()

    @cached_property
    def _voices(self) -> list[Voice]:
        listed = self.run("-b", "(print (voice.list))").strip().strip("()").split()
        english = sorted(name for name in listed if self._ENGLISH.match(name))
        return [
            Voice(name, re.sub(r"^cmu_us_|_(diphone|arctic|hts|cg|clunits|multisyn).*$", "", name)) for name in english
        ]

    def voices(self) -> list[Voice]:
        """List the English voices that are installed."""
        return self._voices

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> Waveform:
        """Speak a text; see `Synthesizer`. The pitch of voices other than diphones moves with their formants."""
        # It has no other way for them. Below 0.8 diphones crash or are cut short, as was measured; the rest is moved.
        moved = min(1.0, pitch / self._LOWEST) if voice.endswith("diphone") else pitch
        plain = without_marks(text).replace("\\", " ").replace('"', " ")
        rate, hertz = speed / moved, self._HERTZ * pitch / moved
        return resample(
            self.write_and_read(
                lambda file: self._say(
                    f"(voice_{voice})",
                    f"(Parameter.set 'Duration_Stretch {1 / rate:.4f})",
                    f"(set! int_lr_params '((target_f0_mean {hertz:.1f}) (target_f0_std {hertz / 7:.1f})"
                    " (model_f0_mean 170) (model_f0_std 34)))",
                    f'(if (boundp \'hts_engine_params) (set! hts_engine_params (append hts_engine_params (list (list "-r" {rate:.4f})))))',
                    f'(utt.save.wave (utt.synth (Utterance Text "{plain}")) "{file}" \'riff)',
                )
            ),
            moved,
            1.0,
        )

    def _say(self, *commands: str) -> None:
        with self._borrow() as process:
            assert process.stdin
            assert process.stdout
            try:
                process.stdin.write(" ".join(commands) + f' (format t "{_DONE}\\n") (fflush nil)\n')
                process.stdin.flush()
            except BrokenPipeError:
                raise SynthesisError(f"festival ended with {process.wait()} before {commands[-1]}") from None
            said = ""
            while _DONE not in said:
                line = process.stdout.readline()
                said += line
                if not line or "ERROR" in said:
                    raise SynthesisError(f"festival failed at {commands[-1]}: {said.strip()[-300:]}")

    @contextmanager
    def _borrow(self) -> Iterator[subprocess.Popen[str]]:
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = subprocess.Popen(
                [self.path, "--pipe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            weakref.finalize(self, _end, process)
        yield process
        self._idle.put(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and close its pipes."""
    process.kill()
    process.communicate()
