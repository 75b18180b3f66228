// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/detector.hpp"

#include <algorithm>
#include <cmath>

namespace lesp::streaming {

void compute_scores(std::span<float> values, Activation activation)
{
    if (activation == Activation::kSigmoid) {
        for (float &value : values) {
            value = 1.0f / (1.0f + std::exp(-value));
        }
    }
    if (activation != Activation::kSoftmax || values.empty()) {
        return;
    }
    const float highest = *std::max_element(values.begin(), values.end());
    float sum = 0.0f;
    for (float &value : values) {
        value = std::exp(value - highest);
        sum += value;
    }
    for (float &value : values) {
        value /= sum;
    }
}

esp_err_t Detector::init(const DetectorConfig &config)
{
    config_ = {};
    if (config.thresholds.empty() || config.average < 1 || config.minimum < 1 || config.refractory < 0) {
        return ESP_ERR_INVALID_ARG;
    }
    const std::size_t classes = config.thresholds.size();
    if (!recent_.allocate(classes * static_cast<std::size_t>(config.average)) || !streaks_.allocate(classes) ||
        !spent_.allocate(classes)) {
        return ESP_ERR_NO_MEM;
    }
    config_ = config;
    reset();
    return ESP_OK;
}

bool Detector::step(std::span<const float> scores, Event *event)
{
    if (scores.size() != classes() || scores.empty()) {
        return false;
    }
    std::copy(scores.begin(), scores.end(), recent_.begin() + oldest_ * classes());
    oldest_ = (oldest_ + 1) % static_cast<std::size_t>(config_.average);
    const std::uint32_t frame = frame_++;
    const bool is_resting = resting_ > 0;
    resting_ -= is_resting ? 1 : 0;
    bool has_fired = false;
    for (std::size_t label = 0; label < classes(); ++label) {
        const float score = mean(label);
        const bool is_over = score >= config_.thresholds[label];
        spent_[label] = spent_[label] && is_over;
        streaks_[label] = is_over && !spent_[label] && !is_resting ? streaks_[label] + 1 : 0;
        if (streaks_[label] >= config_.minimum && (!has_fired || score > event->score)) {
            *event = {frame, label, score};
            has_fired = true;
        }
    }
    if (has_fired) {
        std::fill(streaks_.begin(), streaks_.end(), 0);
        spent_[event->label] = !config_.retrigger;
        resting_ = config_.refractory;
    }
    return has_fired;
}

void Detector::reset()
{
    std::fill(recent_.begin(), recent_.end(), 0.0f);
    std::fill(streaks_.begin(), streaks_.end(), 0);
    std::fill(spent_.begin(), spent_.end(), false);
    oldest_ = 0;
    resting_ = 0;
    frame_ = 0;
}

// Adds from the oldest frame to the newest, as the host does, so that both round alike.
float Detector::mean(std::size_t label) const
{
    const auto average = static_cast<std::size_t>(config_.average);
    float sum = 0.0f;
    for (std::size_t i = 0; i < average; ++i) {
        sum += recent_[(oldest_ + i) % average * classes() + label];
    }
    return sum / static_cast<float>(config_.average);
}

} // namespace lesp::streaming
