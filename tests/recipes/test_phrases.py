"""Phrases that sound nearly like another, and sentences that hold none of a list."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lightning_esp.errors import DataError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def phrases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import phrases

    return phrases


def test_phonemes_come_without_stress_and_length(phrases: ModuleType) -> None:
    assert "".join(phrases.split_phonemes("Hey, *robin*!")) == "heɪɹɑbɪn"
    assert phrases.split_phonemes("write") == phrases.split_phonemes("right")


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("tak", "tak", 0), ("tak", "dak", 0.5), ("tak", "sak", 1), ("tak", "ta", 1), ("tak", "atak", 1), ("", "tak", 3)],
)
def test_similar_sounds_are_nearer(phrases: ModuleType, one: str, other: str, distance: float) -> None:
    assert phrases.measure_distance(one, other) == distance
    assert phrases.measure_distance(other, one) == distance


def test_parts_and_words_that_sound_alike_are_found(phrases: ModuleType) -> None:
    found = phrases.make_confusables("smart mirror", 200)
    assert len(found) == len(set(found)) == 200
    for text in ("smart", "mirror", "mirror smart", "smart meter", "start mirror", "smart milk"):
        assert text in found
    assert phrases.make_confusables("smart mirror", 12) == found[:12]
    assert {"commuter", "compute", "puter"} <= set(phrases.make_confusables("computer", 40))
    assert {"snowball", "cowboy", "snow"} <= set(phrases.make_confusables("snowboy", 40))


@pytest.mark.parametrize("phrase", ["computer", "hey robin", "lights off", "Go"])
def test_no_confusable_is_the_phrase_or_holds_it(phrases: ModuleType, phrase: str) -> None:
    sounds = phrases.split_phonemes(phrase)
    found = phrases.make_confusables(phrase, 150, seed=3)
    assert len(found) > 20
    for text in found:
        own = phrases.split_phonemes(text)
        assert "".join(sounds) not in "".join(own)
        assert phrases.measure_distance(own, sounds) >= 1
    # Neither a homophone nor the word with another vowel in a weak syllable.
    assert not {"komputer", "computers", "hay robin", "robin hey robin", "lights of"} & set(found)
    assert phrases.make_confusables(phrase, 150, seed=3) == found
    assert phrases.make_confusables(phrase, 150, seed=4) != found


def test_sentences_differ_and_lack_the_phrases(phrases: ModuleType) -> None:
    found = phrases.make_sentences(1200)
    assert len(set(found)) == 1200
    assert any("computer" in text for text in found)
    assert len({len(text.split()) for text in found}) > 15
    assert len({phoneme for text in found[:300] for phoneme in phrases.split_phonemes(text)}) > 34
    without = phrases.make_sentences(1200, without=["computer", "know where"])
    assert len(set(without)) == 1200
    assert not [text for text in without if "computer" in text.lower()]
    # "Nobody knows where" does not sound like it, "no wear" does.
    assert not [text for text in without if "noʊwɛɹ" in "".join(phrases.split_phonemes(text))]
    assert phrases.make_sentences(50, seed=1) != phrases.make_sentences(50)


@pytest.mark.parametrize(
    "options",
    [{"phrase": "?!"}, {"phrase": "hey", "count": 0}, {"phrase": "hey", "least": 0.0}],
    ids=["letters", "count", "least"],
)
def test_wrong_wishes_are_refused(phrases: ModuleType, options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="give a phrase with letters, a count of 1 or more"):
        phrases.make_confusables(**options)
    with pytest.raises(DataError, match="count=0"):
        phrases.make_sentences(0)
