// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "audio/feature_extractor.hpp"

#include <algorithm>
#include <cstring>

#include "dl_speech_features.hpp"
#include "esp_log.h"
#include "float_front_end.hpp"

namespace lesp::audio {

using streaming::FrontEndConfig;
using streaming::FrontEndKind;

static const char *const TAG = "audio";

static bool fits_together(const FrontEndConfig &config)
{
    const auto bands = static_cast<std::size_t>(config.bands);
    return config.kind != FrontEndKind::kNone && streaming::is_computable(config) && config.bands > 0 &&
           config.hop_samples > 0 && config.frame_samples == config.frame_length * config.sample_rate / 1000 &&
           config.hop_samples == config.frame_shift * config.sample_rate / 1000 && config.mean.size() == bands &&
           config.scale.size() == bands;
}

// Where no model needs it, the linker finds this one, and leaves out float_front_end.cpp with all of `dl::audio`.
__attribute__((weak)) esp_err_t make_float_front_end(const FrontEndConfig &,
                                                     streaming::HeapPointer<dl::audio::SpeechFeatureBase> *)
{
    ESP_LOGE(TAG,
             "the front end in float was not linked: build the model by components/lesp_model, or link with "
             "-u audio_float_front_end");
    return ESP_ERR_NOT_SUPPORTED;
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
    if (!frame_.allocate(static_cast<std::size_t>(config.frame_samples)) ||
        !features_.allocate(static_cast<std::size_t>(config.bands))) {
        return ESP_ERR_NO_MEM;
    }
    config_ = config;
    reset();
    if (config.arithmetic == streaming::Arithmetic::kFloat) {
        return make_float_front_end(config, &features_of_frame_);
    }
    fixed_point_ = streaming::make_on_heap<FixedPointFeatures>();
    const esp_err_t error = fixed_point_ ? fixed_point_->init(config) : ESP_ERR_NO_MEM;
    if (error != ESP_OK) {
        fixed_point_.reset();
    }
    return error;
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

} // namespace lesp::audio
