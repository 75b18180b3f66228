"""A front end again, from what it said of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_esp.errors import ConfigurationError
from lightning_esp.frontend.config import FeatureConfig
from lightning_esp.frontend.features import FrontEnd, LogMel, Mfcc, Spectrogram
from lightning_esp.frontend.normalize import Normalize
from lightning_esp.options import check_arguments

_CLASSES: dict[str, type[FrontEnd]] = {front_end.kind: front_end for front_end in (LogMel, Mfcc, Spectrogram)}


def restore_front_end(description: Mapping[str, Any]) -> FrontEnd | Normalize:
    """Make the front end that a bundle's manifest describes.

    Args:
        description: what `FrontEnd.describe` or `Normalize.describe` returned, perhaps read back from JSON.

    Raises:
        ConfigurationError: it is no such description.

    Example:
        >>> restore_front_end(LogMel(num_mel_bins=40).describe()).bands
        40
    """
    check_arguments(restore_front_end, description=description)
    if description.get("kind") == Normalize.kind:
        return restore_normalize(description)
    try:
        # Before there was a choice, it was float.
        front_end = _CLASSES[description["kind"]](FeatureConfig(**{"arithmetic": "float", **description["config"]}))
        for name in ("mean", "scale"):
            getattr(front_end, name).copy_(_figures(name, description[name], front_end.bands))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error) if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}"
        raise ConfigurationError(
            f"this is no description of a front end ({reason}); pass what FrontEnd.describe() returns."
        ) from error
    _check_sizes(description, front_end)
    return front_end.eval()


def restore_normalize(description: Mapping[str, Any]) -> Normalize:
    """Make the normalisation that a bundle's manifest describes.

    Args:
        description: what `Normalize.describe` returned, perhaps read back from JSON.

    Raises:
        ConfigurationError: it is no such description.
    """
    try:
        made = Normalize(description["mean"], description["scale"], description["channel_axis"])
        if description["kind"] != Normalize.kind or description["channels"] != made.channels:
            raise ConfigurationError(
                f"kind={description['kind']!r}, channels={description['channels']!r} and {made.channels} means"
            )
    except (KeyError, ConfigurationError) as error:
        reason = str(error) if isinstance(error, ConfigurationError) else f"{error} is missing"
        raise ConfigurationError(
            f"this is no description of a normalisation ({reason}); pass what Normalize.describe() returns."
        ) from error
    return made.eval()


def _figures(name: str, values: Sequence[float], bands: int) -> Tensor:
    figures = torch.tensor(values, dtype=torch.float32)
    if figures.shape != (bands,) or not bool(figures.isfinite().all()):
        raise ConfigurationError(f"{name!r} must be {bands} finite numbers, one for each band")
    return figures


def _check_sizes(description: Mapping[str, Any], front_end: FrontEnd) -> None:
    made = front_end.describe()
    for name in ("bands", "frame_samples", "hop_samples"):
        if name in description and (type(description[name]), description[name]) != (int, made[name]):
            raise ConfigurationError(
                f"the description of a front end has {name}={description[name]!r}, but its config makes {made[name]}; pass what "
                "FrontEnd.describe() returns."
            )
