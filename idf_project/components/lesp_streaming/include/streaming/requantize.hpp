// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace lesp::streaming {

// Writes integers with another exponent, `shift` more than theirs: value x 2^-shift, rounded half up, saturated. To the
// bit what TensorBase::assign of ESP-DL 3.3.9 makes of int8 and int16 through floats on chips that round half up:
// floats hold all that is on the way. `from` and `to` may be the same memory where both types have one size.
template <typename To, typename From>
void requantize(const From *from, To *to, std::size_t count, int shift)
{
    static_assert(std::is_signed_v<From> && std::is_signed_v<To> && sizeof(From) <= 2 && sizeof(To) <= 2);
    constexpr std::int32_t kLow = std::numeric_limits<To>::min();
    constexpr std::int32_t kHigh = std::numeric_limits<To>::max();
    if (shift > 0) {
        // From 17 on everything is 0.
        const int right = std::min(shift, 30);
        const std::int32_t half = 1 << (right - 1);
        for (std::size_t i = 0; i < count; ++i) {
            const std::int32_t value = (from[i] + half) >> right;
            to[i] = static_cast<To>(sizeof(To) >= sizeof(From) ? value : std::clamp(value, kLow, kHigh));
        }
        return;
    }
    // From 15 on everything but 0 saturates.
    const std::int32_t factor = 1 << std::min(-shift, 15);
    for (std::size_t i = 0; i < count; ++i) {
        to[i] = static_cast<To>(std::clamp(from[i] * factor, kLow, kHigh));
    }
}

// Lets models that are loaded from here on change exponents with integers: takes the place of ESP-DL's RequantizeLinear
// in its table of operators, which `dl::Model::minimize` clears.
void use_integer_requantize();

} // namespace lesp::streaming
