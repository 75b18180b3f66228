"""Audio features as torch modules whose numbers are those of ESP-DL's `dl::audio`."""

from lightning_esp.frontend.config import FeatureConfig, WindowType
from lightning_esp.frontend.features import FrontEnd, LogMel, Mfcc, Spectrogram
from lightning_esp.frontend.files import read_audio
from lightning_esp.frontend.fixed_point import DIFFERENCE_LIMITS, FixedPointFrontEnd, as_on_chip, compare_with_float
from lightning_esp.frontend.recordings import Heard, hear
from lightning_esp.frontend.restore import restore_front_end
from lightning_esp.frontend.splitting import Listening, find_inside, split_front_end
from lightning_esp.frontend.stream import FeatureStream

__all__ = [
    "DIFFERENCE_LIMITS",
    "FeatureConfig",
    "FeatureStream",
    "FixedPointFrontEnd",
    "FrontEnd",
    "Heard",
    "Listening",
    "LogMel",
    "Mfcc",
    "Spectrogram",
    "WindowType",
    "as_on_chip",
    "compare_with_float",
    "find_inside",
    "hear",
    "read_audio",
    "restore_front_end",
    "split_front_end",
]
