"""The keyword recipe: its network streams, its data load, its command line works."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from lightning_esp import Streaming, convert

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "kws_tcn.py"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE.parent))
    import kws_tcn

    return kws_tcn


@pytest.fixture
def spotter(recipes: ModuleType) -> Any:
    torch.manual_seed(0)
    spotter = recipes.KeywordSpotter([f"word_{n}" for n in range(12)]).eval()
    for module in spotter.network.modules():
        if isinstance(module, nn.BatchNorm1d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ):
                nn.init.uniform_(values, low, high)
    return spotter


def run_recipe(folder: Path, *arguments: str) -> str:
    command = [sys.executable, str(RECIPE), *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_network_has_at_most_75_thousand_parameters(spotter: Any) -> None:
    count = sum(parameter.numel() for parameter in spotter.network.parameters())
    assert count <= 75_000
    assert count == sum(parameter.numel() for parameter in spotter.parameters())


def test_an_output_frame_depends_on_no_later_input_frame(spotter: Any) -> None:
    features = torch.randn(1, 32, 40, requires_grad=True)
    spotter.network(features)[0, :, 20].square().sum().backward()
    assert features.grad is not None
    assert features.grad[0, :, 21:].abs().max() == 0
    assert features.grad[0, :, 20].abs().max() > 0
    assert features.grad[0, :, 0].abs().max() > 0


def test_the_network_is_plain_offline_code(spotter: Any) -> None:
    assert not any(hasattr(module, "streaming_forward") for module in spotter.network.modules())


@pytest.mark.parametrize("window", [1, 2, 3, 8])
def test_streaming_equals_offline(spotter: Any, window: int) -> None:
    network = spotter.network.double()
    features = torch.randn(2, 32, 50, dtype=torch.float64)
    model = convert(network, features[:1], Streaming(window=window))
    assert model.receptive_field == 63
    bands = [(1, 34, 2), (16, 18, 2), (24, 10, 2)]
    assert [cache.shape[1:] for cache in model.spec.caches] == [*bands, *[(84, 4 * d) for d in 2 * (1, 2, 4)]]
    with torch.no_grad():
        offline, streamed = network(features), model.run(features)
    assert isinstance(streamed, torch.Tensor)
    assert offline.std() > 0.1
    assert (streamed - offline).abs().max() <= 1e-10


def test_features_are_normalised_on_the_training_clips(recipes: ModuleType) -> None:
    import speech_data

    data = speech_data.SpeechData()
    waveforms = data.sample_waveforms(50)
    spotter = recipes.KeywordSpotter(data.labels)
    spotter.frontend.measure(waveforms)
    features = spotter.frontend(waveforms)
    assert features.shape == (len(waveforms), 32, 49)
    assert features.mean((0, 2)).abs().max() < 1e-3
    assert (features.std((0, 2)) - 1).abs().max() < 1e-3


def test_noise_is_added_in_training_only(recipes: ModuleType) -> None:
    import tcn

    noise, x = tcn.RoundingNoise(share=0.1), torch.linspace(-1, 2, 2000).reshape(2, 1000)
    assert torch.equal(noise.eval()(x), x)
    added = noise.train()(x) - x
    assert 0.09 < added.abs().max() <= 0.1001
    assert added.mean().abs() < 0.01


def write_clip(path: Path, seconds: float, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(str(path))).normal(0, 0.1, int(seconds * rate))
    soundfile.write(path, samples, rate, subtype="PCM_16")


def test_any_folder_with_an_index_and_noise_beside_it_loads(recipes: ModuleType, tmp_path: Path) -> None:
    import speech_data

    root = tmp_path / "words"
    rows = ["path,label,speaker,split,duration_s"]
    for speaker in range(12):
        write_clip(root / f"{speaker}.wav", 0.4 + 0.1 * speaker, rate=8_000)
        rows.append(f"{speaker}.wav,{'ab'[speaker % 2]},s{speaker:02},{'test' if speaker > 10 else 'train'},1")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    write_clip(tmp_path / "noise" / "rain.wav", 0.3)
    (tmp_path / "noise" / "index.csv").write_text("path,label,speaker,split,duration_s\nrain.wav,rain,,train,0.3\n")
    data = speech_data.SpeechData(root, batch_size=4)
    assert data.labels == ["_silence_", "a", "b"]
    # Every tenth of the eleven training speakers is held out for validation.
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [9 + 3, 2, 1]
    assert data.sample_waveforms(100).shape == (9, 16_000)
    waveforms, labels, start, end = next(iter(data.train_dataloader()))
    assert waveforms.shape == (4, 16_000)
    assert waveforms.dtype == torch.float32
    assert labels.shape == (4,)
    silent = labels == data.labels.index("_silence_")
    assert torch.equal(start[silent], torch.full_like(start[silent], -1))
    assert ((start >= 0) & (start < end) & (end <= 16_000))[~silent].all()
    # The detector averages behind a word, so clips to be decided go on as long.
    assert next(iter(data.val_dataloader()))[0].shape == (2, 20_800)
    assert len(data.noise) > 16_000


def test_noise_files_are_those_of_the_training_split(recipes: ModuleType, tmp_path: Path) -> None:
    import speech_data

    index = "path,label,speaker,split,duration_s\nrain.wav,rain,,train,0.3\nwind.wav,wind,,test,0.3\n"
    (tmp_path / "index.csv").write_text(index)
    for name, seconds in (("rain", 0.3), ("wind", 0.5)):
        write_clip(tmp_path / f"{name}.wav", seconds)
    data = speech_data.SpeechData(noise_root=tmp_path)
    assert len(data.noise) % round(0.3 * 16_000) == 0


def test_speech_commands_loads_from_its_own_folders(recipes: ModuleType, tmp_path: Path) -> None:
    import speech_data

    folder = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    for word in ("yes", "no", "cat", "dog", "bird", "tree"):
        for speaker in ("a1", "b2", "c3"):
            write_clip(folder / word / f"{speaker}_nohash_0.wav", 0.9)
    (folder / "validation_list.txt").write_text("yes/b2_nohash_0.wav\nno/b2_nohash_0.wav\ndog/b2_nohash_0.wav\n")
    (folder / "testing_list.txt").write_text("".join(f"{word}/c3_nohash_0.wav\n" for word in ("yes", "no", "cat")))
    write_clip(folder / "_background_noise_" / "tap.wav", 2.0)
    data = speech_data.SpeechData(tmp_path, keywords=["yes", "no"])
    assert data.labels == ["_silence_", "_unknown_", "no", "yes"]
    kept = [clip for clip in data.clips if clip.split == "train" and clip.label == "_unknown_"]
    # Two clips of two keywords are left for training, and ten of other words: one is kept, as of a keyword on average.
    assert len(kept) == 1
    assert [len(data.dataset(split)) for split in ("val", "test")] == [3, 3]
    assert [clip.path for clip in data.noise_clips] == [folder / "_background_noise_" / "tap.wav"]


def test_noise_is_mixed_at_the_wanted_ratio(recipes: ModuleType) -> None:
    from augmentation import mix_noise

    torch.manual_seed(2)
    waveforms = torch.cat([torch.randn(64, 16_000) * 0.1, torch.zeros(8, 16_000)])
    noise = (torch.randn(40_000) * 1000).short()
    mixed = mix_noise(waveforms, noise, (5.0, 15.0), share=0.5)
    added = (mixed - waveforms).square().mean(1)
    ratio = 10 * torch.log10(waveforms[:64].square().mean(1) / added[:64])
    noisy = added[:64] > 0
    assert 16 < noisy.sum() < 48
    assert ratio[noisy].min() > 4.9
    assert ratio[noisy].max() < 15.1
    assert added[64:].min() > 0


def test_training_batches_hold_speech_without_keywords(recipes: ModuleType, tmp_path: Path) -> None:
    import speech_data

    write_clip(tmp_path / "order.wav", 3.0)
    (tmp_path / "index.csv").write_text("path,label,speaker,split,duration_s\norder.wav,_speech_,,train,3.0\n")
    data = speech_data.SpeechData(speech_root=tmp_path, speech_share=0.25, noise_share=0, batch_size=16)
    data.trainer = SimpleNamespace(training=True)
    batch = next(iter(data.train_dataloader()))
    scenes = data.on_after_batch_transfer(batch, 0)
    assert scenes.waveforms.shape == (20, 32_000)
    assert torch.equal(scenes.labels[:16], batch[1])
    assert scenes.labels[16:].tolist() == scenes.end[16:].tolist() == [-1] * 4
    speech = data.speech.float() / 2**15
    assert any(torch.equal(scenes.waveforms[16], piece) for piece in speech.unfold(0, 32_000, 1))


def test_speech_that_sounds_as_a_keyword_is_drawn_more_often(recipes: ModuleType, tmp_path: Path) -> None:
    import speech_data

    write_clip(tmp_path / "order.wav", 20.0)
    (tmp_path / "index.csv").write_text("path,label,speaker,split,duration_s\norder.wav,_speech_,,train,20\n")
    data = speech_data.SpeechData(speech_root=tmp_path, speech_share=20.0, noise_share=0, batch_size=16)
    data.trainer = SimpleNamespace(training=True)
    piece = data.speech[5 * 32_000 : 6 * 32_000].float() / 2**15
    first, *_ = data.mine(lambda waveforms: (waveforms == piece).all(1).float())
    assert first == (1.0, tmp_path / "order.wav", 10.0)
    drawn = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0).waveforms[16:]
    # Those begin at most half a scene before or behind it.
    near = {tuple(x.tolist()) for x in data.speech[4 * 32_000 : 7 * 32_000].float().div(2**15).unfold(0, 8, 1)}
    share = sum(tuple(x[16_000:16_008].tolist()) in near for x in drawn) / len(drawn)
    assert share > 0.8


def test_what_sounds_as_a_keyword_among_the_rest_is_named(
    recipes: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spotter = recipes.KeywordSpotter(["_other_", "yes"])
    spotter.hardest = [(0.97, tmp_path / "talk.wav", 12.0), (0.3, tmp_path / "order.wav", 2.0)]
    with caplog.at_level("INFO"):
        spotter.on_train_end()
    assert f"with their scores: {tmp_path / 'talk.wav'} at 12.0 s (0.97). Where a keyword is said there" in caplog.text
    assert "order.wav" not in caplog.text


def test_a_row_knows_its_recordings(recipes: ModuleType, tmp_path: Path) -> None:
    from listings import Clip
    from rows import read_row

    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for path, seconds in zip(paths, (0.5, 0.25), strict=True):
        write_clip(path, seconds)
    row = read_row([Clip(path, "_speech_", "", "train") for path in paths], 32_000)
    assert len(row.samples) > 32_000
    assert [row.find(sample) for sample in (7_999, 8_000, 12_000, 21_600)] == [
        (paths[0], 7_999 / 16_000),
        (paths[1], 0.0),
        (paths[0], 0.0),
        (paths[1], 0.1),
    ]


def test_validation_streams_hold_every_keyword_clip_of_the_split_once(recipes: ModuleType) -> None:
    import speech_data

    data = speech_data.SpeechData()
    (waveform, keywords), *silent = data.validation_streams()
    said = Counter(keyword.label for keyword in keywords)
    assert set(said) == {"go", "no", "stop", "yes"}
    assert all(10 <= count <= 12 for count in said.values())
    assert keywords[-1].end < len(waveform) / 16_000
    assert all(said == () for _, said in silent)
    # More than an hour, since one false accept an hour is what the detector may make.
    assert sum(len(waveform) for waveform, _ in silent) > 3600 * 16_000


def test_the_command_line_prints_its_defaults(tmp_path: Path) -> None:
    printed = run_recipe(tmp_path, "fit", "--export.streaming.window", "3", "--print_config")
    assert "monitor: val_loss" in printed
    assert "default_root_dir: runs" in printed
    assert "    window: 3" in printed


def test_two_steps_of_fit_export_a_bundle_and_leave_a_checkpoint_to_test(tmp_path: Path) -> None:
    quiet = ["--trainer.enable_progress_bar", "false"]
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--export.dry_run", "false"]
    # Decisions after two steps are close to guesses, in integers still more so.
    export = [
        "--export.output_dir",
        "bundle",
        "--export.streaming.window",
        "3",
        "--export.quantization.tolerance",
        "0.3",
    ]
    run_recipe(tmp_path, "fit", *short, *export, *quiet)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["streaming"]["window"] == 3
    assert manifest["streaming"]["frame_period"] == 0.02
    assert set(manifest["metrics"]["float"]) == {"val_acc", "val_loss", "test_acc"}
    assert all(proof["passed"] for proof in manifest["proofs"])
    (checkpoint,) = tmp_path.glob("runs/kws_tcn/version_0/checkpoints/*.ckpt")
    assert "test_acc" in run_recipe(tmp_path, "test", "--ckpt_path", str(checkpoint), *quiet)
