"""Bundles of a handmade model that listens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lightning_esp.bundle import write_bundle
from lightning_esp.config import Deployment
from lightning_esp.frontend import LogMel
from lightning_esp.verification.proof import GoldenAudio
from tests.bundle import handmade


def make_front_end() -> LogMel:
    """One that makes what `handmade.one_stage` takes: 4 features a frame."""
    front_end = LogMel(num_mel_bins=4, window_type="povey", use_log_fbank=2, low_freq=0.0)
    front_end.measure([torch.randn(8000, generator=torch.Generator().manual_seed(0))])
    return front_end


def listening_bundle(directory, **options):
    """The handmade model with a front end, a detector and audio behind its first recording."""
    quantized, verification = handmade.one_stage()
    samples = np.arange(-500, 501, dtype=np.int16)
    features = make_front_end()(torch.from_numpy(samples)).T.numpy()
    golden = replace(verification.golden, audio=(GoldenAudio(samples, features),))
    deployment = Deployment(frontend=make_front_end().describe(), **options)
    return write_bundle({"esp32s3": (quantized, replace(verification, golden=golden))}, directory, deployment)
