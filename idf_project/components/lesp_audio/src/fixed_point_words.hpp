// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// What the steps of the fixed-point front end share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "streaming/front_end.hpp"

namespace lesp::audio {

inline constexpr int kLogBits = 7;

// The upper word of a product: one instruction, on chips without a floating-point unit too.
inline std::int32_t high(std::int32_t a, std::int32_t b)
{
    return static_cast<std::int32_t>((std::int64_t{a} * b) >> 32);
}

inline std::uint64_t square(std::int32_t value)
{
    return static_cast<std::uint64_t>(std::int64_t{value} * value);
}

inline std::int32_t clip(std::int64_t value)
{
    return static_cast<std::int32_t>(std::clamp<std::int64_t>(
        value, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()));
}

inline bool has_energy(const streaming::FrontEndConfig &config)
{
    return config.use_energy || config.kind == streaming::FrontEndKind::kSpectrogram;
}

} // namespace lesp::audio
