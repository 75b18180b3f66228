"""The library of eSpeak NG by ctypes: speech and phonemes in this process, hundreds of times a second.

It comes with Debian's `espeak-ng` (package `libespeak-ng1`), or with the wheel `espeakng-loader` for Linux, macOS and
Windows, which brings its voices too.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import threading
from functools import cache, cached_property

import numpy as np
from waveforms import Waveform

# Names and values of espeak-ng/speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT, _UTF8, _SSML, _IPA = 2, 0x8000, 1, 0x10, 0x02
_RATE, _PITCH, _RANGE = 1, 3, 4
_WORDS_PER_MINUTE, _FASTEST, _SLOWEST = 175, 450, 80
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """`espeak_VOICE`."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


class EspeakLibrary:
    """The library, loaded and initialised; it has one state for all, so calls wait for each other.

    Raises:
        OSError: it is not installed, or does not load.
    """

    def __init__(self) -> None:
        path, data = _find()
        self._lock = threading.Lock()
        self._library = ctypes.CDLL(path)
        self._library.espeak_Info.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self.rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DONT_EXIT)
        if self.rate <= 0 or not self._library.espeak_ListVoices(None)[0]:
            raise OSError(f"{path} finds none of its data ({data.decode() if data else 'where it was built for'})")
        self._pieces: list[Waveform] = []
        # The library calls it as long as it lives: it must not be collected.
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)
        self.version = self._library.espeak_Info(None).decode()

    def _take(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _: object) -> int:
        if samples and count > 0:
            piece: Waveform = np.ctypeslib.as_array(samples, (count,)).astype(np.float32)
            self._pieces.append(piece / np.float32(2**15))
        return 0

    @cached_property
    def languages(self) -> dict[str, str]:
        """The languages that there are, "en-us", "de" ..., each with what the library calls it."""
        with self._lock:
            found = self._library.espeak_ListVoices(None)
            languages: dict[str, str] = {}
            number = 0
            while found[number]:
                voice, number = found[number].contents, number + 1
                # A byte of priority stands before the name. Voices of MBROLA need that program.
                if not voice.identifier.startswith(b"mb"):
                    languages.setdefault(voice.languages[1:].decode(), voice.identifier.decode())
        return languages

    def list_variants(self) -> list[str]:
        """List the speakers that each language can be spoken by: "f1", "klatt2", "Andy" ..."""
        with self._lock:
            found = self._library.espeak_ListVoices(ctypes.byref(_Voice(languages=b"variant")))
            names: list[str] = []
            while found[len(names)]:
                names.append(found[len(names)].contents.identifier.decode().replace("\\", "/").rpartition("/")[2])
        return names

    def speak(self, text: str, voice: str, speed: float, pitch: float, ssml: bool = False) -> Waveform:
        """Speak `text` (SSML where `ssml`) at `self.rate`: float32 [samples].

        Args:
            text: what to say.
            voice: a language, or language+variant: "en-us+f3".
            speed: 1 is 175 words a minute.
            pitch: 1 is that of the voice; it reaches from about 0.65 to 1.6.
            ssml: `text` is marked up.

        Raises:
            ValueError: there is no such voice.
        """
        name = self._name(voice)
        with self._lock:
            self._choose(name)
            words = min(_FASTEST, max(_SLOWEST, round(_WORDS_PER_MINUTE * speed)))
            # 50 is the voice's own frequency; an octave is 71 steps, as measured on several voices.
            steps = min(99, max(0, round(50 + 71 * np.log2(pitch))))
            for parameter, value in ((_RATE, words), (_PITCH, steps), (_RANGE, 50)):
                self._library.espeak_SetParameter(parameter, value, 0)
            self._pieces.clear()
            encoded = text.encode()
            flags = _UTF8 | (_SSML if ssml else 0)
            self._library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 1, 0, flags, None, None)
            return np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)

    def spell(self, text: str, voice: str) -> list[str]:
        """Write `text` in phonemes of the IPA, a string for every clause, with `_` between the phonemes of a word.

        Raises:
            ValueError: there is no such voice.
        """
        name = self._name(voice)
        with self._lock:
            self._choose(name)
            rest = ctypes.c_void_p()
            encoded = ctypes.create_string_buffer(text.encode())
            rest.value = ctypes.addressof(encoded)
            clauses = []
            while rest.value:
                spelled = self._library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA | ord("_") << 8)
                clauses.append((spelled or b"").decode())
        return [clause.strip() for clause in clauses if clause.strip()]

    def _name(self, voice: str) -> str:
        language, plus, variant = voice.partition("+")
        return f"{self.languages.get(language, language)}{plus}{variant}"

    def _choose(self, name: str) -> None:
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name!r}; `espeak-ng --voices` lists what there is")


def _find() -> tuple[str, bytes | None]:
    """Find the library and the folder of its data: those of the wheel, which are alike everywhere, or the system's."""
    if importlib.util.find_spec("espeakng_loader"):
        import espeakng_loader

        return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()
    path = ctypes.util.find_library("espeak-ng")
    if path is None:
        raise OSError("neither the wheel espeakng-loader nor the system's library libespeak-ng is installed")
    return path, None


@cache
def load_espeak() -> EspeakLibrary:
    """Load the library once a process.

    Raises:
        OSError: it is not installed, or does not load.
    """
    return EspeakLibrary()
