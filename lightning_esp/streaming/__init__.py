"""Streaming forms of torch modules: `convert` and what it returns."""

from lightning_esp.streaming.assembly import convert
from lightning_esp.streaming.model import Cache, Port, Recording, Recordings, Stage, StreamingModel, StreamSpec

__all__ = ["Cache", "Port", "Recording", "Recordings", "Stage", "StreamSpec", "StreamingModel", "convert"]
