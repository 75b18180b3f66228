// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// A track as it starts: its model, the gate in front of it, its detector and its buffer.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <tuple>

#include "esp_timer.h"
#include "listener/track.hpp"

namespace lesp::listening {

using streaming::FrontEndConfig;

// All fields, so that one that is added later does not compile until it is compared.
static auto fields(const FrontEndConfig &config)
{
    const auto &[kind,
                 rate,
                 length,
                 shift,
                 bands,
                 ceps,
                 emphasis,
                 lifter,
                 window,
                 low,
                 high,
                 epsilon,
                 log,
                 raw,
                 power,
                 energy,
                 offset,
                 arithmetic,
                 features,
                 frame,
                 hop,
                 mean,
                 scale] = config;
    return std::tuple(kind,
                      rate,
                      length,
                      shift,
                      bands,
                      ceps,
                      emphasis,
                      lifter,
                      window,
                      low,
                      high,
                      epsilon,
                      log,
                      raw,
                      power,
                      energy,
                      offset,
                      arithmetic,
                      features,
                      frame,
                      hop);
}

static bool is_same(const FrontEndConfig &a, const FrontEndConfig &b)
{
    return fields(a) == fields(b) && std::equal(a.mean.begin(), a.mean.end(), b.mean.begin(), b.mean.end()) &&
           std::equal(a.scale.begin(), a.scale.end(), b.scale.begin(), b.scale.end());
}

esp_err_t Track::init(std::uint32_t index,
                      const lesp_listener_model_t &options,
                      std::uint32_t buffer_ms,
                      bool needs_front_end,
                      std::span<Track> earlier,
                      TrackSink &sink)
{
    index_ = index;
    model_ = options.model;
    sink_ = &sink;
    period_us_ = model_->config->frame_period_us;
    is_spread_ = model_->config->stages.size() > 1;
    esp_err_t error = check(needs_front_end);
    if (error == ESP_OK) {
        error = init_gate(options, earlier);
    }
    if (error == ESP_OK) {
        error = load(*model_, pipeline_);
    }
    if (error == ESP_OK) {
        error = init_detector();
    }
    if (error == ESP_OK) {
        error = init_ring(buffer_ms);
    }
    if (error != ESP_OK || !needs_front_end) {
        return error;
    }
    for (Track &other : earlier) {
        if (!other.shares_ && is_same(*other.model_->front_end, *model_->front_end)) {
            next_sharing_ = other.next_sharing_;
            other.next_sharing_ = this;
            shares_ = true;
            return ESP_OK;
        }
    }
    return extractor_.init(*model_->front_end);
}

esp_err_t Track::check(bool needs_front_end) const
{
    const streaming::ModelConfig &config = *model_->config;
    if (needs_front_end && model_->front_end->kind == streaming::FrontEndKind::kNone) {
        std::printf("This model has no front end, so it cannot listen; choose the source \"Frames of your own\".\n");
        return ESP_ERR_NOT_SUPPORTED;
    }
    if (config.inputs.size() != 1) {
        std::printf("The model has %u inputs, and this firmware feeds the first. Write the others to the pipeline "
                    "yourself, as \"In your own firmware\" in README.md shows.\n",
                    static_cast<unsigned>(config.inputs.size()));
        return ESP_ERR_NOT_SUPPORTED;
    }
    return ESP_OK;
}

static std::size_t to_frames(std::uint32_t milliseconds, std::int64_t period_us)
{
    constexpr std::int64_t kUnknownUs = 10000; // as the features of most front ends
    const std::int64_t period = period_us > 0 ? period_us : kUnknownUs;
    return static_cast<std::size_t>((std::int64_t{milliseconds} * 1000 + period - 1) / period);
}

esp_err_t Track::init_gate(const lesp_listener_model_t &options, std::span<Track> earlier)
{
    if (options.gate == LESP_NO_GATE) {
        return ESP_OK;
    }
    if (options.gate < 0 || static_cast<std::size_t>(options.gate) >= earlier.size() ||
        std::isnan(options.gate_threshold)) {
        std::printf("The gate of model %u is model %d; it must be an earlier one, with a threshold that is a number.\n",
                    static_cast<unsigned>(index_),
                    options.gate);
        return ESP_ERR_INVALID_ARG;
    }
    Track &gate = earlier[static_cast<std::size_t>(options.gate)];
    const std::size_t classes = gate.listener_.classes();
    if (options.gate_label >= classes) {
        std::printf("The gate of model %u opens by class %u of model %d, which has %u.\n",
                    static_cast<unsigned>(index_),
                    static_cast<unsigned>(options.gate_label),
                    options.gate,
                    static_cast<unsigned>(classes));
        return ESP_ERR_INVALID_ARG;
    }
    gate_ = &gate;
    is_open_ = false;
    gate_label_ = options.gate_label;
    gate_threshold_ = options.gate_threshold;
    gate_hold_us_ = std::int64_t{options.gate_hold_ms} * 1000;
    preroll_us_ = std::int64_t{options.preroll_ms} * 1000;
    // The gate says only at the end of its window, or a window later where its stages run one after another, that
    // somebody had begun to speak.
    const std::int64_t gate_us = std::int64_t{2} * gate.model_->config->window * gate.period_us_;
    kept_ = to_frames(options.preroll_ms + static_cast<std::uint32_t>(gate_us / 1000) + 1, period_us_);
    opens_next_ = gate.opens_first_;
    gate.opens_first_ = this;
    return ESP_OK;
}

// The detector reads thresholds of its own, which set_threshold may change.
esp_err_t Track::init_detector()
{
    detector_ = *model_->detector;
    const std::size_t classes = detector_.thresholds.size();
    if (!thresholds_.allocate(classes) || !chosen_.allocate(classes)) {
        return ESP_ERR_NO_MEM;
    }
    for (std::size_t i = 0; i < classes; ++i) {
        thresholds_[i] = detector_.thresholds[i];
        chosen_[i] = detector_.thresholds[i];
    }
    detector_.thresholds = {thresholds_.data(), classes};
    return listener_.init(pipeline_, detector_, esp_timer_get_time);
}

// Besides the buffer there is room for the window that is waited for, and for what waits behind a closed gate.
esp_err_t Track::init_ring(std::uint32_t buffer_ms)
{
    const auto window = static_cast<std::size_t>(model_->config->window);
    const std::size_t capacity = std::max(to_frames(buffer_ms, period_us_), 2 * window) + kept_;
    const int hop = model_->front_end->hop_samples;
    const esp_err_t error = ring_.init(listener_.frame_size(), capacity, hop > 0 ? static_cast<std::uint32_t>(hop) : 1);
    start_anew(0);
    return error;
}

} // namespace lesp::listening
