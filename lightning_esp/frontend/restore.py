"""A front end again, from what it said of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lightning_esp.errors import ConfigurationError
from lightning_esp.frontend.config import FeatureConfig
from lightning_esp.frontend.features import FrontEnd, LogMel, Mfcc, Spectrogram

_CLASSES: dict[str, type[FrontEnd]] = {front_end.kind: front_end for front_end in (LogMel, Mfcc, Spectrogram)}


def restore_front_end(description: Mapping[str, Any]) -> FrontEnd:
    """Make the front end that a bundle's manifest describes.

    Args:
        description: what `FrontEnd.describe` returned, perhaps read back from JSON.

    Raises:
        ConfigurationError: it is no such description.

    Example:
        >>> restore_front_end(LogMel(num_mel_bins=40).describe()).bands
        40
    """
    try:
        # Before there was a choice, it was float.
        front_end = _CLASSES[description["kind"]](FeatureConfig(**{"arithmetic": "float", **description["config"]}))
        front_end.mean.copy_(torch.tensor(description["mean"]))
        front_end.scale.copy_(torch.tensor(description["scale"]))
    except (KeyError, TypeError, RuntimeError) as error:
        raise ConfigurationError(
            f"this is no description of a front end ({type(error).__name__}: {error}); pass what FrontEnd.describe() returns."
        ) from error
    return front_end.eval()
