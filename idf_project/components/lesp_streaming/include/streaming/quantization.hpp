// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "esp_err.h"
#include "streaming/config.hpp"

namespace lesp::streaming {

// Writes `values` as integers of `tensor`'s type and exponent: value * 2^-exponent, rounded as the chip does, clipped;
// NaN becomes 0. A float32 tensor takes them as they are. `out` has room for `values.size()` elements.
void quantize(std::span<const float> values, const TensorConfig &tensor, Rounding rounding, void *out);

// The reverse; `integers` holds `values.size()` elements.
void dequantize(const void *integers, const TensorConfig &tensor, std::span<float> values);

// Writes readings as what the model's first input takes, in the order of operations that the host has; `normalized` may
// be `readings` itself. Where `normalization` is empty they stay what they are. All have as many values.
void normalize(std::span<const float> readings, const Normalization &normalization, std::span<float> normalized);

} // namespace lesp::streaming
