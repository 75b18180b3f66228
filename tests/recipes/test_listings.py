"""Folders of recordings as people have them: each loads, or says what to do; nothing is dropped without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from lightning_esp.errors import DataError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import clips

    return clips


def write(path: Path, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(str(path))).normal(0, 0.1, int(seconds * 16_000))
    soundfile.write(path, samples, 16_000, subtype="PCM_16")


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., Path]:
    """Writes an index.csv, and the recordings a.wav, b.wav, sub/c.wav."""

    def make(text: str, encoding: str = "utf-8") -> Path:
        for name in ("a.wav", "b.wav", "sub/c.wav"):
            write(tmp_path / name)
        (tmp_path / "index.csv").write_bytes(text.encode(encoding))
        return tmp_path

    return make


FORMS = {
    "plain": "path,label,speaker,split\na.wav,yes,s1,train\nb.wav,no,s2,val\nsub/c.wav,no,s3,test\n",
    "semicolons": "path;label;speaker;split\na.wav;yes;s1;train\nb.wav;no;s2;val\nsub/c.wav;no;s3;test\n",
    "tabs": "path\tlabel\tspeaker\tsplit\na.wav\tyes\ts1\ttrain\nb.wav\tno\ts2\tval\nsub/c.wav\tno\ts3\ttest\n",
    "spreadsheet": '\ufeffPath,Label,Speaker,Split\r\n"a.wav","yes","s1",Train\r\nb.wav, no ,s2,VALIDATION\r\nsub\\c.wav,no,s3,Testing\r\n',
    "other order": "split,speaker,extra,label,path\ntraining,s1,x,yes,a.wav\ndev,s2,x,no,b.wav\n\neval,s3,x,no,sub/c.wav\n,,,,\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_index_reads_alike(clips: ModuleType, index: Callable[..., Path], form: str) -> None:
    found = clips.read_index(root := index(FORMS[form]))
    rows = [(clip.path.relative_to(root).as_posix(), clip.label, clip.speaker, clip.split) for clip in found]
    assert rows == [("a.wav", "yes", "s1", "train"), ("b.wav", "no", "s2", "val"), ("sub/c.wav", "no", "s3", "test")]


WRONG = {
    "no label": ("path,word\na.wav,yes\n", ["no column 'label'", "['path', 'word']"]),
    "empty": ("", ["no column 'path' and 'label'"]),
    "no rows": ("path,label\n", ["lists no recordings"]),
    "split": ("path,label,split\na.wav,yes,fold1\n", ["line 2", "'fold1'", "'train', 'val' or 'test'"]),
    "missing files": ("path,label\na.wav,yes\nz.wav,no\n", ["1 entries are not there", "z.wav"]),
    "a folder": ("path,label\nsub,yes\n", ["are not there"]),
    "twice": ("path,label\na.wav,yes\nb.wav,yes\na.wav,no\n", ["a.wav", "more than once"]),
    "case": ("path,label\na.wav,Yes\nb.wav,yes\n", ["Yes, yes", "case only"]),
    "no name": ("path,label\na.wav,yes\nb.wav\n", ["line 3", "label is empty"]),
    "latin 1": ("path,label\na.wav,größe\n", ["not UTF-8"]),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_named(clips: ModuleType, index: Callable[..., Path], fault: str) -> None:
    text, words = WRONG[fault]
    with pytest.raises(DataError) as caught:
        clips.read_index(index(text, "latin-1" if fault == "latin 1" else "utf-8"))
    assert all(word in str(caught.value) for word in ["index.csv", *words]), caught.value


def test_a_folder_for_each_word_is_a_set(clips: ModuleType, tmp_path: Path) -> None:
    for word in ("yes", "no"):
        for number in range(20):
            write(tmp_path / word / f"{number:02}.wav")
    write(tmp_path / "_background_noise_" / "rain.wav", 1.0)
    (tmp_path / ".cache").mkdir()
    found = clips.read_words(tmp_path, False, ())
    assert Counter((clip.label, clip.split) for clip in found) == {
        **{(word, "train"): 17 for word in ("yes", "no")},
        **{(word, "val"): 2 for word in ("yes", "no")},
        **{(word, "test"): 1 for word in ("yes", "no")},
    }
    assert [clip.path.name for clip in clips.find_noise(tmp_path, None, found)] == ["rain.wav"]


@pytest.mark.parametrize("speakers", [1, 2, 3, 40])
def test_what_is_held_out_leaves_every_split_with_clips(clips: ModuleType, tmp_path: Path, speakers: int) -> None:
    for word in ("yes", "no"):
        for number in range(40):
            write(tmp_path / word / f"s{number % speakers}_nohash_{number}.wav", 0.01)
    found = clips.read_words(tmp_path, False, ())
    counts = Counter(clip.split for clip in found)
    assert set(counts) == {"train", "val", "test"}
    assert counts["train"] >= 20
    # Two speakers are too few for three splits.
    if speakers > 2:
        sets = [{clip.speaker for clip in found if clip.split == split} for split in ("train", "val", "test")]
        assert sum(map(len, sets)) == speakers


def test_a_set_without_training_clips_is_refused(clips: ModuleType, index: Callable[..., Path]) -> None:
    root = index("path,label,split\na.wav,yes,test\nb.wav,yes,test\n")
    with pytest.raises(DataError, match="no training clips are there of"):
        clips.read_words(root, False, ())


def test_a_mistyped_folder_is_named(clips: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        clips.read_words(tmp_path / "wrods", False, ())
    with pytest.raises(DataError, match="holds no recordings"):
        clips.read_words(tmp_path, False, ())


def test_negatives_beside_a_set_without_unknown_make_that_class(
    clips: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from speech_data import SpeechData

    for word in ("yes", "no"):
        for number in range(20):
            write(tmp_path / "words" / word / f"{number:02}.wav")
    write(tmp_path / "negatives" / "order.wav", 0.3)
    (tmp_path / "negatives" / "index.csv").write_text("path,label\norder.wav,_speech_\n")
    with caplog.at_level("INFO"):
        data = SpeechData(tmp_path / "words", batch_size=64)
    assert data.labels == ["_unknown_", "no", "yes"]
    assert any("negatives come from" in message for message in caplog.messages)
    assert any("no split 'val'" in message for message in caplog.messages)
    # A set smaller than a batch gives a batch all the same.
    assert [len(batch[1]) for batch in data.train_dataloader()] == [34]
    assert len(data.speech) >= data.length


def test_loud_recordings_saturate_when_resampled(clips: ModuleType, tmp_path: Path) -> None:
    wave = np.clip(1.6 * np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000), -1, 1)
    soundfile.write(tmp_path / "a.wav", wave, 8000)
    samples = clips.load(tmp_path / "a.wav").int()
    assert samples.abs().max() >= 32767
    assert samples.diff().abs().max() < 20000


def test_speaker_sex_and_distance_are_groups(clips: ModuleType, index: Callable[..., Path]) -> None:
    text = "path,label,speaker,Sex,distance,other\na.wav,yes,s1,f,3 m,x\nb.wav,no,,,1 m,x\nsub/c.wav,no,,,,x\n"
    found = [clip.groups for clip in clips.read_index(index(text))]
    assert found == [{"speaker": "s1", "sex": "f", "distance": "3 m"}, {"distance": "1 m"}, {}]


def test_recordings_that_hold_a_phrase_are_left_out(clips: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    from listings import Clip, without_phrases

    said = {
        "a": "Is it a Computer term?",
        "b": "computers and more",
        "c": "",
        "d": "hey, Robin!",
        "e": "robin",
        "f": "don't",
    }
    listed = [Clip(Path(name), "_speech_", "", "train", transcript=text) for name, text in said.items()]
    listed += [Clip(Path("g"), "hey_robin", "", "train"), Clip(Path("h"), "robin", "", "train")]
    with caplog.at_level("INFO"):
        kept = without_phrases(listed, ["computer", "hey  robin"])
    assert [str(clip.path) for clip in kept] == ["b", "c", "e", "f", "h"]
    assert "In 3 of 8 recordings without keywords one is said" in caplog.text


def test_an_index_tells_what_is_said(clips: ModuleType, index: Callable[..., Path]) -> None:
    text = "path,label,transcript\na.wav,_speech_,Good morning\nb.wav,_speech_,\nsub/c.wav,no,\n"
    assert [clip.transcript for clip in clips.read_index(index(text))] == ["Good morning", "", ""]
