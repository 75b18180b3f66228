"""`Normalize`: the readings of a sensor, each channel by the mean and scale of the training data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_esp.errors import ConfigurationError, DataError


class Normalize(nn.Module):
    """Readings less the mean of their channel, divided by its scale; the firmware does the same, so it takes raw readings.

    Computed as `(reading - mean) * (1 / scale)`, in float32 and in this order, as the firmware does: the numbers are equal
    to the bit. One frame of readings makes one frame of features, without delay. Put it first in the exported network, or
    before it in the LightningModule; an export takes it out.

    Args:
        mean: of each channel, in the unit of the readings.
        scale: what each channel is divided by, its standard deviation say, above 0, in the same unit.
        channel_axis: axis of the channels in what `forward` takes, batch in front: 1 for `[batch, channels, time]`, 2 for
            `[batch, time, channels]`.

    Attributes:
        mean: float32, `[channels]`; in the state dict.
        scale: float32, `[channels]`; in the state dict.

    Raises:
        ConfigurationError: lengths differ, a number is not finite, a scale is not above 0, or the axis is that of the batch.

    Example:
        >>> import torch
        >>> normalize = Normalize(mean=[20.0, 1013.0], scale=[5.0, 10.0])
        >>> normalize(torch.tensor([[[25.0, 20.0], [1013.0, 1003.0]]]))
        tensor([[[ 1.,  0.],
                 [ 0., -1.]]])
    """

    kind: ClassVar[str] = "Normalize"
    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float] | Tensor, scale: Sequence[float] | Tensor, channel_axis: int = 1) -> None:
        super().__init__()
        if isinstance(channel_axis, bool) or not isinstance(channel_axis, int) or channel_axis == 0:
            raise ConfigurationError(
                f"Normalize(channel_axis={channel_axis!r}) must be a whole number other than 0, the axis of the batch: 1 for "
                "[batch, channels, time], 2 for [batch, time, channels]."
            )
        self.channel_axis = channel_axis
        self.register_buffer("mean", _figures("mean", mean))
        self.register_buffer("scale", _figures("scale", scale))
        if len(self.mean) != len(self.scale):
            raise ConfigurationError(
                f"Normalize got {len(self.mean)} means and {len(self.scale)} scales; give one of each per channel."
            )
        _check_scales(self.scale)

    @classmethod
    @torch.no_grad()
    def fit(cls, recordings: Iterable[Any], channel_axis: int = 1) -> Normalize:
        """Return the module for which each channel of the training data has mean 0 and standard deviation 1.

        Args:
            recordings: of the training data alone: tensors `[channels, time]`, batches `[batch, channels, time]`, or the
                tuples and lists of a DataLoader that start with such; with `channel_axis=2` channels come last.
            channel_axis: as above, counted with a batch in front.

        Raises:
            DataError: there are no readings, one is NaN or infinite, or a channel never changes.

        Example:
            >>> import torch
            >>> Normalize.fit([torch.tensor([[1.0, 3.0], [10.0, 30.0]])])
            Normalize(mean=[2, 20], scale=[1, 10], channel_axis=1)
        """
        moments: _Moments | None = None
        for index, item in enumerate(recordings):
            rows = _rows(item, index, channel_axis)
            moments = moments or _Moments(rows)
            moments.add(rows, index)
        if moments is None or moments.count == 0:
            raise DataError("Normalize.fit got no readings; give the recordings or batches of the training data.")
        return cls(moments.mean.float(), moments.find_scale().float(), channel_axis)

    @property
    def channels(self) -> int:
        """Values in one frame of readings."""
        return len(self.mean)

    @property
    def factor(self) -> Tensor:
        """Factor of each channel, `[channels]`: 1 / scale."""
        return self.scale.reciprocal()

    def forward(self, readings: Tensor) -> Tensor:
        """Normalise readings.

        Args:
            readings: `[batch, channels, time]`, or as `channel_axis` says; any real type.

        Returns:
            The same shape, in the type of `mean`, float32 unless it was converted.

        Raises:
            DataError: it is no tensor, or has another number of channels.
        """
        _check(self, readings)
        shape = [1] * readings.dim()
        shape[self.channel_axis] = -1
        values = readings.to(self.mean.dtype)
        return (values - self.mean.reshape(shape)) * self.factor.reshape(shape)

    def describe(self) -> dict[str, Any]:
        """Return all that another implementation needs, as plain data.

        Returns:
            `kind`, `channels`, `channel_axis`, `mean` and `scale` (lists of `channels` numbers, float32).
        """
        return {
            "kind": self.kind,
            "channels": self.channels,
            "channel_axis": self.channel_axis,
            "mean": self.mean.float().tolist(),
            "scale": self.scale.float().tolist(),
        }

    def extra_repr(self) -> str:
        """Return the figures for `print(module)`."""
        return f"mean={_shown(self.mean)}, scale={_shown(self.scale)}, channel_axis={self.channel_axis}"


class _Moments:
    """Count, mean and squared deviations of each channel, around its first reading: what never changes deviates by 0."""

    def __init__(self, rows: Tensor) -> None:
        self.count, self._origin = 0, rows[:1].double().sum(0)
        self._total, self._squares = torch.zeros_like(self._origin), torch.zeros_like(self._origin)

    def add(self, rows: Tensor, index: int) -> None:
        if rows.shape[1] != len(self._origin):
            raise DataError(
                f"Normalize.fit: recording {index} has {rows.shape[1]} channels, the ones before have {len(self._origin)}; "
                "give recordings of one sensor, or the axis of the channels, Normalize.fit(..., channel_axis=2) say."
            )
        bad = (~rows.isfinite()).sum(0)
        if bool(bad.any()):
            channel = int(bad.argmax())
            raise DataError(
                f"Normalize.fit: recording {index} holds {int(bad[channel])} NaN or infinite reading(s) in channel {channel}; "
                "leave the recording out, or fill the gaps."
            )
        deviations = rows.double() - self._origin
        self.count += len(rows)
        self._total += deviations.sum(0)
        self._squares += deviations.square().sum(0)

    @property
    def mean(self) -> Tensor:
        return self._origin + self._total / self.count

    def find_scale(self) -> Tensor:
        variance = (self._squares / self.count - (self._total / self.count).square()).clamp_min(0)
        # What float32 cannot tell from its mean is no signal either.
        constant = (variance.sqrt() <= torch.finfo(torch.float32).eps * self.mean.abs()).nonzero().flatten().tolist()
        if constant:
            raise DataError(
                f"Normalize.fit: channel {constant[0]} is {float(self.mean[constant[0]]):g} in all {self.count} frames, so it has no "
                f"scale ({len(constant)} such channel(s)); leave it out of the recordings, or give its scale yourself, "
                "Normalize(mean, scale)."
            )
        return variance.sqrt()


def _rows(item: Any, index: int, channel_axis: int) -> Tensor:
    """Return a recording or a batch as `[frames, channels]`."""
    readings = item[0] if isinstance(item, tuple | list) and len(item) else item
    if not isinstance(readings, Tensor) or readings.is_complex() or readings.dim() not in (2, 3):
        shown = f"shape {list(readings.shape)}" if isinstance(readings, Tensor) else f"a {type(readings).__name__}"
        raise DataError(
            f"Normalize.fit: recording {index} is {shown}; give tensors [channels, time] or [batch, channels, time], "
            "(batch['readings'] for batch in loader) say."
        )
    batch = readings.detach().cpu() if readings.dim() == 3 else readings.detach().cpu().unsqueeze(0)
    if channel_axis % 3 == 0:
        raise ConfigurationError(f"Normalize.fit(channel_axis={channel_axis}) must be 1 or 2, behind the batch.")
    rows = batch.movedim(channel_axis, -1)
    return rows.reshape(-1, rows.shape[-1])


def _figures(name: str, values: Sequence[float] | Tensor) -> Tensor:
    try:
        figures = torch.as_tensor(values).detach().float().cpu().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"Normalize({name}={values!r}) must be numbers, one per channel ({error}).") from None
    if figures.dim() != 1 or len(figures) == 0:
        raise ConfigurationError(
            f"Normalize({name}=...) has shape {list(figures.shape)}; give one number per channel, [channels]."
        )
    bad = (~figures.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise ConfigurationError(
            f"Normalize({name}=...) is {float(figures[bad[0]])} for channel {bad[0]}; it must be a finite number in float32."
        )
    return figures


def _check_scales(scale: Tensor) -> None:
    bad = ((scale <= 0) | ~scale.reciprocal().isfinite()).nonzero().flatten().tolist()
    if bad:
        raise ConfigurationError(
            f"Normalize(scale=...) is {float(scale[bad[0]]):g} for channel {bad[0]}; it must be above 0, and 1 / scale a number in "
            "float32. A channel that never changes has scale 0: leave it out of the readings, or give it a scale that suits it."
        )


def _check(module: Normalize, readings: Tensor) -> None:
    if not isinstance(readings, Tensor) or readings.is_complex():
        raise DataError(
            f"Normalize takes a tensor of readings, not a {type(readings).__name__}; give torch.as_tensor(readings)."
        )
    axis, shape = module.channel_axis, list(readings.shape)
    if -len(shape) <= axis < len(shape) and shape[axis] == module.channels:
        return
    fitting = [place for place, size in enumerate(shape) if place and size == module.channels]
    advice = f"give it channel_axis={fitting[0]}" if fitting else "give readings of the sensor that it was made for"
    raise DataError(
        f"Normalize has {module.channels} channels on axis {axis}, and got shape {shape}, batch in front; {advice}."
    )


def _shown(values: Tensor) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values.tolist())}]"
