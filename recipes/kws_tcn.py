"""Keyword spotting with a causal temporal convolutional network on log-mel frames.

    python recipes/kws_tcn.py fit                             # the tiny set that ships with the project
    python recipes/kws_tcn.py fit --data.root FOLDER          # a folder with an index.csv, or Speech Commands
    python recipes/kws_tcn.py fit --export.output_dir OUT --export.target esp32p4 --export.streaming.window 3
    python recipes/kws_tcn.py test --ckpt_path runs/kws_tcn/version_0/checkpoints/...

Defaults stand in `kws_tcn.yaml`; `fit --help` lists all options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spotter import Spotter, run_recipe
from tcn import KeywordTcn


class KeywordSpotter(Spotter):
    """Trains a causal temporal convolutional network on labelled clips.

    Args:
        labels: the classes, in the order of the network's outputs; the command line takes them from the data.
        bands: mel bands of a frame.
        channels: channels of the network.
        kernel: frames that a depthwise convolution combines.
        dilations: one block for each.
        maps: filters of the convolutions over bands and time that come first.
        noise: how strongly training rounds, as a share of the largest value of a layer; less for larger sets.
        options: of `Spotter`.
    """

    def __init__(
        self,
        labels: list[str],
        bands: int = 32,
        channels: int = 84,
        kernel: int = 5,
        dilations: Sequence[int] = (1, 2, 4, 1, 2, 4),
        maps: Sequence[int] = (16, 24, 32),
        noise: float = 1 / 32,
        **options: Any,
    ) -> None:
        network = KeywordTcn(bands, len(labels), channels, kernel, dilations, maps, noise)
        super().__init__(labels, network, bands, **options)


if __name__ == "__main__":
    run_recipe(KeywordSpotter, __file__)
