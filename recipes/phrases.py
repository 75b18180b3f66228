"""Speech beside a wake word: phrases that sound nearly like it, and running speech."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from espeak_library import load_espeak
from vocabulary import ADJECTIVES, BASE, NAMES, PAST, PEOPLE, PLACES, SENTENCES, THINGS, TIMES, WORDS

from lightning_esp.errors import DataError

_VOICE = "en-us"
# Letters that stand for sounds made in nearly the same place, or in the same way.
_ALIKE = ("pb", "td", "ckg", "fv", "sz", "mn", "lr")
_CONSONANTS = "bdfghjklmnprstvwz"
# These may belong to a vowel, or be silent: a word without one can be the word in another spelling.
_KEPT = "aeiouywh"
_GROUPS = ("pbm", "tdnɾ", "kɡŋ", "fvθð", "szʃʒ", "lɹ", "wʊ", "aeiouyæɐɑɒɔəɚɛɜɪʊʌɨᵻ", "jiɪ", "hʔ")
_MARKS = "ˈˌː_"


def make_confusables(phrase: str, count: int = 100, seed: int = 0, least: float = 1.0) -> list[str]:
    """Make phrases that are easily taken for `phrase`, the nearest in each kind first, as a mixture of the kinds.

    The kinds: parts of it (some of its words, its words in another order, the start or the end of a word), the phrase with
    one word replaced by a word of the vocabulary that sounds like it, or by any, and with one or two consonants
    replaced by others, or left out.

    Args:
        phrase: words, as in `synthesize`.
        count: how many at most; a short phrase has fewer.
        seed: other choices for other seeds.
        least: the least distance from `phrase` in phonemes (`measure_distance`) of a word of the vocabulary. Words that
            nobody says must be further away by a half, and parts of the phrase lack at least a third of it: what is nearer
            is the phrase in another accent, or said carelessly. Nothing holds the sound of the phrase.

    Returns:
        Different texts, none with the sound of `phrase`.

    Raises:
        DataError: `phrase` has no letter, or `count` or `least` is out of range.
        OSError: eSpeak NG, which gives the phonemes, is not installed.
    """
    if not any(map(str.isalpha, phrase)) or count < 1 or least <= 0:
        raise DataError(
            f"make_confusables(phrase={phrase!r}, count={count}, least={least}): give a phrase with letters, a count of "
            "1 or more, and a distance above 0."
        )
    words = phrase.lower().split()
    pick = random.Random(f"{seed} {phrase}")
    sounds = split_phonemes(phrase)
    kinds = [
        _sort_out(list(_cut(words)), sounds, max(least + 1, len(sounds) / 3)),
        _sort_out(_replace_words(words, pick), sounds, least),
        _sort_out(list(_change_letters(words, pick, 4 * count)), sounds, least + 0.5),
    ]
    chosen: dict[str, None] = {}
    while len(chosen) < count and any(kinds):
        for kind in kinds:
            if kind and len(chosen) < count:
                chosen.setdefault(kind.pop(0))
    return list(chosen)


def make_sentences(count: int, seed: int = 0, without: Sequence[str] = ()) -> list[str]:
    """Make sentences of everyday speech, from two words to some thirty, all different.

    Args:
        count: how many.
        seed: other sentences for other seeds.
        without: phrases that no sentence holds, by sound.

    Raises:
        DataError: `count` is below 1.
        OSError: there are phrases in `without`, and eSpeak NG is not installed.
    """
    if count < 1:
        raise DataError(f"make_sentences(count={count}): it must be 1 or more.")
    pick = random.Random(f"{seed} sentences")
    forbidden = ["".join(split_phonemes(phrase)) for phrase in without]
    made: dict[str, None] = {}
    for sentence in _say_much(pick):
        if not any(phonemes in "".join(split_phonemes(sentence)) for phonemes in forbidden):
            made.setdefault(sentence)
        if len(made) == count:
            break
    return list(made)


@cache
def split_phonemes(text: str) -> tuple[str, ...]:
    """Split a text into its phonemes in General American, without stress and length: ("h", "e", "ɪ", ...).

    Diphthongs and affricates count as the two sounds that they are made of; a flap is a sound of its own.

    Raises:
        OSError: eSpeak NG is not installed.
    """
    spelled = " ".join(load_espeak().spell(text.replace("*", ""), _VOICE))
    plain = unicodedata.normalize("NFD", re.sub(r"\([^)]*\)", "", spelled))
    return tuple(
        symbol
        for symbol in plain
        if symbol not in _MARKS and not symbol.isspace() and not unicodedata.combining(symbol)
    )


def measure_distance(one: Sequence[str], other: Sequence[str]) -> float:
    """Count the phonemes to replace, put in or leave out between two sequences; one replaced by a similar one is a half."""
    row = np.arange(len(other) + 1.0)
    for position, phoneme in enumerate(one, start=1):
        above, row = row, np.full(len(row), float(position))
        for column, wanted in enumerate(other, start=1):
            row[column] = min(row[column - 1] + 1, above[column] + 1, above[column - 1] + _cost(phoneme, wanted))
    return float(row[-1])


def _cost(one: str, other: str) -> float:
    return 0.0 if one == other else 0.5 if any(one in group and other in group for group in _GROUPS) else 1.0


def _sort_out(texts: Sequence[str], sounds: tuple[str, ...], least: float) -> list[str]:
    """Drop texts that hold or are the phrase; sort the others by distance."""
    phrase = "".join(sounds)
    spoken = {text: split_phonemes(text) for text in texts}
    distances = {
        text: measure_distance(own, sounds) for text, own in spoken.items() if own and phrase not in "".join(own)
    }
    return sorted((text for text, distance in distances.items() if distance >= least), key=distances.__getitem__)


def _cut(words: list[str]) -> Iterator[str]:
    """Yield parts of the phrase that are not all of it, and its words in other orders."""
    for size in range(1, len(words)):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])
    for start in range(len(words) - 1):
        swapped = words.copy()
        swapped[start : start + 2] = swapped[start + 1], swapped[start]
        yield " ".join(swapped)
    for number, word in enumerate(words):
        for cut in range(2, len(word) - 1):
            yield " ".join([*words[:number], word[:cut]])
            yield " ".join([word[cut:], *words[number + 1 :]])


def _replace_words(words: list[str], pick: random.Random) -> list[str]:
    """Replace each word in turn: by the nearest of the vocabulary, and by as many others."""
    known = sorted({word.lower() for word in [*WORDS, *NAMES]} - set(words))
    found = []
    for number, word in enumerate(words):
        sounds = split_phonemes(word)
        near = sorted(known, key=lambda other: (measure_distance(split_phonemes(other), sounds), other))[:40]
        others = near if len(words) == 1 else [*near, *pick.sample(known, 40)]
        found += [" ".join([*words[:number], other, *words[number + 1 :]]) for other in others]
    return found


def _change_letters(words: list[str], pick: random.Random, count: int) -> Iterator[str]:
    """Yield the phrase with one or two consonants changed or left out: other vowels are other accents."""
    plain = " ".join(words)
    places = [place for place, letter in enumerate(plain) if letter.isalpha() and letter not in _KEPT]
    for _ in range(count if places else 0):
        letters = list(plain)
        for place in pick.sample(places, min(len(places), pick.choice((1, 1, 2)))):
            alike = next((group for group in _ALIKE if letters[place] in group), "")
            other = pick.choice([*alike, pick.choice(_CONSONANTS), pick.choice(_CONSONANTS)])
            letters[place] = other if pick.random() < 0.85 else ""
        if any(map(str.isalpha, letters)):
            yield " ".join("".join(letters).split())


def _say_much(pick: random.Random) -> Iterator[str]:
    """Yield sentences without end: those of the vocabulary once, in between ones made from its words."""
    written = pick.sample(SENTENCES, len(SENTENCES))
    while True:
        if written and pick.random() < 0.4:
            yield written.pop()
            continue
        who, name, what, other, where, when = map(pick.choice, (PEOPLE, NAMES, THINGS, THINGS, PLACES, TIMES))
        did, do, how = map(pick.choice, (PAST, BASE, ADJECTIVES))
        sentence = pick.choice(
            (
                f"{who} {did} {what} {where} {when}.",
                f"{name} {did} {what} {when}, but {who} {did} {other}.",
                f"{do} {what}, please.",
                f"don't {do} {what}!",
                f"can you {do} {what} {where}?",
                f"{what} {where} was {how}.",
                f"I think that {who} {did} {what} because {other} was {how}.",
                f"{name} and {pick.choice(NAMES)} want to {do} {what} {when}.",
                f"did {name} really {do} {what} {where}?",
                f"{when}, {who} said that {what} was {how}, and nobody {did} {other} {where}.",
                f"{name}!",
                f"not {where}, {name}.",
                f"{how}, isn't it?",
                f"{pick.randrange(2, 100)} {pick.choice(WORDS)}, {pick.choice(WORDS)} and {pick.choice(WORDS)}.",
                f"{pick.choice(WORDS)} {pick.choice(WORDS)}.",
            )
        )
        yield sentence[0].upper() + sentence[1:]
