// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Memory and tables of the fixed-point front end, made once.
#include <algorithm>
#include <bit>
#include <cmath>

#include "audio/fixed_point_features.hpp"
#include "esp_log.h"
#include "fixed_point_tables.hpp"
#include "fixed_point_words.hpp"

namespace lesp::audio {

using streaming::FrontEndConfig;
using streaming::FrontEndKind;

static const char *const TAG = "audio";

static constexpr int kPoint = 16; // bits of a feature behind the point
static constexpr double kNaturalToBinary = 0.6931471805599453;
static constexpr int kMostPoints = 8192;

static int count_bands(const FrontEndConfig &config, std::size_t pairs)
{
    const int energy = has_energy(config) ? 1 : 0;
    if (config.kind == FrontEndKind::kSpectrogram) {
        return static_cast<int>(pairs) + energy;
    }
    return energy + (config.kind == FrontEndKind::kMfcc ? config.num_ceps : config.num_mel_bins);
}

esp_err_t FixedPointFeatures::init(const FrontEndConfig &config)
{
    config_ = config;
    const int length = config.frame_samples;
    const auto points = length > 0 && length <= kMostPoints ? std::bit_ceil(static_cast<unsigned>(length)) : 0u;
    pairs_ = points / 2;
    point_bits_ = static_cast<int>(std::bit_width(points)) - 1;
    const bool fits = points >= 8 && config.use_log_fbank > 0 && config.num_mel_bins > 0 && config.num_ceps > 0 &&
                      (config.kind != FrontEndKind::kMfcc || config.num_ceps <= config.num_mel_bins) &&
                      config.bands == count_bands(config, pairs_) && streaming::is_computable(config) &&
                      config.mean.size() == static_cast<std::size_t>(config.bands) &&
                      config.scale.size() == config.mean.size();
    if (!fits) {
        ESP_LOGE(TAG,
                 "this front end cannot be computed in fixed point; export it again, or with arithmetic=\"float\"");
        return ESP_ERR_INVALID_ARG;
    }
    if (!allocate()) {
        ESP_LOGE(TAG, "no memory for the front end");
        return ESP_ERR_NO_MEM;
    }
    make_tables();
    if (!make_normalization()) {
        ESP_LOGE(TAG, "mean or scale of the front end are out of range; export it with arithmetic=\"float\"");
        return ESP_ERR_INVALID_ARG;
    }
    config_.mean = {};
    config_.scale = {};
    return ESP_OK;
}

bool FixedPointFeatures::allocate()
{
    const auto bands = static_cast<std::size_t>(config_.num_mel_bins);
    const auto orders = static_cast<std::size_t>(config_.num_ceps);
    const bool has_bands = config_.kind != FrontEndKind::kSpectrogram;
    const bool has_cepstrum = config_.kind == FrontEndKind::kMfcc;
    return window_.allocate(static_cast<std::size_t>(config_.frame_samples)) && sines_.allocate(pairs_ * 3 / 2) &&
           rising_.allocate(has_bands ? pairs_ + 1 : 0) && starts_.allocate(has_bands ? bands + 2 : 0) &&
           cepstral_weights_.allocate(has_cepstrum ? bands * orders : 0) &&
           cepstrum_.allocate(has_cepstrum ? orders : 0) && logs_.allocate((1u << kLogBits) + 1) &&
           normalization_.allocate(static_cast<std::size_t>(config_.bands)) && words_.allocate(2 * pairs_ + 2) &&
           values_.allocate(1 + (has_bands ? bands : pairs_));
}

void FixedPointFeatures::make_tables()
{
    preemphasis_ = static_cast<std::int32_t>(to_saturated(static_cast<double>(config_.preemphasis), 31));
    reciprocal_ = static_cast<std::uint32_t>((std::uint64_t{1} << 32) / static_cast<unsigned>(config_.frame_samples));
    const auto epsilon = static_cast<double>(config_.log_epsilon);
    floor_ = static_cast<std::int32_t>(to_fixed(natural_logarithm(epsilon), kPoint));
    epsilon_mantissa_ = static_cast<int>(std::frexp(epsilon, &epsilon_exponent_) * (1 << 24));
    for (std::size_t i = 0; i < window_.size(); ++i) {
        window_[i] = static_cast<std::int32_t>(to_saturated(window_at(config_, static_cast<int>(i)), 31));
    }
    const auto points = static_cast<double>(2 * pairs_);
    for (std::size_t k = 0; k < sines_.size(); ++k) {
        sines_[k] = static_cast<std::int32_t>(to_saturated(sine_of_turns(static_cast<double>(k) / points), 31));
    }
    for (std::size_t i = 0; i < logs_.size(); ++i) {
        const double place = 1.0 + static_cast<double>(i) / (1 << kLogBits);
        logs_[i] = static_cast<std::int32_t>(to_fixed(natural_logarithm(place) / kNaturalToBinary, 24));
    }
    if (starts_.size() > 0) {
        place_bins();
    }
    for (std::size_t i = 0; i < cepstral_weights_.size(); ++i) {
        const auto band = static_cast<int>(i) / config_.num_ceps;
        const auto order = static_cast<int>(i) % config_.num_ceps;
        cepstral_weights_[i] = static_cast<std::int32_t>(to_fixed(cepstral_weight(config_, band, order), 24));
    }
}

void FixedPointFeatures::place_bins()
{
    const MelScale scale(config_);
    std::size_t bin = 1; // ESP-DL leaves bin 0 out
    for (std::size_t edge = 0; edge < starts_.size(); ++edge) {
        for (; bin <= pairs_; ++bin) {
            const double hertz = static_cast<double>(bin) * config_.sample_rate / static_cast<double>(2 * pairs_);
            const double place = scale.place(hertz);
            if (!(place < static_cast<double>(edge))) {
                break;
            }
            const double share = std::max(place - (static_cast<double>(edge) - 1.0), 0.0);
            rising_[bin] = static_cast<std::uint32_t>(to_saturated(share, 32));
        }
        starts_[edge] = static_cast<std::uint16_t>(bin);
    }
}

bool FixedPointFeatures::make_normalization()
{
    for (std::size_t band = 0; band < normalization_.size(); ++band) {
        const auto mean = static_cast<double>(config_.mean[band]);
        const auto scale = static_cast<double>(config_.scale[band]);
        const double size = std::fabs(scale);
        if (!(std::fabs(mean) < 32768.0) || !(scale == 0 || (size >= 0x1p-30 && size < 0x1p20))) {
            return false;
        }
        int exponent = 0;
        const double mantissa = std::frexp(scale, &exponent);
        normalization_[band] = {.mean = static_cast<std::int32_t>(to_fixed(mean, kPoint)),
                                .factor = static_cast<std::int32_t>(mantissa * (1 << 24)),
                                .shift = 24 - exponent};
    }
    return true;
}

} // namespace lesp::audio
