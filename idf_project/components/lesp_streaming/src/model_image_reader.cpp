// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The configuration in a container: tensors, front end and detector, each field within bounds.
#include "model_image_reader.hpp"

#include <algorithm>

namespace lesp::streaming {

// More than any model has, so that sums and products of such numbers overflow nothing.
static constexpr int kMostBytes = 1 << 24; // of all tensors together
static constexpr int kMostBands = 1 << 12;
static constexpr int kMostRate = 192000; // samples a second
static constexpr int kMostMilliseconds = 1000;

static std::size_t element_bytes(DataType type)
{
    constexpr std::size_t kBytes[] = {1, 2, 4};
    return kBytes[static_cast<int>(type)];
}

TensorConfig ModelImage::Reader::tensor()
{
    TensorConfig tensor;
    tensor.name = text();
    tensor.type = choice(DataType::kFloat32);
    tensor.exponent = number(-128, 127);
    tensor.rank = number(1, kMaxRank);
    std::int64_t bytes = static_cast<std::int64_t>(element_bytes(tensor.type));
    for (int axis = 0; axis < tensor.rank; ++axis) {
        tensor.shape[axis] = number(1, axis == 0 ? 1 : kMostBytes);
        bytes *= tensor.shape[axis];
        require(bytes <= kMostBytes);
        bytes = has_failed_ ? 0 : bytes;
    }
    unsigned axes = 0;
    for (int axis = 0; axis < tensor.rank; ++axis) {
        tensor.layout[axis] = number(0, tensor.rank - 1);
        axes |= 1U << tensor.layout[axis];
    }
    require(axes + 1 == 1U << tensor.rank);
    tensor.time_axis = number(-1, tensor.rank - 1);
    tensor.bytes = word();
    tensor_bytes_ += bytes;
    require(tensor.bytes == static_cast<std::size_t>(bytes) && tensor_bytes_ <= kMostBytes && !tensor.name.empty());
    return tensor;
}

static bool are_finite(std::span<const float> values)
{
    return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

FrontEndConfig ModelImage::Reader::front_end(Normalization *normalization)
{
    constexpr int kNormalize = static_cast<int>(FrontEndKind::kSpectrogram) + 1;
    FrontEndConfig found;
    const int kind = number(0, kNormalize);
    if (kind == kNormalize) {
        normalization->mean = reals();
        normalization->factor = reals();
        require(!normalization->is_empty() && normalization->mean.size() == normalization->factor.size() &&
                are_finite(normalization->mean) && are_finite(normalization->factor));
        return found;
    }
    found.kind = static_cast<FrontEndKind>(kind);
    if (found.kind == FrontEndKind::kNone) {
        return found;
    }
    found.sample_rate = number(1, kMostRate);
    found.frame_length = number(1, kMostMilliseconds);
    found.frame_shift = number(1, kMostMilliseconds);
    found.num_mel_bins = number(1, kMostBands);
    found.num_ceps = number(0, kMostBands);
    found.preemphasis = real();
    found.cepstral_lifter = real();
    found.window_type = choice(WindowFunction::kRectangular);
    found.low_freq = real();
    found.high_freq = real();
    found.log_epsilon = real();
    found.use_log_fbank = number(0, 2);
    found.raw_energy = flag();
    found.use_power = flag();
    found.use_energy = flag();
    found.remove_dc_offset = flag();
    found.arithmetic = choice(Arithmetic::kFixedPoint);
    found.bands = number(1, kMostBands);
    found.frame_samples = number(1, kMostRate);
    found.hop_samples = number(1, kMostRate);
    found.mean = reals();
    found.scale = reals();
    const auto bands = static_cast<std::size_t>(found.bands);
    require(are_finite(found.mean) && are_finite(found.scale));
    require(found.mean.size() == bands && found.scale.size() == bands && is_computable(found));
    return found;
}

DetectorConfig ModelImage::Reader::detector()
{
    DetectorConfig found;
    found.thresholds = reals();
    require(
        std::none_of(found.thresholds.begin(), found.thresholds.end(), [](float value) { return std::isnan(value); }));
    found.average = number(1, kMostFrames);
    found.minimum = number(1, kMostFrames);
    found.refractory = number(0, kMostFrames);
    found.activation = choice(Activation::kNone);
    found.retrigger = flag();
    require(found.thresholds.size() <= static_cast<std::size_t>(kMostFrames / found.average));
    return found;
}

} // namespace lesp::streaming
