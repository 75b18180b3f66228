// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "audio/feature_extractor.hpp"

#include <algorithm>
#include <cstring>

#include "dl_fbank.hpp"
#include "dl_mfcc.hpp"
#include "dl_spectrogram.hpp"
#include "esp_heap_caps.h"
#include "esp_log.h"

namespace audio {

using streaming::FrontEndConfig;
using streaming::FrontEndKind;
using streaming::WindowFunction;

static const char *const TAG = "audio";

static dl::audio::WinType to_dl(WindowFunction window)
{
    switch (window) {
    case WindowFunction::kHann:
        return dl::audio::WinType::HANN;
    case WindowFunction::kSine:
        return dl::audio::WinType::SINE;
    case WindowFunction::kHamming:
        return dl::audio::WinType::HAMMING;
    case WindowFunction::kPovey:
        return dl::audio::WinType::POVEY;
    case WindowFunction::kBlackman:
        return dl::audio::WinType::BLACKMAN;
    case WindowFunction::kRectangular:
        return dl::audio::WinType::RECTANGULAR;
    default:
        return dl::audio::WinType::HANNING;
    }
}

static dl::audio::SpeechFeatureConfig to_dl(const FrontEndConfig &config)
{
    dl::audio::SpeechFeatureConfig result;
    result.sample_rate = config.sample_rate;
    result.frame_length = config.frame_length;
    result.frame_shift = config.frame_shift;
    result.num_mel_bins = config.num_mel_bins;
    result.num_ceps = config.num_ceps;
    result.preemphasis = config.preemphasis;
    result.cepstral_lifter = config.cepstral_lifter;
    result.window_type = to_dl(config.window_type);
    result.low_freq = config.low_freq;
    result.high_freq = config.high_freq;
    result.log_epsilon = config.log_epsilon;
    result.use_log_fbank = config.use_log_fbank;
    result.raw_energy = config.raw_energy;
    result.use_power = config.use_power;
    result.use_energy = config.use_energy;
    result.remove_dc_offset = config.remove_dc_offset;
    return result;
}

static bool fits_together(const FrontEndConfig &config)
{
    const auto bands = static_cast<std::size_t>(config.bands);
    return config.kind != FrontEndKind::kNone && streaming::is_computable(config) && config.bands > 0 &&
           config.hop_samples > 0 && config.frame_samples == config.frame_length * config.sample_rate / 1000 &&
           config.hop_samples == config.frame_shift * config.sample_rate / 1000 && config.mean.size() == bands &&
           config.scale.size() == bands;
}

// ESP-DL checks none of its allocations, so there must be enough before it starts: its largest block is one transform
// in internal memory, and all tables together are about four of them and the cosine transform.
static bool has_memory(const FrontEndConfig &config)
{
    std::size_t transform = sizeof(float);
    while (transform < sizeof(float) * static_cast<std::size_t>(config.frame_samples)) {
        transform *= 2;
    }
    const std::size_t cosines =
        config.kind == FrontEndKind::kMfcc ? sizeof(float) * config.num_mel_bins * config.num_ceps : 0;
    const std::size_t needed = 6 * transform + cosines;
    const std::size_t block = heap_caps_get_largest_free_block(MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT);
    const std::size_t free = heap_caps_get_free_size(MALLOC_CAP_8BIT);
    if (block >= transform && free >= needed) {
        return true;
    }
    ESP_LOGE(TAG,
             "the front end takes %u bytes, %u of them in one block of internal memory; %u are free, %u in one block",
             static_cast<unsigned>(needed),
             static_cast<unsigned>(transform),
             static_cast<unsigned>(free),
             static_cast<unsigned>(block));
    return false;
}

FeatureExtractor::FeatureExtractor() = default;
FeatureExtractor::~FeatureExtractor() = default;

esp_err_t FeatureExtractor::init(const FrontEndConfig &config)
{
    features_of_frame_.reset();
    fixed_point_.reset();
    if (!fits_together(config)) {
        ESP_LOGE(TAG, "the model has no front end, or one whose sizes do not fit each other; export it again");
        return ESP_ERR_INVALID_ARG;
    }
    const bool is_float = config.arithmetic == streaming::Arithmetic::kFloat;
    if ((is_float && !has_memory(config)) || !frame_.allocate(static_cast<std::size_t>(config.frame_samples)) ||
        !features_.allocate(static_cast<std::size_t>(config.bands))) {
        return ESP_ERR_NO_MEM;
    }
    config_ = config;
    reset();
    if (is_float) {
        return make(config);
    }
    fixed_point_ = streaming::make_on_heap<FixedPointFeatures>();
    const esp_err_t error = fixed_point_ ? fixed_point_->init(config) : ESP_ERR_NO_MEM;
    if (error != ESP_OK) {
        fixed_point_.reset();
    }
    return error;
}

esp_err_t FeatureExtractor::make(const FrontEndConfig &config)
{
    const dl::audio::SpeechFeatureConfig options = to_dl(config);
    if (config.kind == FrontEndKind::kFbank) {
        features_of_frame_ = streaming::make_on_heap<dl::audio::Fbank>(options);
    } else if (config.kind == FrontEndKind::kMfcc) {
        features_of_frame_ = streaming::make_on_heap<dl::audio::MFCC>(options);
    } else {
        features_of_frame_ = streaming::make_on_heap<dl::audio::Spectrogram>(options);
    }
    if (!features_of_frame_) {
        return ESP_ERR_NO_MEM;
    }
    const std::vector<int> shape = features_of_frame_->get_output_shape(config.frame_samples);
    if (shape.size() != 2 || shape[0] != 1 || shape[1] != config.bands) {
        ESP_LOGE(TAG, "ESP-DL makes other frames of this config than the export says; is it the pinned version?");
        features_of_frame_.reset();
        return ESP_ERR_INVALID_VERSION;
    }
    return ESP_OK;
}

void FeatureExtractor::compute()
{
    if (fixed_point_) {
        fixed_point_->compute({frame_.data(), frame_.size()}, {features_.data(), features_.size()});
        return;
    }
    const auto length = static_cast<int>(frame_.size());
    if (features_of_frame_->process_frame(frame_.data(), length, features_.data(), frame_[0]) != ESP_OK) {
        std::fill(features_.begin(), features_.end(), 0.0f);
    }
    for (std::size_t band = 0; band < features_.size(); ++band) {
        features_[band] = (features_[band] - config_.mean[band]) * config_.scale[band];
    }
}

bool FeatureExtractor::take(std::span<const std::int16_t> *samples)
{
    if (!features_of_frame_ && !fixed_point_) {
        *samples = {};
        return false;
    }
    const std::size_t skipped = std::min(skip_, samples->size());
    skip_ -= skipped;
    *samples = samples->subspan(skipped);
    const std::size_t taken = std::min(samples->size(), frame_.size() - filled_);
    std::copy_n(samples->begin(), taken, frame_.begin() + filled_);
    *samples = samples->subspan(taken);
    filled_ += taken;
    if (filled_ < frame_.size()) {
        return false;
    }
    compute();
    const std::size_t hop = std::min(frame_.size(), static_cast<std::size_t>(config_.hop_samples));
    std::memmove(frame_.data(), frame_.data() + hop, (frame_.size() - hop) * sizeof(std::int16_t));
    filled_ = frame_.size() - hop;
    skip_ = static_cast<std::size_t>(config_.hop_samples) - hop;
    return true;
}

void FeatureExtractor::reset()
{
    filled_ = 0;
    skip_ = 0;
}

} // namespace audio
