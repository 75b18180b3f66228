"""Front end of a network: recordings as features of each chip, and what is proved of them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from torch import Tensor, nn

from lightning_esp.chips import choose_arithmetic
from lightning_esp.config import Deployment
from lightning_esp.conversion import Recording, Recordings, StreamSpec, argument_names, call, check_takes_floats
from lightning_esp.cost import FrontEndLoad
from lightning_esp.errors import ConfigurationError, ConversionError, DataError
from lightning_esp.frontend import (
    DIFFERENCE_LIMITS,
    FrontEnd,
    FrontEndNetwork,
    Normalize,
    StreamFeatures,
    as_on_chip,
    compare_with_float,
    compute_stream_features,
    find_constants,
    find_inside,
    split_front_end,
)
from lightning_esp.quantization import QuantizedModel
from lightning_esp.verification import (
    MAX_RECORDINGS,
    Array,
    Golden,
    GoldenAudio,
    Proof,
    TaskResult,
    doubts,
    gives_integers,
    keeps_up,
    require,
    same_features,
    to_frames,
)

_log = logging.getLogger(__name__)

# What golden samples and features may take of the flash, and golden readings.
AUDIO_BYTES = 400_000

Evaluate = Callable[[nn.Module], TaskResult]
AnyFrontEnd = FrontEnd | Normalize


@dataclass(frozen=True)
class FrontEndProofs:
    """Proofs of a front end on one chip.

    Args:
        golden: golden windows, with the recordings as they are before the front end.
        proofs: each passed.
    """

    golden: Golden
    proofs: tuple[Proof, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Their doubts."""
        return doubts(self.proofs)


def take_front_end(module: nn.Module, recordings: Recordings) -> AnyFrontEnd | None:
    """Take the front end out of a module that starts with one; None where it does not.

    A `Normalize` that is not the first that readings meet stays where it is, and is computed in integers as the rest.
    """
    path = find_inside(module)
    if path is None:
        _suggest(module, recordings[0])
        return None
    try:
        return split_front_end(module, path, [_tensor_of(recording) for recording in recordings])
    except (ConversionError, DataError) as error:
        if not isinstance(module.get_submodule(path), Normalize):
            raise
        _log.warning(
            "lightning_esp: Normalize %r stays inside the network, where integers compute it, and the firmware takes what the "
            "network takes. %s",
            path,
            error,
        )
        return None


def _suggest(module: nn.Module, recording: Recording) -> None:
    """Log the `Normalize` that would take the place of plain arithmetic at the front of a network."""
    names = argument_names(module)
    if not isinstance(recording, Tensor) or not recording.is_floating_point() or not names:
        return
    found = find_constants(lambda batch: call(module, {names[0]: batch}), recording.detach().float().cpu())
    if found is not None:
        _log.warning(
            "lightning_esp: %s begins with (x - mean) / scale of %d channels, which integers compute with one exponent for all of "
            "them, and may fail to. In its place lightning_esp.frontend.%r lets the firmware take raw readings and normalise them in "
            "float32.",
            type(module).__name__,
            found.channels,
            found,
        )


def listen(
    front_end: AnyFrontEnd | None, recordings: Recordings, deployment: Deployment, targets: Sequence[str]
) -> tuple[dict[str, list[StreamFeatures]], Deployment]:
    """Compute the features of recordings as each of the chips does, and add the front end, if any, to the deployment."""
    if front_end is None:
        return {}, deployment
    front_end = copy.deepcopy(front_end).float().cpu()
    given = [_tensor_of(recording) for recording in recordings]
    front_ends = {chip: as_on_chip(front_end, chip) for chip in targets}
    found = {type(own): compute_stream_features(own, given) for own in front_ends.values()}
    stream_features = {chip: found[type(own)] for chip, own in front_ends.items()}
    return stream_features, replace(deployment, frontend=front_end.describe())


def recordings_by_chip(
    module: nn.Module,
    recordings: Recordings,
    stream_features: Mapping[str, Sequence[StreamFeatures]],
    targets: Sequence[str],
) -> dict[str, list[Recording]]:
    """Return what the network sees on each chip; chips that see the same share one list.

    Args:
        module: the network.
        recordings: what it sees where there is no front end.
        stream_features: recordings with their features, by chip; empty where there is none.
        targets: the chips.
    """
    if not stream_features:
        return dict.fromkeys(targets, as_plain(module, recordings))
    kinds = {id(each): each for each in stream_features.values()}
    features = {kind: as_plain(module, [one.features for one in each]) for kind, each in kinds.items()}
    return {chip: features[id(stream_features[chip])] for chip in targets}


def as_plain(module: nn.Module, recordings: Recordings) -> list[Recording]:
    """Return recordings in float32 on the CPU, whatever training computed them in.

    Raises:
        ConversionError: the module takes no such recordings.
    """
    check_takes_floats(module, recordings[0])
    return [_plain(recording) for recording in recordings]


def check_frames(front_end: AnyFrontEnd | None, spec: StreamSpec) -> None:
    """Check that a frame of the network is one reading of each channel.

    Raises:
        ConfigurationError: it holds more, or channels lie on the axis of time.
    """
    if not isinstance(front_end, Normalize):
        return
    port = spec.inputs[0]
    axis = front_end.channel_axis % len(port.shape)
    values = int(np.prod([size for place, size in enumerate(port.shape) if place != port.time_axis]))
    if axis == port.time_axis:
        raise ConfigurationError(
            f"Normalize(channel_axis={front_end.channel_axis}) is the axis of time of the network's input {port.name!r}; give the "
            "axis of its channels, or Streaming(time_axis=...)."
        )
    if values != front_end.channels:
        raise ConfigurationError(
            f"Normalize has {front_end.channels} channels, and a frame of the network's input {port.name!r} holds {values} values "
            f"(shape {list(port.shape)}, time on axis {port.time_axis}); give one mean and scale for each value of a frame."
        )


def behind(front_end: AnyFrontEnd, evaluate: Evaluate) -> Evaluate:
    """Let the user's metrics give samples to an integer stream, as to the network that held the front end."""

    def with_front_end(stream: nn.Module) -> TaskResult:
        quantized: QuantizedModel = stream.quantized  # type: ignore[assignment]
        return evaluate(FrontEndNetwork(as_on_chip(front_end, quantized.target), stream))

    return with_front_end


def prove_front_end(
    golden: Golden, quantized: QuantizedModel, stream_features: Sequence[StreamFeatures], front_end: AnyFrontEnd | None
) -> FrontEndProofs:
    """Prove what is told of a front end, and add the recordings before it to the golden windows; nothing without one.

    Raises:
        ProofError: raw readings do not give the network's integers.
    """
    if isinstance(front_end, Normalize):
        return _prove_readings(golden, quantized, stream_features, front_end)
    if front_end is None or quantized.estimate is None:
        return FrontEndProofs(golden)
    config, chip = front_end.config, quantized.target
    arithmetic = choose_arithmetic(asdict(config), chip)
    load = FrontEndLoad(config.fft_size, front_end.logarithms, arithmetic)
    proofs = [keeps_up(quantized.estimate, quantized.spec.window, config.frame_period * 1e6, load)]
    if arithmetic == "fixed_point":
        differences = compare_with_float(front_end, [each.samples for each in stream_features])
        proofs.append(same_features(differences, DIFFERENCE_LIMITS[front_end.kind]))
    return FrontEndProofs(replace(golden, audio=_golden_audio(golden, stream_features)), tuple(proofs))


def _golden_audio(golden: Golden, stream_features: Sequence[StreamFeatures]) -> tuple[GoldenAudio, ...]:
    """Samples and features of the first golden recordings, whole recordings up to `AUDIO_BYTES`."""
    audio: list[GoldenAudio] = []
    size = 0
    for each in stream_features[: len(golden.resets)]:
        size += each.samples.nbytes + each.features.nbytes
        if audio and size > AUDIO_BYTES:
            break
        audio.append(GoldenAudio(each.samples.numpy(), each.features.T.numpy()))
    return tuple(audio)


def _prove_readings(
    golden: Golden, quantized: QuantizedModel, stream_features: Sequence[StreamFeatures], front_end: Normalize
) -> FrontEndProofs:
    front_end = copy.deepcopy(front_end).float().cpu()
    name = quantized.spec.inputs[0].name
    readings = _golden_readings(quantized, golden, stream_features, front_end)
    tensor = quantized.inputs[name]
    moments = front_end.mean.tolist(), front_end.factor.tolist()
    proof = gives_integers(readings, moments, tensor, golden.inputs[name], quantized.target)
    return FrontEndProofs(replace(golden, readings=readings), tuple(require([proof])))


def _golden_readings(
    quantized: QuantizedModel, golden: Golden, stream_features: Sequence[StreamFeatures], front_end: Normalize
) -> Array:
    """Readings of the first golden windows, `[windows, frames, channels]`, as many as `AUDIO_BYTES` hold.

    Behind the end of a recording stand the means, of which zeros come, as the firmware writes them there.
    """
    port, window = quantized.spec.inputs[0], quantized.spec.window
    assert port.time_axis is not None
    mean = front_end.mean.numpy()
    most = max(1, AUDIO_BYTES // (window * mean.nbytes))
    found: list[Array] = []
    used = stream_features[:MAX_RECORDINGS]
    ends = (*golden.resets[1:], golden.windows)
    for index, (start, end) in enumerate(zip(golden.resets, ends, strict=True)):
        if start >= most:
            break
        frames = to_frames(used[index % len(used)].samples.numpy(), port.time_axis - 1)
        whole = np.tile(mean, ((end - start) * window, 1))
        whole[: len(frames)] = frames[: len(whole)]
        found.append(whole.reshape(end - start, window, -1))
    return np.concatenate(found)[:most]


def _tensor_of(recording: Recording) -> Tensor:
    if isinstance(recording, Tensor):
        return recording
    raise DataError("a front end takes recordings of samples or readings, one tensor each, not a mapping of inputs.")


def _plain(recording: Recording) -> Recording:
    # Training may run in half precision, in double, or on a GPU; the export is float32 on the CPU.
    if isinstance(recording, Tensor):
        return recording.detach().float().cpu()
    return {name: value.detach().float().cpu() for name, value in recording.items()}
