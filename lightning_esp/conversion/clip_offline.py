"""Offline form of a model that decides on clips, for recordings of any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_esp.conversion.geometry import run
from lightning_esp.conversion.slicing import as_named, count_frames, pad_frames, recording_frames
from lightning_esp.conversion.spec import Clip, Recordings, StreamSpec, Values
from lightning_esp.errors import ConfigurationError

# Clips that are run at once.
BATCH = 256


class OfflineClips(nn.Module):
    """The offline network on the clip behind every hop: clips in, decisions over time out.

    Args:
        module: maps a batch of clips to decisions, `[batch, ...]`.
        spec: the outside of its streaming form.
    """

    def __init__(self, module: nn.Module, spec: StreamSpec) -> None:
        super().__init__()
        assert spec.clip is not None
        self.module = module
        self.spec = spec
        self.clip: Clip = spec.clip

    @torch.no_grad()
    def forward(self, *arguments: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the network on the clips that start at frame 0, at one hop, at two, ...

        Args:
            arguments: `[batch, ...]` per input, of any number of frames.
            named: the same by name.

        Returns:
            Decisions `[batch, ..., clips]`, of as many clips as are whole; a tuple where the model has several outputs.
        """
        inputs = dict(zip((port.name for port in self.spec.inputs), arguments, strict=False)) | named
        frames = count_frames(self.spec, inputs)
        clips = max(0, (frames - self.clip.frames) // self.clip.hop + 1)
        found = self.decide(inputs, [i * self.clip.hop for i in range(max(1, clips))])
        results = tuple(value[..., :clips] for value in found)
        return results[0] if len(results) == 1 else results

    def decide(self, inputs: Values, starts: list[int]) -> tuple[Tensor, ...]:
        """Return the decisions on the clips that start at some frames, `[batch, ..., clips]`; frames that are missing are zero."""
        size = len(next(iter(inputs.values())))
        step = max(1, BATCH // size)
        parts = [self._decide(inputs, starts[i : i + step], size) for i in range(0, len(starts), step)]
        return tuple(torch.cat(values, dim=-1) for values in zip(*parts, strict=True))

    def _decide(self, inputs: Values, starts: list[int], size: int) -> list[Tensor]:
        named = as_named(self.spec, inputs)
        batch = {
            p.name: torch.cat([self._cut(named[p.name], p.time_axis, s) for s in starts]) for p in self.spec.inputs
        }
        return [value.reshape(len(starts), size, *value.shape[1:]).movedim(0, -1) for value in run(self.module, batch)]

    def _cut(self, value: Tensor, axis: int | None, start: int) -> Tensor:
        if axis is None:
            return value
        return pad_frames(value, axis, start + self.clip.frames).narrow(axis, start, self.clip.frames)


def as_offline(module: nn.Module, spec: StreamSpec) -> nn.Module:
    """Return what the streamed output is compared with: the module, or for a model that decides on clips the module on each."""
    return module if spec.clip is None or isinstance(module, OfflineClips) else OfflineClips(module, spec).eval()


def check_clips(spec: StreamSpec, recordings: Recordings, clip: object) -> None:
    """Check that recordings tell how long a clip is, where the user did not say it.

    Args:
        spec: the outside of the streaming form.
        recordings: what the model sees, without batch dimension.
        clip: `Streaming.clip` as given.

    Raises:
        ConfigurationError: they have several lengths.
    """
    if spec.clip is None or isinstance(clip, int):
        return
    lengths = [recording_frames(spec, recordings[i]) for i in range(len(recordings))]
    if len(set(lengths)) > 1:
        raise ConfigurationError(
            f"the model decides on whole clips, since its output has no time axis, and the recordings have {min(lengths)} to "
            f"{max(lengths)} frames, so nothing tells how many a clip has. Give it, Streaming(clip={min(lengths)}) say: the "
            "stream then decides on the last frames of that number, as training should have."
        )
