"""Training scenes: a word somewhere in other speech and noise, as a device meets it; whole batches at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from augmentation import draw_stretches
from clips import SAMPLE_RATE
from torch import Tensor
from torch.nn import functional as F

# Of a recording so much stays before and behind its word: from close neighbours to a pause.
GAP_SECONDS = (0.02, 0.3)
# A word ends so long before its scene does, so that the frames that decide on it are there.
TAIL_SECONDS = 0.4
FADE_SECONDS = 0.005
# A voice is higher and faster, or lower and slower, by so much.
RATES = (0.85, 1.18)
# Loudness of the speech around a word to that of its recording.
AROUND_DECIBELS = (-12.0, 3.0)
# The worst frames without a keyword, one in so many, count so much beside all others. More of it misses more words.
WORST_ONE_IN, WORST_WEIGHT = 20, 0.3


@dataclass(frozen=True)
class Scenes:
    """Waveforms with at most one labelled word in each.

    Args:
        waveforms: `[scenes, samples]`.
        labels: index of the class of each, `[scenes]`; -1: there is no keyword in it.
        start: first sample of its word, `[scenes]`; -1 where there is none, and all of the scene is of the class.
        end: one behind its last, `[scenes]`; -1 where there is none.
    """

    waveforms: Tensor
    labels: Tensor
    start: Tensor
    end: Tensor


def find_word(samples: Tensor) -> tuple[int, int]:
    """Find where a recording of one word is louder than what is around it.

    Args:
        samples: 16 bits, `[samples]`.

    Returns:
        The first sample of the word, and one behind its last. A silent recording is its whole length.

    Example:
        >>> sound = torch.zeros(16000, dtype=torch.int16)
        >>> sound[4000:9000] = 1000
        >>> find_word(sound)
        (3680, 9280)
    """
    size = SAMPLE_RATE // 100
    frames = samples[: len(samples) // size * size].float().reshape(-1, size)
    level = 10 * frames.square().mean(1).clamp(min=1.0).log10()
    if len(level) == 0 or float(level.max()) == 0.0:
        return 0, len(samples)
    floor, peak = float(level.quantile(0.1)), float(level.quantile(0.95))
    loud = (level > floor + 0.3 * (peak - floor)).nonzero().flatten()
    if len(loud) == 0:
        return 0, len(samples)
    margin = 2 * size
    return max(0, int(loud[0]) * size - margin), min(len(samples), (int(loud[-1]) + 1) * size + margin)


def make_scenes(clips: Scenes, around: Tensor | None, length: int, share: float) -> Scenes:
    """Put each word at a random place of a longer scene, as a higher or lower voice says it, other speech around it.

    Args:
        clips: recordings of one word each, and their words.
        around: speech without keywords in a row, 16 bits, `[samples]`; None: silence.
        length: samples of a scene.
        share: of the scenes that get speech around their word; silence is around the others.
    """
    count, size = clips.waveforms.shape
    device = clips.waveforms.device
    low, high = RATES
    rate = low + (high - low) * torch.rand(count, device=device)
    # A recording without a word lies anywhere; a long word begins with the scene.
    anchor = torch.where(clips.end < 0, torch.full_like(clips.end, size), clips.end)
    last = length - round(TAIL_SECONDS * SAMPLE_RATE)
    first = ((anchor - clips.start.clamp(min=0)) / rate).clamp(max=last - 1)
    end = first + (last - first) * torch.rand(count, device=device)
    # Which sample of the recording each sample of the scene is.
    source = anchor[:, None] + (torch.arange(length, device=device) - end[:, None]) * rate[:, None]
    envelope = _fade(clips, source)
    words = _read(clips.waveforms, source) * envelope
    if around is not None:
        words = words + (1 - envelope) * _surround(clips, around, length, share)
    start = (end - (anchor - clips.start) / rate).clamp(min=0)
    moved = [torch.where(clips.end < 0, -1, edge.long()) for edge in (start, end)]
    return Scenes(words, clips.labels, *moved)


def _read(waveforms: Tensor, source: Tensor) -> Tensor:
    """Samples between samples, by linear interpolation, `[clips, length]`."""
    whole = source.floor()
    index = whole.long().clamp(0, waveforms.shape[1] - 2)
    return torch.lerp(waveforms.gather(1, index), waveforms.gather(1, index + 1), (source - whole).clamp(0, 1))


def _fade(clips: Scenes, source: Tensor) -> Tensor:
    """1 in each word and a random gap around it, 0 elsewhere, `[clips, length]`."""
    size = clips.waveforms.shape[1]
    low, high = (round(seconds * SAMPLE_RATE) for seconds in GAP_SECONDS)
    gaps = low + (high - low) * torch.rand(2, len(source), 1, device=source.device)
    begin = torch.where(clips.start < 0, 0, clips.start)[:, None] - gaps[0]
    finish = torch.where(clips.end < 0, size, clips.end)[:, None] + gaps[1]
    fade = FADE_SECONDS * SAMPLE_RATE
    rise = (source - begin.clamp(min=0)) / fade
    fall = (finish.clamp(max=size - 1) - source) / fade
    return torch.minimum(rise, fall).clamp(0, 1)


def _surround(clips: Scenes, around: Tensor, length: int, share: float) -> Tensor:
    count, device = len(clips.waveforms), clips.waveforms.device
    speech = draw_stretches(around, count, length).to(clips.waveforms)
    low, high = AROUND_DECIBELS
    decibels = low + (high - low) * torch.rand(count, 1, device=device)
    loudness = [x.square().mean(1, keepdim=True).sqrt() for x in (clips.waveforms, speech)]
    gain = 10 ** (decibels / 20) * loudness[0] / loudness[1].clamp(min=1e-4)
    # Silence, a class of its own, has none.
    present = (torch.rand(count, 1, device=device) < share) & (clips.end >= 0)[:, None]
    return speech * gain * present


def frame_loss(
    logits: Tensor, labels: Tensor, start: Tensor, end: Tensor, rest: Tensor, hold: int, smoothing: float = 0.1
) -> Tensor:
    """Cross entropy per frame: a word behind its end, no keyword elsewhere.

    Args:
        logits: `[scenes, classes, frames]`.
        labels: index of the class of each scene, `[scenes]`; -1: any class that is no keyword.
        start: frame in which its word begins, `[scenes]`; negative: no word, and all of the scene is of the class.
        end: frame in which it has just been said, `[scenes]`; negative as above.
        rest: whether a class is no keyword, `[classes]`.
        hold: frames behind the end that should tell the word, as many as the detector averages.
        smoothing: of the labels, so that scores stay away from 0 and 1.

    Returns:
        The mean over scenes: of the frames that decide, of all others, and of the worst of these, as one of them is enough for
        a false accept. In the second half of a word and shortly behind it either answer is right.
    """
    frame = torch.arange(logits.shape[2], device=logits.device)
    scores = logits.log_softmax(1)
    named = scores.gather(1, labels.clamp(min=0)[:, None, None].expand(-1, 1, logits.shape[2]))[:, 0]
    wanted = -(1 - smoothing) * named - smoothing * scores.mean(1)
    decide = (frame > end[:, None] - hold // 4) & (frame <= end[:, None] + hold) | (end < 0)[:, None]
    decide = decide & (labels >= 0)[:, None]
    quiet = (frame < (start + end)[:, None] / 2) | (frame > end[:, None] + 2 * hold)
    loss = _mean(wanted, decide)
    if bool(rest.any()):
        other = -scores[:, rest].logsumexp(1) * quiet
        worst = other.topk(max(1, logits.shape[2] // WORST_ONE_IN), dim=1).values.mean(1)
        loss = loss + _mean(other, quiet) + WORST_WEIGHT * worst
    return loss.mean()


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum(1) / chosen.sum(1).clamp(min=1)


def decide_clips(logits: Tensor, rest: Tensor, average: int) -> Tensor:
    """Score the classes of whole clips as the detector would: by the highest moving average of each keyword.

    Args:
        logits: `[clips, classes, frames]`.
        rest: whether a class is no keyword, `[classes]`.
        average: frames of the moving average.

    Returns:
        Logarithms of probabilities, `[clips, classes]`. What no keyword takes is shared by the other classes, as they share
        the frames.

    Example:
        >>> logits = torch.full((1, 3, 8), -4.0)
        >>> logits[0, 0], logits[0, 2, 3:6] = 0.0, 9.0  # mostly the class of the rest, for a while the last keyword
        >>> decide_clips(logits, torch.tensor([True, False, False]), average=3).argmax(1)
        tensor([2])
    """
    scores = logits.softmax(1)
    means = F.avg_pool1d(scores, min(average, logits.shape[2]), 1).amax(2)
    if not bool(rest.any()):
        return (means / means.sum(1, keepdim=True)).clamp(min=1e-9).log()
    # The rest has what the strongest keyword leaves, so that keywords compete with it and not with each other's sum.
    left = (1 - means[:, ~rest].amax(1, keepdim=True)) if bool((~rest).any()) else torch.ones_like(means[:, :1])
    shares = scores[:, rest].mean(2)
    means = means.masked_scatter(rest.expand_as(means), left * shares / shares.sum(1, keepdim=True).clamp(min=1e-9))
    return (means / means.sum(1, keepdim=True)).clamp(min=1e-9).log()
