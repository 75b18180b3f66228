"""`convert`: windows, stages by path, causality, and what is refused."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming, convert
from lightning_esp.conversion.assembly import choose_window
from lightning_esp.errors import ConfigurationError, ConversionError, NotCausalError, WindowError
from tests.models.contracts import CASES, Skip, SkipStages, Strided, TwoCaches
from tests.models.tutorial_tcn import TutorialTcn, shake


@pytest.mark.parametrize(
    ("window", "stride", "stages", "expected"),
    [(None, 1, 1, 1), (None, 2, 1, 2), (None, 2, 3, 4), (None, 3, 3, 3), (6, 2, 3, 6), (5, 1, 5, 5)],
)
def test_the_window_is_the_smallest_multiple_of_the_stride_that_lasts_all_stages(
    window: int | None, stride: int, stages: int, expected: int
) -> None:
    assert choose_window(Streaming(window=window), stride, stages) == expected


@pytest.mark.parametrize(
    ("window", "stride", "advice"), [(3, 2, (2, 4)), (7, 4, (4, 8)), (1, 2, (2, 2)), (5, 4, (4, 8))]
)
def test_a_window_that_is_no_multiple_of_the_stride_is_refused(
    window: int, stride: int, advice: tuple[int, int]
) -> None:
    message = rf"Streaming\(window={window}\) is not a multiple of the model's stride of {stride} frames"
    with pytest.raises(WindowError, match=message) as raised:
        choose_window(Streaming(window=window), stride, 1)
    # What the message advises must work.
    numbers = sorted({int(n) for n in re.findall(r"\d+", str(raised.value).split("; use ")[1])})
    assert numbers == sorted(set(advice))
    assert [choose_window(Streaming(window=n), stride, 1) for n in numbers] == numbers


def test_a_strided_model_takes_no_odd_window() -> None:
    with pytest.raises(WindowError, match=r"window=3\) is not a multiple .* of 2 frames"):
        convert(CASES["strided"].module(), torch.randn(8, 40), Streaming(window=3))
    assert convert(CASES["strided"].module(), torch.randn(8, 40), Streaming()).window == 2


def test_a_window_shorter_than_the_stages_is_refused() -> None:
    module, stages = CASES["tutorial"].module(), ["stage0", "stage1", "stage2"]
    message = (
        r"Streaming\(window=2\) is shorter than the 3 stages: one stage runs per frame step, so a window must last at "
        r"least 3 frames; use 3\."
    )
    with pytest.raises(WindowError, match=message):
        convert(module, torch.randn(8, 40), Streaming(window=2, stages=stages))
    assert convert(module, torch.randn(8, 40), Streaming(window=3, stages=stages)).window == 3
    assert convert(module, torch.randn(8, 40), Streaming(stages=stages)).window == 3


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'stage9' .*names no submodule of TutorialTcn"):
        convert(CASES["tutorial"].module(), torch.randn(8, 40), Streaming(stages=["stage0", "stage9"]))


class Widths(nn.Module):
    """Stages whose widths only fit in one order."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Conv1d(8, 6, 1), nn.Conv1d(6, 4, 1)
        for part in (self.low, self.high):
            part.streaming_forward = part.forward  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(x))


def test_stages_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"'high'.* does not run on"):
        convert(Widths(), torch.randn(8, 40), Streaming(stages=["high", "low"]))


def test_a_hand_written_model_is_not_cut_by_number() -> None:
    message = (
        r"Streaming\(stages=2\) cannot cut TwoCaches, since its streaming_forward is hand-written; give the stages as"
    )
    with pytest.raises(ConfigurationError, match=message):
        convert(CASES["two_caches"].module(), torch.randn(8, 40), Streaming(stages=2))


class Padded(Skip):
    """Padded on both sides, as `padding="same"` does; so it looks ahead."""

    def __init__(self, right: int) -> None:
        super().__init__()
        self.right = right

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (2 - self.right, self.right))) + x


@pytest.mark.parametrize("frames", [4, 8, 40, 41])
@pytest.mark.parametrize("right", [1, 2])
def test_padding_that_looks_ahead_is_refused(right: int, frames: int) -> None:
    with pytest.raises(NotCausalError, match=rf"Padded looks ahead by {right} frame\(s\): .*Pad only on the left"):
        convert(shake(Padded(right)), torch.randn(8, frames), Streaming(window=2))
    # The advice: pad on the left.
    assert convert(shake(Padded(0)), torch.randn(8, frames), Streaming(window=2)).window == 2


def test_look_ahead_is_said_in_milliseconds_where_the_period_is_known() -> None:
    with pytest.raises(NotCausalError, match=r"looks ahead by 2 frame\(s\) \(32 ms\)"):
        convert(shake(Padded(2)), torch.randn(8, 40), Streaming(window=2, frame_period=0.016))


def test_look_ahead_by_a_norm_over_time_is_refused() -> None:
    class Normalised(Skip):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / (1 + x.abs().mean(dim=2, keepdim=True))

    with pytest.raises(NotCausalError, match="looks ahead by"):
        convert(shake(Normalised()), torch.randn(8, 40), Streaming(window=2))


@pytest.mark.parametrize("frames", [8, 9, 16])
@pytest.mark.parametrize("name", CASES)
def test_short_examples_convert_as_long_ones_do(name: str, frames: int) -> None:
    # Eight frames of eight channels: time must not be mistaken for channels.
    case = CASES[name]
    (short,), (long,) = case.recordings(frames), case.recordings(60)
    assert convert(case.module(), short, case.streaming).spec == convert(case.module(), long, case.streaming).spec


class Rushes(Strided):
    """Streams without its stride."""

    def streaming_forward(self, x: Tensor, wide: Tensor, slow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, after, later = super().streaming_forward(x, wide, slow)
        return output.repeat_interleave(2, dim=2), after, later


class Leaves(TwoCaches):
    """Forgets to put the cache in front."""

    def streaming_forward(self, x: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, after_near, after_far = super().streaming_forward(x, near, far)
        return output[:, :, 1:], after_near, after_far


@pytest.mark.parametrize(("make", "found", "expected"), [(Rushes, 4, 2), (Leaves, 3, 4)])
def test_a_stream_of_another_number_of_frames_is_refused(
    make: Callable[[], nn.Module], found: int, expected: int
) -> None:
    message = (
        rf"streaming gives {found} output frames for a window of 4, but the offline forward gives {expected}; check"
    )
    with pytest.raises(ConversionError, match=message):
        convert(shake(make()), torch.randn(8, 40), Streaming(window=4))


class Guided(nn.Module):
    """The second stage reads a model input of its own, besides what the first one gives."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(8, 8, 1)

        def forward(self, features: Tensor, speaker: Tensor) -> Tensor:
            return features * torch.sigmoid(self.layer(speaker))

        def streaming_forward(self, features: Tensor, speaker: Tensor) -> Tensor:
            return self.forward(features, speaker)

    def __init__(self) -> None:
        super().__init__()
        self.block, self.scale = Skip(), Guided.Scale()

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        return self.scale(self.block(x), speaker)


def test_a_later_stage_may_read_a_model_input() -> None:
    module = shake(Guided())
    batch = {"x": torch.randn(2, 8, 30), "speaker": torch.randn(2, 8, 1)}
    model = convert(module, {n: v[:1] for n, v in batch.items()}, Streaming(window=2, stages=["block", "scale"]))
    assert [[port.name for port in stage.inputs] for stage in model.spec.stages] == [["x"], ["block.output", "speaker"]]
    with torch.no_grad():
        assert torch.allclose(model.run(batch), module(**batch), atol=1e-5)


def test_the_first_stage_takes_its_inputs_by_name() -> None:
    class Swapped(nn.Module):
        """Its first stage names its arguments in another order than the model does."""

        def __init__(self) -> None:
            super().__init__()
            self.scale, self.block = Guided.Scale(), Skip()

        def forward(self, speaker: Tensor, features: Tensor) -> Tensor:
            return self.block(self.scale(features, speaker))

    module = shake(Swapped())
    batch = {"speaker": torch.randn(2, 8, 1), "features": torch.randn(2, 8, 30)}
    streaming = Streaming(window=2, stages=["scale", "block"], inputs={"speaker": "held", "features": "stream"})
    model = convert(module, {n: v[:1] for n, v in batch.items()}, streaming)
    assert [port.name for port in model.spec.stages[0].inputs] == ["features", "speaker"]
    with torch.no_grad():
        assert torch.allclose(model.run(batch), module(**batch), atol=1e-5)


def test_names_follow_inputs_paths_and_caches() -> None:
    model = convert(shake(SkipStages()), torch.randn(8, 30), Streaming(window=2, stages=["low", "high"]))
    low, high = model.spec.stages
    assert (low.input_names, low.output_names) == (("x", "low.cache"), ("low.output", "low.cache.next"))
    assert (high.input_names, high.output_names) == (("low.output", "high.cache"), ("output", "high.cache.next"))
    assert model.spec.inputs[0].shape == (1, 8, 2)


def test_a_cut_model_equals_the_uncut_one() -> None:
    # The same blocks, once as stages and once as one hand-written module.
    class Uncut(TutorialTcn):
        def streaming_forward(self, x: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x, first = self.stage0.streaming_forward(x, first)
            x, last = self.stage2.streaming_forward(self.stage1.streaming_forward(x), last)
            return x, first, last

        def streaming_caches(self) -> dict[str, tuple[int, ...]]:
            return {"first": self.stage0.streaming_caches()["cache"], "last": self.stage2.streaming_caches()["cache"]}

    torch.manual_seed(0)
    module, batch = shake(Uncut(8, 16)), torch.randn(2, 8, 31)
    cut = convert(module, batch[:1], Streaming(window=3, stages=["stage0", "stage1", "stage2"]))
    assert torch.equal(cut.run(batch), convert(module, batch[:1], Streaming(window=3)).run(batch))
