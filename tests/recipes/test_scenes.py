"""Training scenes: words where they are said to be, a loss that wants them behind their end, decisions as a detector's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPES))
    import scenes

    return scenes


def make_clips(scenes: ModuleType, count: int = 64) -> object:
    """Clips of a second that hold a tone from 0.3 to 0.7 s, and silent ones."""
    torch.manual_seed(0)
    waveforms = torch.zeros(count, 16_000)
    waveforms[: count // 2, 4800:11_200] = torch.sin(torch.arange(6400) * 0.2)
    start, end = torch.full((count,), -1), torch.full((count,), -1)
    start[: count // 2], end[: count // 2] = 4800, 11_200
    return scenes.Scenes(waveforms, torch.arange(count) % 3, start, end)


def test_a_word_lies_where_its_scene_says(scenes: ModuleType) -> None:
    made = scenes.make_scenes(make_clips(scenes), None, 32_000, share=0.0)
    assert made.waveforms.shape == (64, 32_000)
    for number in range(32):
        (loud,) = made.waveforms[number].abs().gt(0.01).nonzero(as_tuple=True)
        start, end = int(made.start[number]), int(made.end[number])
        assert abs(int(loud[0]) - start) < 100
        assert abs(int(loud[-1]) - end) < 100
        assert 6400 / 1.19 < end - start < 6400 / 0.84
        assert end <= 32_000 - 0.4 * 16_000
    assert made.end[:32].unique().numel() > 25, "at places of their own"
    assert (made.end[32:] == -1).all()
    assert (made.waveforms[32:] == 0).all()


def test_other_speech_stands_around_the_word_and_not_in_it(scenes: ModuleType) -> None:
    around = (3000 * torch.randn(200_000, generator=torch.Generator().manual_seed(1))).short()
    clips = make_clips(scenes)
    torch.manual_seed(3)
    alone = scenes.make_scenes(clips, None, 32_000, share=0.0)
    torch.manual_seed(3)
    made = scenes.make_scenes(clips, around, 32_000, share=1.0)
    for number in range(32):
        start, end = int(made.start[number]), int(made.end[number])
        assert torch.allclose(made.waveforms[number, start:end], alone.waveforms[number, start:end])
        outside = torch.cat([made.waveforms[number, : start - 6000], made.waveforms[number, end + 6000 :]])
        assert outside.std() > 0.01
    assert (made.waveforms[32:] == 0).all(), "silence has no speech around it"


def logits_of(best: Tensor, classes: int = 3, margin: float = 8.0) -> Tensor:
    """Logits `[1, classes, frames]` whose best class in each frame is given."""
    return margin * torch.nn.functional.one_hot(best, classes).T[None].float()


def test_the_loss_wants_the_word_behind_its_end_alone(scenes: ModuleType) -> None:
    rest, label = torch.tensor([True, False, False]), torch.tensor([1])
    start, end = torch.tensor([60.0]), torch.tensor([100.0])

    def loss(best: Tensor) -> float:
        return float(scenes.frame_loss(logits_of(best), label, start, end, rest, 30, 0.0))

    right = torch.zeros(200, dtype=torch.long)
    right[93:135] = 1
    wrong_word, early, late, never = right.clone(), right.clone(), right.clone(), torch.zeros(200, dtype=torch.long)
    wrong_word[93:135] = 2
    early[10:20] = 1
    late[180:190] = 2
    assert loss(right) < 0.01
    for wrong in (wrong_word, early, late, never):
        assert loss(wrong) > 1.0
    # Between, either answer is right.
    either = right.clone()
    either[85:93], either[135:155] = 1, 1
    assert loss(either) < 0.01


def test_speech_without_a_keyword_may_be_any_class_of_the_rest(scenes: ModuleType) -> None:
    rest, none = torch.tensor([True, True, False]), torch.tensor([-1.0])
    for best, low in ((0, True), (1, True), (2, False)):
        logits = logits_of(torch.full((100,), best))
        found = float(scenes.frame_loss(logits, torch.tensor([-1]), none, none, rest, 30, 0.0))
        assert (found < 0.01) == low


def test_one_wrong_stretch_costs_more_than_its_share(scenes: ModuleType) -> None:
    """A single one is a false accept, however long the scene."""
    rest, none = torch.tensor([True, False, False]), torch.tensor([-1.0])
    best = torch.zeros(1000, dtype=torch.long)
    best[500:550] = 1
    found = float(scenes.frame_loss(logits_of(best), torch.tensor([-1]), none, none, rest, 30, 0.0))
    assert found > 5 * 8.0 * 50 / 1000


def test_a_clip_is_what_its_strongest_keyword_says(scenes: ModuleType) -> None:
    rest = torch.tensor([True, True, False, False])
    word = torch.zeros(120, dtype=torch.long)
    word[70:105] = 3
    quiet, short = torch.ones(120, dtype=torch.long), torch.zeros(120, dtype=torch.long)
    short[70:74] = 3
    for best, expected in ((word, 3), (quiet, 1), (short, 0)):
        scores = scenes.decide_clips(logits_of(best, 4), rest, 30)
        assert int(scores.argmax()) == expected
        assert float(scores.exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_positions_move_with_the_features(scenes: ModuleType) -> None:
    assert "augmentation" in sys.modules
    from augmentation import warp

    torch.manual_seed(0)
    features = torch.zeros(50, 32, 200)
    features[:, :, 150] = 1.0
    warped, factor = warp(features, 0.15)
    middle = 99.5
    for number in range(50):
        peak = int(warped[number].mean(0).argmax())
        assert abs(peak - (middle + (150 - middle) / float(factor[number]))) <= 1
