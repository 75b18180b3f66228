// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The same as lightning_esp/frontend/fixed_point.py of the exporter, step by step and to the bit.
#include "audio/fixed_point_features.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "fixed_point_words.hpp"

namespace lesp::audio {

using streaming::FrontEndConfig;
using streaming::FrontEndKind;

static constexpr int kSampleBits = 13; // of a sample behind the point
static constexpr int kEnergyBits = 6;  // of a sample behind the point where its square is summed
static constexpr int kFullScaleBits = 30;
static constexpr int kMaxShift = 12;
static constexpr std::int32_t kLeastPreemphasis = 214; // 1e-7, as ESP-DL has it
static constexpr std::int64_t kLn2 = 2977044472;       // 2^32 ln 2

// The largest whole number whose square is at most `value`.
static std::uint32_t root(std::uint64_t value)
{
    std::uint64_t result = 0;
    std::uint64_t bit = std::uint64_t{1} << 62;
    while (bit > value) {
        bit >>= 2;
    }
    for (; bit != 0; bit >>= 2) {
        if (value >= result + bit) {
            value -= result + bit;
            result = (result >> 1) + bit;
        } else {
            result >>= 1;
        }
    }
    return static_cast<std::uint32_t>(result);
}

void FixedPointFeatures::compute(std::span<const std::int16_t> samples, std::span<float> features)
{
    const std::int32_t mean = find_mean(samples);
    const std::uint32_t largest = window(samples, mean);
    std::size_t count = 0;
    if (has_energy(config_)) {
        values_[count++] = compress(measure_energy(samples, mean), 2 * kEnergyBits + kFullScaleBits, 1);
    }
    // No sum of the transform reaches 2^30 then, whatever the samples are.
    const int shift = std::min(30 - point_bits_ - static_cast<int>(std::bit_width(largest)), kMaxShift);
    transform_quarters(shift);
    transform_halves();
    split_powers();
    const int exponent = 2 * (kSampleBits + shift) + kFullScaleBits;
    const std::size_t energies = count;
    if (config_.use_power) {
        count += compress_bands(exponent);
    } else {
        for (std::size_t bin = 0; bin <= pairs_; ++bin) {
            set_power(bin, std::uint64_t{root(power(bin))} << 16);
        }
        count += compress_bands(exponent / 2 + 16);
    }
    if (cepstrum_.size() > 0) {
        transform_cepstrum();
        count = energies + cepstrum_.size();
    }
    for (std::size_t band = 0; band < count; ++band) {
        const Normalization &way = normalization_[band];
        const std::int64_t product = (std::int64_t{values_[band]} - way.mean) * way.factor;
        const std::int32_t scaled = clip((product + (std::int64_t{1} << (way.shift - 1))) >> way.shift);
        features[band] = static_cast<float>(scaled) * 0x1p-16f;
    }
}

std::int32_t FixedPointFeatures::find_mean(std::span<const std::int16_t> samples) const
{
    if (!config_.remove_dc_offset) {
        return 0;
    }
    std::int32_t sum = 0;
    for (const std::int16_t sample : samples) {
        sum += sample;
    }
    return static_cast<std::int32_t>((std::int64_t{sum} * reciprocal_) >> (32 - kSampleBits));
}

// Writes windowed samples, in pairs, to where the transform wants them, and returns a word whose width is that of the
// largest.
std::uint32_t FixedPointFeatures::window(std::span<const std::int16_t> samples, std::int32_t mean)
{
    const std::int32_t weight = preemphasis_ > kLeastPreemphasis ? preemphasis_ : 0;
    std::int32_t before = samples[0] * (1 << kSampleBits) - mean;
    std::uint32_t largest = 0;
    std::size_t place = 0; // of the pair: its number with the bits in reverse
    const auto take = [&](std::size_t index) {
        if (index >= samples.size()) {
            return std::int32_t{0};
        }
        const std::int32_t sample = samples[index] * (1 << kSampleBits) - mean;
        const std::int32_t emphasized = sample - high(2 * before, weight);
        before = sample;
        const std::int32_t value = high(2 * emphasized, window_[index]);
        largest |= static_cast<std::uint32_t>(value ^ (value >> 31));
        return value;
    };
    for (std::size_t pair = 0; pair < pairs_; ++pair) {
        words_[2 * place] = take(2 * pair);
        words_[2 * place + 1] = take(2 * pair + 1);
        std::size_t bit = pairs_ / 2;
        for (; (place & bit) != 0; bit >>= 1) {
            place ^= bit;
        }
        place |= bit;
    }
    return largest;
}

std::uint64_t FixedPointFeatures::measure_energy(std::span<const std::int16_t> samples, std::int32_t mean) const
{
    std::uint64_t energy = 0;
    if (config_.raw_energy) {
        for (const std::int16_t sample : samples) {
            energy += square((sample * (1 << kSampleBits) - mean) >> (kSampleBits - kEnergyBits));
        }
        return energy;
    }
    for (std::size_t i = 0; i < 2 * pairs_; ++i) {
        energy += square(words_[i] >> (kSampleBits - kEnergyBits));
    }
    return energy;
}

// Writes the logarithms of bands, or of all bins but the first, behind the energy; returns how many.
std::size_t FixedPointFeatures::compress_bands(int exponent)
{
    std::int32_t *out = values_.data() + (has_energy(config_) ? 1 : 0);
    if (starts_.size() == 0) {
        for (std::size_t bin = 1; bin <= pairs_; ++bin) {
            *out++ = compress(power(bin), exponent, config_.use_log_fbank);
        }
        return pairs_;
    }
    std::uint64_t risen = 0; // of the band below the edge at hand
    for (std::size_t edge = 0; edge + 1 < starts_.size(); ++edge) {
        std::uint64_t above = 0;
        std::uint64_t below = 0;
        for (std::size_t bin = starts_[edge]; bin < starts_[edge + 1]; ++bin) {
            const auto low = static_cast<std::uint32_t>(words_[2 * bin]);
            const auto upper = static_cast<std::uint32_t>(words_[2 * bin + 1]);
            const std::uint64_t share =
                std::uint64_t{upper} * rising_[bin] + ((std::uint64_t{low} * rising_[bin]) >> 32);
            above += share;
            below += power(bin) - share;
        }
        if (edge > 0) {
            *out++ = compress(risen + below, exponent, config_.use_log_fbank);
        }
        risen = above;
    }
    return starts_.size() - 2;
}

void FixedPointFeatures::transform_cepstrum()
{
    std::int32_t *const logs = values_.data() + (has_energy(config_) ? 1 : 0);
    for (std::size_t order = 0; order < cepstrum_.size(); ++order) {
        std::int64_t sum = 1 << 23;
        for (std::size_t band = 0; band < static_cast<std::size_t>(config_.num_mel_bins); ++band) {
            sum += std::int64_t{logs[band]} * cepstral_weights_[band * cepstrum_.size() + order];
        }
        cepstrum_[order] = clip(sum >> 24);
    }
    std::copy(cepstrum_.begin(), cepstrum_.end(), logs);
}

// ln(power / 2^exponent) with its floor.
std::int32_t FixedPointFeatures::compress(std::uint64_t power, int exponent, int use_log_fbank) const
{
    if (use_log_fbank == 2) {
        const int shift = exponent + epsilon_exponent_ - 24; // epsilon = mantissa * 2^shift in units of the power
        const int drop = std::max(shift - 38, 0);
        const auto mantissa = static_cast<std::uint64_t>(epsilon_mantissa_);
        const std::uint64_t epsilon = shift >= 0 ? mantissa << (shift - drop) : mantissa >> std::min(-shift, 63);
        power = (drop > 63 ? 0 : power >> drop) + epsilon;
        exponent -= drop;
    }
    if (power == 0) {
        return floor_;
    }
    const int top = static_cast<int>(std::bit_width(power)) - 1;
    const std::uint64_t normal = power << (63 - top);
    const auto upper = static_cast<std::uint32_t>(normal >> 32);
    const std::uint32_t index = (upper >> (31 - kLogBits)) & ((1u << kLogBits) - 1);
    const auto fraction = static_cast<std::int32_t>((upper >> (15 - kLogBits)) & 0xFFFF);
    const std::int32_t here = logs_[index];
    const std::int32_t between =
        here + static_cast<std::int32_t>((std::int64_t{logs_[index + 1] - here} * fraction) >> 16);
    const std::int64_t binary = std::int64_t{top - exponent} * (1 << 24) + between;
    return std::max(static_cast<std::int32_t>((binary * kLn2 + (std::int64_t{1} << 39)) >> 40), floor_);
}

} // namespace lesp::audio
