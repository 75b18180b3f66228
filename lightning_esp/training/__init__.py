"""Parts that a training run gives to an export: module, inputs, weights, and a way to run the user's own steps.

Known to `callback` and `task_metrics` only; with these the only importer of Lightning.
"""

from lightning_esp.training.attempt import Attempt
from lightning_esp.training.copying import isolate_random
from lightning_esp.training.distillation import Distill, kl_divergence
from lightning_esp.training.loggers import log_export
from lightning_esp.training.package import UnifiedCallback, package_of
from lightning_esp.training.progress import show_progress, shows_progress
from lightning_esp.training.recordings import Captured, capture_recordings, capture_shapes
from lightning_esp.training.run import read_run
from lightning_esp.training.selection import find_module
from lightning_esp.training.settings import fill_deployment, fill_streaming
from lightning_esp.training.streams import find_streams, has_streams, take_start
from lightning_esp.training.subject import Subject, make_subject
from lightning_esp.training.task_metrics import TaskMetrics
from lightning_esp.training.weights import Choice, Weights, check_choice

__all__ = [
    "Attempt",
    "Captured",
    "Choice",
    "Distill",
    "Subject",
    "TaskMetrics",
    "UnifiedCallback",
    "Weights",
    "capture_recordings",
    "capture_shapes",
    "check_choice",
    "fill_deployment",
    "fill_streaming",
    "find_module",
    "find_streams",
    "has_streams",
    "isolate_random",
    "kl_divergence",
    "log_export",
    "make_subject",
    "package_of",
    "read_run",
    "show_progress",
    "shows_progress",
    "take_start",
]
