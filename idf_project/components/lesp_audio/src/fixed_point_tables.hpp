// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Constants of the fixed-point front end. The host makes the same ones, to the bit (fixed_point_tables.py of the
// exporter): double precision, and additions, products and quotients alone, in one order, which IEEE 754 rounds the
// same everywhere. Build with -ffp-contract=off.
#pragma once

#include <cstdint>

#include "streaming/front_end.hpp"

namespace lesp::audio {

// sin and cos of 2 pi `turns`.
double sine_of_turns(double turns);
double cosine_of_turns(double turns);

// ln(x), x > 0.
double natural_logarithm(double x);

// `x` in units of 2^-bits, rounded to the nearest; with `saturated` at most 1 - 2^-bits.
std::int64_t to_fixed(double x, int bits);
std::int64_t to_saturated(double x, int bits);

// The window function of a frame at one of its samples.
double window_at(const streaming::FrontEndConfig &config, int index);

// The edges of the mel bands, which lie `step` apart.
struct MelScale {
    double low;
    double step;

    explicit MelScale(const streaming::FrontEndConfig &config);

    // Where a frequency lies: 0 at the first edge, 1 at the second.
    double place(double hertz) const;
};

// Cosine transform and lifter: weight of a band in a cepstral coefficient.
double cepstral_weight(const streaming::FrontEndConfig &config, int band, int order);

} // namespace lesp::audio
