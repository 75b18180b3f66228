"""Front ends as torch modules: audio features whose numbers are those of ESP-DL's `dl::audio`, and readings of sensors."""

from lightning_esp.frontend.config import FeatureConfig, WindowType
from lightning_esp.frontend.constants import find_constants
from lightning_esp.frontend.features import FrontEnd, LogMel, Mfcc, Spectrogram
from lightning_esp.frontend.files import AudioFile, Samples, convert_hint, read_audio
from lightning_esp.frontend.fixed_point import DIFFERENCE_LIMITS, FixedPointFrontEnd, compare_with_float
from lightning_esp.frontend.normalize import Normalize
from lightning_esp.frontend.restore import restore_front_end, restore_normalize
from lightning_esp.frontend.splitting import FrontEndNetwork, find_inside, list_front_ends, split_front_end
from lightning_esp.frontend.stream import FeatureStream
from lightning_esp.frontend.stream_features import StreamFeatures, as_on_chip, compute_stream_features

__all__ = [
    "DIFFERENCE_LIMITS",
    "AudioFile",
    "FeatureConfig",
    "FeatureStream",
    "FixedPointFrontEnd",
    "FrontEnd",
    "FrontEndNetwork",
    "LogMel",
    "Mfcc",
    "Normalize",
    "Samples",
    "Spectrogram",
    "StreamFeatures",
    "WindowType",
    "as_on_chip",
    "compare_with_float",
    "compute_stream_features",
    "convert_hint",
    "find_constants",
    "find_inside",
    "list_front_ends",
    "read_audio",
    "restore_front_end",
    "restore_normalize",
    "split_front_end",
]
