"""All rows of the table, family by family."""

from __future__ import annotations

from tests.strangers import (
    activity,
    attention,
    clips,
    enhancement,
    keywords_tcn,
    nemo,
    recurrent,
    sensors,
    separation,
    speakers,
    spotters,
    tagging,
    temporal,
    unets,
    voice,
    wake_words,
)
from tests.strangers.entry import Stranger

FAMILIES: dict[str, tuple[Stranger, ...]] = {
    "Keyword spotting": (*keywords_tcn.STRANGERS, *wake_words.STRANGERS, *spotters.STRANGERS),
    "Speech and speakers": (*nemo.STRANGERS, *speakers.STRANGERS, *attention.STRANGERS),
    "Voice activity": voice.STRANGERS,
    "Enhancement and codecs": (*enhancement.STRANGERS, *unets.STRANGERS),
    "Separation": separation.STRANGERS,
    "Audio tagging": tagging.STRANGERS,
    "Clips": clips.STRANGERS,
    "Sensors": (*sensors.STRANGERS, *activity.STRANGERS),
    "Sequence models": (*temporal.STRANGERS, *recurrent.STRANGERS),
}
STRANGERS = tuple(stranger for family in FAMILIES.values() for stranger in family)
