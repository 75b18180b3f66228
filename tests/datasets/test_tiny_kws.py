"""The shipped data set is what its README says."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[2] / "datasets" / "tiny_kws"
KEYWORDS = {"go", "no", "stop", "yes"}


def read_rows(name: str) -> list[dict[str, str]]:
    with (ROOT / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def index() -> list[dict[str, str]]:
    return read_rows("index.csv")


def test_index_lists_every_clip_once(index: list[dict[str, str]]) -> None:
    on_disk = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/*.flac"))
    assert sorted(row["path"] for row in index) == on_disk


def test_clips_are_16_khz_mono_16_bit_and_as_long_as_stated(index: list[dict[str, str]]) -> None:
    for row in index:
        info = soundfile.info(ROOT / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16"), row["path"]
        assert abs(info.duration - float(row["duration_s"])) < 1e-4, row["path"]
        assert 0.2 < info.duration <= 1.0, row["path"]


def test_speakers_and_their_voices_are_in_one_split_only(index: list[dict[str, str]]) -> None:
    splits = defaultdict(set)
    for row in index:
        if row["speaker"]:
            splits[row["speaker"].split("_")[0]].add(row["split"])
    assert len(splits) == 34
    assert all(len(found) == 1 for found in splits.values()), splits


def test_every_split_holds_every_label(index: list[dict[str, str]]) -> None:
    labels = defaultdict(set)
    for row in index:
        labels[row["split"]].add(row["label"])
    assert dict(labels) == dict.fromkeys(("train", "val", "test"), KEYWORDS | {"_unknown_", "_silence_"})


def test_stream_times_lie_inside_the_stream_one_after_another() -> None:
    info = soundfile.info(ROOT / "stream.flac")
    rows = read_rows("stream.csv")
    times = [float(row[column]) for row in rows for column in ("start", "end")]
    assert (info.samplerate, info.channels, info.duration) == (16_000, 1, 120.0)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= info.duration
    assert {row["label"] for row in rows} == KEYWORDS


def test_keywords_are_louder_than_the_gaps_between_them() -> None:
    samples, rate = soundfile.read(ROOT / "stream.flac")
    for row in read_rows("stream.csv"):
        start, end = (round(float(row[column]) * rate) for column in ("start", "end"))
        gap = samples[start - rate // 5 : start]
        assert samples[start:end].std() > 10 * gap.std(), row


def test_the_set_stays_small() -> None:
    assert sum(path.stat().st_size for path in ROOT.rglob("*")) < 6_000_000


@pytest.mark.parametrize("name", ["negatives", "noise"])
def test_what_holds_no_keyword_is_listed_and_as_long_as_stated(name: str) -> None:
    folder = ROOT.parent / name
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == sorted(path.name for path in folder.glob("*.opus"))
    assert {row["split"] for row in rows} == {"train", "val"}
    for row in rows:
        info = soundfile.info(folder / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "OPUS"), row["path"]
        assert abs(info.duration - float(row["duration_s"])) < 0.03, row["path"]
