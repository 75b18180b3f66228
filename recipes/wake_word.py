"""Your own wake words: phrases from text, and recordings where you have some.

    python recipes/wake_word.py fit --phrases "hey robin" "lights off"
    python recipes/wake_word.py fit --phrases "hey robin" --data.recordings FOLDER   # FOLDER/hey robin/*.m4a
    python recipes/wake_word.py fit --phrases "hey robin" --data.speech_roots "[TALK, MUSIC]" --data.noise_roots "[NOISE]"

Synthesizers of this machine say the phrases, phrases that sound like them, and sentences; `pip install
'lightning_esp[wakeword]'` brings one, and each further one (piper, festival, flite ...) makes the model better on real
voices. Defaults stand in `wake_word.yaml`; `fit --help` lists all options.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phrase_data import PhraseData
from pytorch_lightning.cli import LightningArgumentParser
from spotter import RecipeCLI, Spotter, run_recipe
from tcn import KeywordTcn


class WakeWordSpotter(Spotter):
    """Trains a causal temporal convolutional network of 56 thousand parameters on scenes of phrases.

    Args:
        labels: the classes, in the order of the network's outputs; the command line takes them from the data.
        bands: mel bands of a frame.
        channels: channels of the network.
        kernel: frames that a depthwise convolution combines.
        dilations: one block for each.
        maps: filters of the convolutions over bands and time that come first.
        options: of `Spotter`.
    """

    def __init__(
        self,
        labels: list[str],
        bands: int = 32,
        channels: int = 64,
        kernel: int = 5,
        dilations: Sequence[int] = (1, 2, 4, 8, 1, 2, 4, 8),
        maps: Sequence[int] = (16, 24, 32),
        **options: Any,
    ) -> None:
        network = KeywordTcn(bands, len(labels), channels, kernel, dilations, maps)
        super().__init__(labels, network, bands, **options)


class WakeWordCLI(RecipeCLI):
    """The recipe's command line, which takes the phrases one after the other."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:  # noqa: D102
        super().add_arguments_to_parser(parser)
        parser.add_argument("--phrases", nargs="+", type=str, default=[], help="What to listen for.")
        parser.link_arguments("phrases", "data.phrases")


if __name__ == "__main__":
    run_recipe(WakeWordSpotter, str(Path(__file__)), PhraseData, WakeWordCLI)
