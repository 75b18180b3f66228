// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "audio/fixed_point_features.hpp"
#include "esp_err.h"
#include "streaming/front_end.hpp"
#include "streaming/heap_array.hpp"

namespace dl::audio {
class SpeechFeatureBase;
} // namespace dl::audio

namespace lesp::audio {

// Samples of 16 bits become frames of features by ESP-DL's `dl::audio`, or in integers where
// `config.arithmetic` says so, minus mean, times scale.
//
// Any number of samples at a time gives the same frames:
//
//     while (!samples.empty()) { if (extractor.take(&samples)) use(extractor.features()); }
//
// Nothing is allocated after init.
class FeatureExtractor {
public:
    FeatureExtractor();
    ~FeatureExtractor();
    FeatureExtractor(const FeatureExtractor &) = delete;
    FeatureExtractor &operator=(const FeatureExtractor &) = delete;

    // `config.mean` and `config.scale` must outlive the extractor. On an error the log says more:
    // ESP_ERR_INVALID_ARG: no front end, or its sizes do not fit each other, or fixed point cannot compute it.
    // ESP_ERR_NO_MEM: no memory; the log says how much there is and how much it takes.
    // ESP_ERR_NOT_SUPPORTED: a front end in float, which no model of components/lesp_model has, so it was not linked.
    esp_err_t init(const streaming::FrontEndConfig &config);

    // Takes samples from the front of `samples`, at most up to the end of the next frame. True: that frame is complete
    // and lies in features().
    bool take(std::span<const std::int16_t> *samples);

    // The last complete frame, one value per band.
    std::span<const float> features() const { return {features_.data(), features_.size()}; }

    // Starts a new recording.
    void reset();

    const streaming::FrontEndConfig &config() const { return config_; }

private:
    void compute();

    streaming::FrontEndConfig config_;
    streaming::HeapPointer<dl::audio::SpeechFeatureBase> features_of_frame_;
    streaming::HeapPointer<FixedPointFeatures> fixed_point_;
    streaming::HeapArray<std::int16_t> frame_;
    streaming::HeapArray<float> features_;
    std::size_t filled_ = 0; // samples in `frame_`
    std::size_t skip_ = 0;   // samples to pass over, where frames lie further apart than they are long
};

} // namespace lesp::audio
