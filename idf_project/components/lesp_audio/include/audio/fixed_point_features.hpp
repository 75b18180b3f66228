// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"
#include "streaming/front_end.hpp"
#include "streaming/heap_array.hpp"

namespace lesp::audio {

// The features of `dl::audio` in integers, for chips that compute floats in software. They are the same on every chip
// and on the host, value for value.
//
// Words of 32 bits hold samples and spectrum, of 64 bits powers and bands; features have 16 bits behind the point.
// Nothing is allocated after init. The tables are computed there, in doubles: some 11 million instructions, or 22
// million for cepstral coefficients.
class FixedPointFeatures {
public:
    // On an error the log says more: ESP_ERR_INVALID_ARG: powers instead of logarithms (use_log_fbank = 0), a frame too
    // short or too long, bands that do not fit it, a mean or scale out of range. ESP_ERR_NO_MEM: no memory.
    // `config.mean` and `config.scale` may go afterwards.
    esp_err_t init(const streaming::FrontEndConfig &config);

    // Makes of `config.frame_samples` samples `config.bands` features, minus mean, times scale.
    void compute(std::span<const std::int16_t> samples, std::span<float> features);

private:
    // (feature - mean) * factor / 2^shift.
    struct Normalization {
        std::int32_t mean;
        std::int32_t factor;
        std::int32_t shift;
    };

    bool allocate();
    void make_tables();
    void place_bins();
    bool make_normalization();

    std::int32_t find_mean(std::span<const std::int16_t> samples) const;
    std::uint32_t window(std::span<const std::int16_t> samples, std::int32_t mean);
    std::uint64_t measure_energy(std::span<const std::int16_t> samples, std::int32_t mean) const;
    void transform_quarters(int shift);
    void transform_halves();
    void split_powers();
    // Here, since each step of a frame calls them for every bin.
    std::uint64_t power(std::size_t bin) const
    {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(words_[2 * bin + 1])) << 32 |
               static_cast<std::uint32_t>(words_[2 * bin]);
    }
    void set_power(std::size_t bin, std::uint64_t power)
    {
        words_[2 * bin] = static_cast<std::int32_t>(static_cast<std::uint32_t>(power));
        words_[2 * bin + 1] = static_cast<std::int32_t>(static_cast<std::uint32_t>(power >> 32));
    }
    std::size_t compress_bands(int exponent);
    void transform_cepstrum();
    std::int32_t compress(std::uint64_t power, int exponent, int use_log_fbank) const;

    streaming::FrontEndConfig config_;
    std::size_t pairs_ = 0; // half the points of the Fourier transform
    int point_bits_ = 0;    // binary logarithm of the points
    std::int32_t preemphasis_ = 0;
    std::uint32_t reciprocal_ = 0; // of the number of samples
    std::int32_t floor_ = 0;       // logarithm of log_epsilon
    int epsilon_mantissa_ = 0;
    int epsilon_exponent_ = 0;
    streaming::HeapArray<std::int32_t> window_;
    streaming::HeapArray<std::int32_t> sines_;
    streaming::HeapArray<std::uint32_t> rising_; // share of each bin that goes to the band above it
    streaming::HeapArray<std::uint16_t> starts_; // first bin at or above each edge of the bands
    streaming::HeapArray<std::int32_t> cepstral_weights_;
    streaming::HeapArray<std::int32_t> logs_;
    streaming::HeapArray<Normalization> normalization_;
    streaming::HeapArray<std::int32_t> words_;  // pairs of samples, the spectrum, then powers, low word first
    streaming::HeapArray<std::int32_t> values_; // logarithms of the energy, then of bands or bins
    streaming::HeapArray<std::int32_t> cepstrum_;
};

} // namespace lesp::audio
