// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "fixed_point_tables.hpp"

#include <algorithm>
#include <cmath>

namespace lesp::audio {

using streaming::FrontEndConfig;
using streaming::WindowFunction;

static constexpr double kTwoPi = 6.283185307179586;
static constexpr double kLn2 = 0.6931471805599453;
static constexpr double kSqrt2 = 1.4142135623730951;
static constexpr double kSqrtHalf = 0.7071067811865476;

double sine_of_turns(double turns)
{
    const double x = (turns - std::floor(turns + 0.5)) * kTwoPi;
    const double square = x * x;
    double term = x;
    double total = x;
    for (int n = 1; n < 15; ++n) {
        term = -term * square / ((2 * n) * (2 * n + 1));
        total += term;
    }
    return total;
}

double cosine_of_turns(double turns)
{
    return sine_of_turns(turns + 0.25);
}

double natural_logarithm(double x)
{
    int exponent = 0;
    for (; x > kSqrt2; ++exponent) {
        x *= 0.5;
    }
    for (; x < kSqrtHalf; --exponent) {
        x *= 2.0;
    }
    const double z = (x - 1.0) / (x + 1.0);
    const double square = z * z;
    double power = z;
    double total = z;
    for (int n = 1; n < 12; ++n) {
        power *= square;
        total += power / (2 * n + 1);
    }
    return 2.0 * total + exponent * kLn2;
}

// e^x of a number of at most 0.
static double exponential(double x)
{
    auto exponent = static_cast<int>(std::floor(x / kLn2 + 0.5));
    const double rest = x - exponent * kLn2;
    double term = 1.0;
    double total = 1.0;
    for (int n = 1; n < 15; ++n) {
        term = term * rest / n;
        total += term;
    }
    for (; exponent < 0; ++exponent) {
        total *= 0.5;
    }
    return total;
}

std::int64_t to_fixed(double x, int bits)
{
    return static_cast<std::int64_t>(std::floor(x * static_cast<double>(std::int64_t{1} << bits) + 0.5));
}

std::int64_t to_saturated(double x, int bits)
{
    return std::min(to_fixed(x, bits), (std::int64_t{1} << bits) - 1);
}

double window_at(const FrontEndConfig &config, int index)
{
    const double turn = static_cast<double>(index) / (config.frame_samples - 1);
    switch (config.window_type) {
    case WindowFunction::kHann:
        return 0.5 - 0.5 * cosine_of_turns(static_cast<double>(index) / config.frame_samples);
    case WindowFunction::kSine:
        return sine_of_turns(0.5 * turn);
    case WindowFunction::kHamming:
        return 0.54 - 0.46 * cosine_of_turns(turn);
    case WindowFunction::kBlackman:
        return 0.42 - 0.5 * cosine_of_turns(turn) + 0.08 * cosine_of_turns(2.0 * turn);
    case WindowFunction::kRectangular:
        return 1.0;
    default:
        break;
    }
    const double hanning = 0.5 - 0.5 * cosine_of_turns(turn);
    if (config.window_type == WindowFunction::kPovey) {
        return hanning > 1e-12 ? exponential(0.85 * natural_logarithm(hanning)) : 0.0;
    }
    return hanning;
}

static double to_mel(double hertz)
{
    return 1127.0 * natural_logarithm(1.0 + hertz / 700.0);
}

MelScale::MelScale(const FrontEndConfig &config) : low(to_mel(static_cast<double>(config.low_freq)))
{
    const int nyquist = config.sample_rate / 2; // in whole Hz, as ESP-DL has it
    const double high = to_mel(config.high_freq > 0 ? static_cast<double>(config.high_freq) : nyquist);
    step = (high - low) / (config.num_mel_bins + 1);
}

double MelScale::place(double hertz) const
{
    return (to_mel(hertz) - low) / step;
}

double cepstral_weight(const FrontEndConfig &config, int band, int order)
{
    const double scale = std::sqrt((order == 0 ? 1.0 : 2.0) / config.num_mel_bins);
    const double angle = cosine_of_turns((2 * band + 1) * order / (4.0 * config.num_mel_bins));
    const auto lift = static_cast<double>(config.cepstral_lifter);
    const double lifter = lift == 0 ? 1.0 : 1.0 + 0.5 * lift * sine_of_turns(0.5 * order / lift);
    return scale * angle * lifter;
}

} // namespace lesp::audio
