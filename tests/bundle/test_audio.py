"""Front end, detector and golden samples in a bundle."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
import torch

from lightning_esp.bundle import TargetResult, pack_image, read_bundle, read_image, write_bundle
from lightning_esp.config import Deployment, Detector
from lightning_esp.detection import DetectorSettings, compute_scores, detect
from lightning_esp.errors import ConfigurationError
from lightning_esp.frontend import Mfcc, Spectrogram
from tests.bundle import handmade
from tests.support.listening import listening_bundle, make_front_end

HEADER = "components/lesp_model/esp32s3/model_config.hpp"


def test_the_front_end_is_in_the_manifest_and_the_header(tmp_path):
    bundle = listening_bundle(tmp_path / "kws")
    described = make_front_end().describe()
    assert read_bundle(tmp_path / "kws").manifest["frontend"] == json.loads(json.dumps(described)) == described
    header = (bundle.path / HEADER).read_text()
    for line in (
        ".kind = streaming::FrontEndKind::kFbank,",
        ".window_type = streaming::WindowFunction::kPovey,",
        ".num_mel_bins = 4,",
        ".preemphasis = 0.970000029f,",
        ".low_freq = 0.0f,",
        ".use_log_fbank = 2,",
        ".remove_dc_offset = true,",
        ".bands = 4,",
        ".frame_samples = 400,",
        ".hop_samples = 160,",
    ):
        assert f"    {line}\n" in header
    mean = header.split("kMean[] = {")[1].split("}")[0]
    assert [np.float32(value.rstrip("f")) for value in mean.split(", ")] == [np.float32(v) for v in described["mean"]]


def test_every_field_of_the_config_is_in_the_header(tmp_path):
    from dataclasses import fields

    header = (listening_bundle(tmp_path / "kws").path / HEADER).read_text()
    for field in fields(make_front_end().config):
        assert f"    .{field.name} = " in header


@pytest.mark.parametrize("front_end", [Mfcc(num_ceps=4, num_mel_bins=8), Spectrogram()])
def test_kinds(tmp_path, front_end):
    if front_end.bands == 4:
        write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "k", Deployment(frontend=front_end.describe()))
        assert "FrontEndKind::kMfcc" in (tmp_path / "k" / HEADER).read_text()
    else:
        with pytest.raises(ConfigurationError, match=r"makes 257 features per frame, but .*'x' takes 4"):
            write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "k", Deployment(frontend=front_end.describe()))


def test_a_description_must_be_whole(tmp_path):
    with pytest.raises(ConfigurationError, match=r"lacks bands, config.*FrontEnd\.describe"):
        write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "k", Deployment(frontend={"kind": "Fbank"}))


def test_golden_samples_are_packed(tmp_path):
    bundle = listening_bundle(tmp_path / "kws")
    data = (bundle.path / "components/lesp_model/esp32s3/golden/model_audio.bin").read_bytes()
    magic, recordings, samples, frames, bands = struct.unpack_from("<4s4I", data)
    assert (magic, recordings, samples, frames, bands) == (b"LEA1", 1, 1001, 4, 4)
    assert np.frombuffer(data, "<i2", 1001, 20)[[0, -1]].tolist() == [-500, 500]
    features = np.frombuffer(data, "<f4", 16, 20 + 2004).reshape(4, 4)
    expected = make_front_end()(torch.arange(-500, 501, dtype=torch.int16)).T.numpy()
    assert np.array_equal(features, expected)
    assert len(data) == 20 + 2004 + 64
    assert f"kGoldenAudio = {{.data = files::audio_bin, .bytes = {len(data)}}};" in (bundle.path / HEADER).read_text()
    assert "components/lesp_model/esp32s3/golden/model_audio.bin" in bundle.manifest["files"]


def test_private_recordings_stay_private(tmp_path):
    bundle = listening_bundle(tmp_path / "kws", golden=False, detector=Detector(activation="none"))
    assert not (bundle.path / "components/lesp_model/esp32s3/golden").exists()
    header = (bundle.path / HEADER).read_text()
    assert "kGoldenAudio = {};" in header
    assert "kGoldenEvents = {};" in header
    assert "FrontEndKind::kFbank" in header


def test_a_model_that_does_not_listen_says_so(tmp_path):
    bundle = write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    assert (bundle.manifest["frontend"], bundle.manifest["targets"]["esp32s3"]["detector"]) == (None, None)
    header = (bundle.path / HEADER).read_text()
    assert "kFrontEnd = {};" in header
    assert "kDetector = {};" in header


def test_the_detector_and_its_decisions(tmp_path):
    detector = Detector({"a": 0.5, "b": 0.25}, average=2, minimum=1, refractory=3)
    quantized, verification = handmade.one_stage()
    classes = quantized.stages[-1].outputs[0].shape[-1]
    labels = tuple("abcdefgh"[:classes])
    bundle = write_bundle({"esp32s3": (quantized, verification)}, tmp_path / "k", Deployment(labels, detector=detector))
    settings = read_bundle(tmp_path / "k").contents.targets["esp32s3"].detector
    assert settings is not None
    assert settings.thresholds == (0.5, 0.25, *[math.inf] * (classes - 2))
    header = (bundle.path / HEADER).read_text()
    assert "kThresholds[] = {0.5f, 0.25f" + ", streaming::kNever" * (classes - 2) + "};" in header
    assert ".refractory = 3,\n    .activation = streaming::Activation::kSoftmax,\n" in header
    (output,) = quantized.stages[-1].outputs
    golden = verification.golden
    frames = golden.outputs[output.name] * 2.0**output.exponent
    expected = []
    for number, start in enumerate(golden.resets):
        end = [*golden.resets, golden.windows][number + 1]
        scores = compute_scores(np.concatenate(list(frames[start:end])), "softmax")
        expected += [[number, event.frame, event.label] for event in detect(settings, scores)]
    found = bundle.manifest["targets"]["esp32s3"]["golden_events"]
    assert found == expected
    assert len(found) > 3
    assert header.count("{.recording = ") == len(found)


def test_each_target_may_have_a_detector_of_its_own(tmp_path):
    results = {}
    for chip, threshold in (("esp32s3", 0.5), ("esp32p4", 0.25)):
        quantized, verification = handmade.one_stage(chip)
        classes = quantized.stages[-1].outputs[0].shape[-1]
        results[chip] = TargetResult(quantized, verification, DetectorSettings((threshold,) * classes))
    labels = tuple("abcdefgh"[:classes])
    bundle = write_bundle(results, tmp_path / "k", Deployment(labels, detector=Detector(0.9)))
    events = {}
    for chip, result in results.items():
        assert read_bundle(bundle.path).contents.targets[chip].detector == result.detector
        header = (bundle.path / HEADER.replace("esp32s3", chip)).read_text()
        assert f"kThresholds[] = {{{result.detector.thresholds[0]}f" in header
        assert read_image(pack_image(bundle, chip)).detector == result.detector
        events[chip] = bundle.manifest["targets"][chip]["golden_events"]
    assert events["esp32s3"] != events["esp32p4"]


def test_labels_must_be_those_of_the_model(tmp_path):
    with pytest.raises(ConfigurationError, match=r"labels=\.\.\.\) names 2 classes"):
        write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "k", Deployment(("a", "b"), detector=Detector()))
