// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/quantization.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace lesp::streaming {

static float round(float value, Rounding rounding)
{
    return rounding == Rounding::kHalfToEven ? std::rint(value) : std::floor(value + 0.5f);
}

template <typename T>
static void quantize_as(std::span<const float> values, int exponent, Rounding rounding, void *out)
{
    constexpr float kLow = std::numeric_limits<T>::min();
    constexpr float kHigh = std::numeric_limits<T>::max();
    auto *to = static_cast<T *>(out);
    for (const float value : values) {
        const float rounded = round(std::ldexp(value, -exponent), rounding);
        *to++ = std::isnan(rounded) ? T{0} : static_cast<T>(std::clamp(rounded, kLow, kHigh));
    }
}

template <typename T>
static void dequantize_as(const void *integers, int exponent, std::span<float> values)
{
    const auto *from = static_cast<const T *>(integers);
    for (float &value : values) {
        value = std::ldexp(static_cast<float>(*from++), exponent);
    }
}

void quantize(std::span<const float> values, const TensorConfig &tensor, Rounding rounding, void *out)
{
    if (tensor.type == DataType::kInt8) {
        quantize_as<std::int8_t>(values, tensor.exponent, rounding, out);
    } else if (tensor.type == DataType::kInt16) {
        quantize_as<std::int16_t>(values, tensor.exponent, rounding, out);
    } else {
        std::memcpy(out, values.data(), values.size_bytes());
    }
}

void dequantize(const void *integers, const TensorConfig &tensor, std::span<float> values)
{
    if (tensor.type == DataType::kInt8) {
        dequantize_as<std::int8_t>(integers, tensor.exponent, values);
    } else if (tensor.type == DataType::kInt16) {
        dequantize_as<std::int16_t>(integers, tensor.exponent, values);
    } else {
        std::memcpy(values.data(), integers, values.size_bytes());
    }
}

void normalize(std::span<const float> readings, const Normalization &normalization, std::span<float> normalized)
{
    for (std::size_t i = 0; i < normalized.size(); ++i) {
        normalized[i] =
            normalization.is_empty() ? readings[i] : (readings[i] - normalization.mean[i]) * normalization.factor[i];
    }
}

} // namespace lesp::streaming
