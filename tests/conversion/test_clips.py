"""Networks that decide on whole clips: pooled over time, the last frame, flattened, bidirectional, attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_esp import Streaming, convert
from lightning_esp.config import Quantization
from lightning_esp.conversion.clip_offline import OfflineClips, as_offline, check_clips
from lightning_esp.conversion.exact_weights import in_double
from lightning_esp.errors import ConfigurationError, ConversionError, UnsupportedOperatorError, WindowError
from lightning_esp.verification.clips import clips_in_stream
from lightning_esp.verification.verify import prove_float
from tests.conversion.clip_networks import (
    BANDS,
    FRAMES,
    INCREMENTAL,
    LOOKING_AHEAD,
    SLIDING,
    Causal,
    GruHead,
    LastHead,
    LatePadding,
    MeanHead,
    OneSymmetric,
    Symmetric,
)


def make(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    return kind().eval()


def one(module: nn.Module, **options: object):
    return convert(module, torch.randn(BANDS, FRAMES), Streaming(time_axis=2, **options))


@pytest.mark.parametrize("name", INCREMENTAL)
def test_layers_run_frame_by_frame_and_the_first_decision_is_the_offline_one(name):
    module = make(INCREMENTAL[name])
    model = one(module)
    assert model.spec.clip is not None
    assert model.spec.clip.form == "incremental"
    clips = torch.randn(3, BANDS, FRAMES, dtype=torch.float64)
    with torch.no_grad():
        decisions = in_double(model).run(clips)
        torch.testing.assert_close(decisions, module.double()(clips).unsqueeze(-1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SLIDING)
def test_a_whole_network_on_each_clip_is_the_offline_one_anywhere(name):
    module = make(SLIDING[name])
    model = one(module, hop=5)
    assert model.spec.clip is not None
    assert model.spec.clip.form == "sliding"
    assert model.spec.clip.hop == model.window == 5
    stream = torch.randn(2, BANDS, FRAMES + 17, dtype=torch.float64)
    with torch.no_grad():
        decisions = in_double(model).run(stream)
        offline = [module.double()(stream[..., start : start + FRAMES]) for start in (0, 5, 10, 15)]
    torch.testing.assert_close(decisions, torch.stack(offline, dim=-1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", LOOKING_AHEAD)
@pytest.mark.parametrize("hop", [None, 4])
def test_with_look_ahead_the_decision_comes_behind_the_clip_and_is_the_offline_one(name, hop):
    kind, ahead, held = LOOKING_AHEAD[name]
    module = make(kind)
    model = one(module, hop=hop, lookahead=3)
    assert model.spec.clip is not None
    assert (model.spec.clip.form, model.spec.clip.lookahead) == ("incremental", ahead)
    assert model.spec.clip.held == (held,)
    assert ("incremental with look-ahead" in str(model)) == (ahead > 0)
    # Window by window: the decision on the clip is there once its last frame and the look-ahead are.
    windows = -(-(FRAMES + ahead) // model.window)
    assert model.delay == windows - 1
    clips = torch.randn(3, BANDS, FRAMES, dtype=torch.float64)
    with torch.no_grad():
        decisions = in_double(model).run(clips)
        torch.testing.assert_close(decisions, module.double()(clips).unsqueeze(-1), rtol=0, atol=1e-10)


def test_look_ahead_is_only_as_far_as_it_is_allowed():
    clip = one(make(OneSymmetric)).spec.clip
    assert clip is not None
    assert (clip.form, clip.lookahead) == ("sliding", 0)


def test_what_drops_frames_is_not_padded_in_a_stream():
    module = make(LatePadding)
    clips = torch.randn(3, BANDS, FRAMES, dtype=torch.float64)
    model = one(module)
    with torch.no_grad():
        torch.testing.assert_close(in_double(model).run(clips)[..., 0], module.double()(clips), rtol=0, atol=1e-10)


@pytest.mark.parametrize("hop", [1, 3, 7, 20])
def test_any_hop_stands_at_the_end_of_a_clip(hop):
    for kind in (MeanHead, Symmetric):
        module = make(kind)
        model = one(module, hop=hop)
        clip = torch.randn(1, BANDS, FRAMES)
        with torch.no_grad():
            torch.testing.assert_close(model.run(clip)[..., 0], module(clip))


def test_the_last_frame_alone_is_held():
    model = one(make(LastHead))
    assert [cache.shape for cache in model.spec.caches] == [(1, BANDS, 2), (1, BANDS, 4)]


def test_all_layers_of_a_recurrent_network_give_their_last_state():
    class Both(GruHead):
        def __init__(self) -> None:
            super().__init__(2)
            self.head = nn.Linear(12, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, hidden = self.rnn(x.transpose(1, 2))
            return self.head(hidden.transpose(0, 1).flatten(1))

    module = make(Both)
    clips = torch.randn(3, BANDS, FRAMES)
    with torch.no_grad():
        torch.testing.assert_close(one(module).run(clips)[..., 0], module(clips))


def test_what_is_said_of_it():
    text = str(one(make(MeanHead), frame_period=0.01))
    assert "decides on       the last 20 frames (200 ms), every 1 frame (10 ms)" in text
    assert "held for the model: mean" in text


def test_without_clips_a_pool_over_time_is_refused():
    with pytest.raises(ConversionError, match="mean runs over all of time"):
        one(make(MeanHead), clip=None)


def test_a_length_that_was_given_is_cut_from_the_example():
    module = make(MeanHead)
    model = convert(module, torch.randn(BANDS, 50), Streaming(time_axis=2, clip=FRAMES))
    clip = torch.randn(1, BANDS, FRAMES)
    with torch.no_grad():
        torch.testing.assert_close(model.run(clip)[..., 0], module(clip))


def test_an_output_per_frame_is_no_decision():
    with pytest.raises(UnsupportedOperatorError, match="frames beside a decision"):
        convert(Causal(3).eval(), torch.randn(BANDS, FRAMES), Streaming(time_axis=2, clip=FRAMES))


def test_an_output_per_frame_with_a_layer_over_all_of_time_is_still_refused():
    class PerFrame(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - x.mean(-1, keepdim=True)

    with pytest.raises(ConversionError, match="mean"):
        convert(PerFrame().eval(), torch.randn(BANDS, FRAMES), Streaming(time_axis=2))


def test_a_hop_that_does_not_fit_the_stride_is_refused():
    class Strided(MeanHead):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(F.pad(x, (1, 0))[..., 1::2]).mean(-1))

    with pytest.raises(WindowError, match=r"hop=3.*stride of 2.*use 2"):
        one(make(Strided), hop=3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"clip": 0}, "clip=0"),
        ({"hop": 0}, "hop=0"),
        ({"clip": None, "hop": 2}, "clip=None, hop=2"),
        ({"clip": 10, "hop": 11}, "at most 10"),
        ({"window": 2, "hop": 3}, "window=2, hop=3"),
    ],
    ids=["clip", "hop", "no-clip", "longer", "window"],
)
def test_options_that_cannot_be_meant(options, match):
    with pytest.raises(ConfigurationError, match=match):
        Streaming(**options)


def test_recordings_of_several_lengths_tell_no_clip():
    module = make(MeanHead)
    spec = one(module).spec
    recordings = [torch.randn(BANDS, n) for n in (20, 25)]
    with pytest.raises(ConfigurationError, match=r"20 to 25 frames.*Streaming\(clip=20\)"):
        check_clips(spec, recordings, "auto")
    check_clips(spec, recordings, FRAMES)


def test_offline_clips_are_the_network_on_each():
    module = make(Symmetric)
    offline = as_offline(module, one(module, hop=4).spec)
    assert isinstance(offline, OfflineClips)
    stream = torch.randn(2, BANDS, FRAMES + 9)
    with torch.no_grad():
        expected = [module(stream[..., start : start + FRAMES]) for start in (0, 4, 8)]
    torch.testing.assert_close(offline(stream), torch.stack(expected, dim=-1))
    assert offline(stream[..., :10]).shape == (2, 4, 0)


def test_what_a_stream_changes_is_measured():
    recordings = [torch.randn(BANDS, FRAMES) for _ in range(6)]
    flat = make(INCREMENTAL["FlattenHead"])
    proof = clips_in_stream(flat, one(flat), recordings, 0.005)[0]
    assert proof.passed
    assert proof.figure > 0.005
    assert "clip_form='sliding'" in proof.doubt
    # Without padding nothing of the time before a clip enters.
    even = make(INCREMENTAL["TwoLags"])
    proof = clips_in_stream(even, one(even), recordings, 0.005)[0]
    assert proof.figure < 1e-10
    assert proof.state == "green"
    assert clips_in_stream(flat, one(flat, clip_form="sliding"), recordings, 0.005) == ()


def test_a_wrong_frame_is_found():
    module = make(LastHead)
    model = one(module)
    recordings = [torch.randn(BANDS, FRAMES) for _ in range(2)]
    proofs, _ = prove_float(module, model, recordings, Quantization().tolerance)
    assert all(proof.passed for proof in proofs)
    with torch.no_grad():
        module.head.weight.add_(0.01)
    with pytest.raises(Exception, match="float parity"):
        prove_float(module, model, recordings)


def attention(mask: object) -> nn.Module:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x.transpose(1, 2)
            made = mask(y) if callable(mask) else mask
            return F.scaled_dot_product_attention(y, y, y, made).mean(1)

    return Masked().eval()


def test_a_mask_that_leaves_nothing_is_refused():
    with pytest.raises(UnsupportedOperatorError, match="masks all frames for one of them"):
        one(attention(torch.ones(FRAMES, FRAMES, dtype=torch.bool).tril(-1)))


def test_a_mask_of_the_input_is_refused():
    with pytest.raises(UnsupportedOperatorError, match="mask that is computed from the input"):
        one(attention(lambda y: y @ y.transpose(1, 2)))
