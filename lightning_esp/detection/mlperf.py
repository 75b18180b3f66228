"""The rule of the streaming wake word benchmark of MLPerf Tiny, on a stream of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_esp.detection.detector import NEVER, DetectorSettings
from lightning_esp.detection.functional import Rate, false_accepts_per_hour
from lightning_esp.detection.keywords import Keyword, match_events
from lightning_esp.detection.streams import Deck, Stream, lay_noise
from lightning_esp.detection.whole_recordings import detect_events, detector_scores
from lightning_esp.errors import DataError

MINUTES, TARGETS, MOST_FALSE_POSITIVES, MOST_FALSE_NEGATIVES = 20, 50, 8, 8

# A pause between two sounds, shortest and longest, in seconds.
PAUSE = (0.2, 1.0)


@dataclass(frozen=True)
class WakeWordStream:
    """Twenty minutes with fifty wake words.

    Args:
        stream: waveform and keywords; `stream.repeated` is the share of clips and fillers that was in it before.
        noise_repeated: share of the noise under them that was in it before.
    """

    stream: Stream
    noise_repeated: float


@dataclass(frozen=True)
class WakeWordResult:
    """Result of a detector by the rule.

    Args:
        false_positives: events that no wake word explains; at most 8.
        false_negatives: wake words without an event; at most 8.
        targets: wake words in the stream.
        false_accepts: the false positives beside their hours and bound.
        repeated: share of clips and fillers that was in the stream before.
        noise_repeated: the same of the noise.
    """

    false_positives: int
    false_negatives: int
    targets: int
    false_accepts: Rate
    repeated: float
    noise_repeated: float

    @property
    def passed(self) -> bool:
        """Tell whether the rule holds."""
        return self.false_positives <= MOST_FALSE_POSITIVES and self.false_negatives <= MOST_FALSE_NEGATIVES

    def __str__(self) -> str:
        return (
            f"{'holds' if self.passed else 'fails'}: {self.false_positives} false positives (at most "
            f"{MOST_FALSE_POSITIVES}), {self.false_negatives} of {self.targets} targets missed (at most "
            f"{MOST_FALSE_NEGATIVES}), {self.false_accepts}; {100 * self.repeated:.0f} % of clips and fillers and "
            f"{100 * self.noise_repeated:.0f} % of the noise repeat"
        )


def make_wake_word_stream(
    clips: Sequence[Tensor],
    fillers: Sequence[Tensor],
    noise: Sequence[Tensor],
    keyword: str,
    *,
    sample_rate: int = 16_000,
    decibels: float = 10.0,
    seed: int = 0,
) -> WakeWordStream:
    """Make a stream by the rule: 20 minutes with 50 targets, other sounds between them, noise under all.

    Each target lies at random in its own 24 seconds; clips, fillers and noise are drawn without replacement until all were
    used, then again.

    Args:
        clips: waveforms `[samples]` of the wake word, of the test split.
        fillers: waveforms of other speech or sounds; may be empty.
        noise: waveforms to lie under it all; empty for silence.
        keyword: label of the wake word.
        sample_rate: samples per second.
        decibels: power of clips and fillers over that of the noise.
        seed: seed of everything random.

    Raises:
        DataError: there are no clips, or one is too long for its place.
    """
    slot = MINUTES * 60 * sample_rate // TARGETS
    if not clips or max(len(clip) for clip in clips) > slot // 2:
        raise DataError(
            f"make_wake_word_stream got {len(clips)} clips of the wake word; give some, each of at most "
            f"{slot / 2 / sample_rate:g} seconds."
        )
    random = torch.Generator().manual_seed(seed)
    decks = Deck(len(clips), random), Deck(len(fillers), random)
    speech, keywords, spoken, repeated = torch.zeros(TARGETS * slot), list[Keyword](), 0, 0
    for target in range(TARGETS):
        number, again = decks[0].draw()
        clip = clips[number]
        start = target * slot + int(torch.randint(slot - len(clip), (), generator=random))
        end = start + len(clip)
        keywords.append(Keyword(start / sample_rate, end / sample_rate, keyword))
        speech[start:end] = clip
        spoken, repeated = spoken + len(clip), repeated + again * len(clip)
        for low, high in ((target * slot, start), (end, (target + 1) * slot)):
            length, twice = _fill(speech[low:high], fillers, decks[1], sample_rate, random)
            spoken, repeated = spoken + length, repeated + twice
    murmur, noise_repeated = lay_noise(noise, speech, decibels, random)
    return WakeWordStream(Stream(speech + murmur, tuple(keywords), repeated / spoken), noise_repeated)


def _fill(
    space: Tensor, fillers: Sequence[Tensor], deck: Deck, sample_rate: int, random: torch.Generator
) -> tuple[int, int]:
    """Write fillers into a space as long as they fit; return their samples, and those that repeat."""
    position, written, repeated = 0, 0, 0
    while fillers:
        low, high = PAUSE
        position += round((low + (high - low) * float(torch.rand((), generator=random))) * sample_rate)
        number, again = deck.draw()
        # What does not fit is cut rather than left out: a long recording would never come.
        part = fillers[number][: max(0, len(space) - position)]
        space[position : position + len(part)] = part
        position, written, repeated = position + len(part), written + len(part), repeated + again * len(part)
        if position >= len(space):
            break
    return written, repeated


def mlperf_tiny_streaming(
    model: Callable[[Tensor], Tensor],
    made: WakeWordStream,
    settings: DetectorSettings,
    labels: Sequence[str],
    frame_period: float,
    grace: float = 0.5,
) -> WakeWordResult:
    """Judge a detector by the rule: at most 8 false positives and 8 false negatives in 20 minutes with 50 targets.

    Args:
        model: gives outputs `[classes, frames]` of a waveform `[samples]`, in float or in integers.
        made: from `make_wake_word_stream`.
        settings: the detector; only the threshold of the wake word is used.
        labels: names of the classes, the wake word among them.
        frame_period: seconds of an output frame.
        grace: seconds behind the end of a wake word in which an event still counts.

    Raises:
        DataError: the wake word is not among the labels.

    Example:
        >>> clip = torch.ones(16000)
        >>> made = make_wake_word_stream([clip], [], [], "hey")
        >>> settings = DetectorSettings((0.5,), activation="none", refractory=100)
        >>> model = lambda waveform: waveform.reshape(1, -1, 160).amax(2)
        >>> print(mlperf_tiny_streaming(model, made, settings, ["hey"], 0.01))
        holds: 0 false positives (at most 8), 0 of 50 targets missed (at most 8), 0.00 per hour (0 in 0.33 h; 95 % bound 8.99); 98 % of clips and fillers and 0 % of the noise repeat
    """
    keywords = made.stream.keywords
    label = keywords[0].label
    if label not in labels:
        raise DataError(f"the wake word {label!r} is not among the labels {', '.join(map(repr, labels))}.")
    thresholds = tuple(t if name == label else NEVER for name, t in zip(labels, settings.thresholds, strict=True))
    alone = replace(settings, thresholds=thresholds)
    means = detector_scores(model(made.stream.waveform), alone)
    found = match_events(detect_events(alone, means), keywords, labels, frame_period, grace)
    return WakeWordResult(
        len(found.false_accepts),
        len(keywords) - len(found.hits),
        len(keywords),
        false_accepts_per_hour(len(found.false_accepts), len(means) * frame_period / 3600),
        made.stream.repeated,
        made.noise_repeated,
    )
