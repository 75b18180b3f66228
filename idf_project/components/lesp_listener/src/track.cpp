// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listener/track.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "esp_timer.h"

namespace lesp::listening {

void Track::feed(std::span<const std::int16_t> samples, std::int64_t now_us)
{
    while (!shares_ && !samples.empty()) {
        if (!extractor_.take(&samples)) {
            continue;
        }
        for (Track *track = this; track != nullptr; track = track->next_sharing_) {
            track->push(extractor_.features(), now_us);
        }
    }
}

void Track::give(std::span<const float> values, std::int64_t now_us)
{
    push(values, now_us);
}

void Track::push(std::span<const float> values, std::int64_t now_us)
{
    next_stamp_.position_us = start_us_ + ++pushed_ * period_us_;
    next_stamp_.time_us = now_us;
    ring_.push(values, next_stamp_);
    next_stamp_ = {};
}

void Track::lose(std::uint32_t samples)
{
    const int rate = model_->front_end->sample_rate;
    const bool has_front_end = model_->front_end->kind != streaming::FrontEndKind::kNone;
    const std::int64_t lost_us =
        has_front_end && rate > 0 ? std::int64_t{samples} * 1000000 / rate : std::int64_t{samples} * period_us_;
    restart();
    start_us_ += lost_us;
    next_stamp_.lost += samples;
}

void Track::restart()
{
    start_us_ += pushed_ * period_us_;
    pushed_ = 0;
    next_stamp_.is_first = true;
    if (!shares_) {
        extractor_.reset();
    }
}

bool Track::is_due(bool is_over) const
{
    if (ring_.has_overrun()) {
        return true;
    }
    const std::size_t used = ring_.used();
    // What waits behind a closed gate at the end waits for what the gate says.
    return is_over ? is_open_ && used > 0 : used >= wanted_.load(std::memory_order_seq_cst);
}

esp_err_t Track::run(bool is_over)
{
    if (!is_due(is_over)) {
        return ESP_OK;
    }
    if (const std::uint32_t lost = ring_.take_overrun(); lost > 0) {
        start_anew(lost);
        return ESP_OK;
    }
    if (!is_open_) {
        discard();
        return ESP_OK;
    }
    apply_thresholds();
    esp_err_t error = ESP_OK;
    for (std::size_t left = std::min<std::size_t>(ring_.used(), wanted_); left > 0 && error == ESP_OK && is_open_;
         --left) {
        error = take_frame();
        close_where_due();
    }
    publish();
    return error;
}

esp_err_t Track::take_frame()
{
    const FrameStamp stamp = ring_.stamp();
    if (stamp.is_first) {
        start_anew(stamp.lost);
    }
    if (starts_anew_) {
        starts_anew_ = false;
        base_us_ = stamp.position_us - period_us_;
    }
    now_ = stamp;
    const esp_err_t error = listener_.take(ring_.values(), *this);
    ring_.pop();
    const auto window = static_cast<std::size_t>(model_->config->window);
    in_window_ = (in_window_ + 1) % window;
    wanted_ = static_cast<std::uint32_t>(is_spread_ ? 1 : window - in_window_);
    return error;
}

// Forgets the stream so far. What is said of the loss counts for this model.
void Track::start_anew(std::uint32_t lost)
{
    listener_.reset();
    in_window_ = 0;
    scored_ = 0;
    starts_anew_ = true;
    const std::size_t slack = (ring_.capacity() - std::min(ring_.capacity(), kept_)) / 2;
    const std::size_t window = is_spread_ ? 1 : static_cast<std::size_t>(model_->config->window);
    wanted_ = static_cast<std::uint32_t>(is_open_ ? window : kept_ + std::max<std::size_t>(slack, 1));
    if (lost == 0) {
        return;
    }
    dropped_.fetch_add(lost, std::memory_order_relaxed);
    lesp_event_t event = {};
    event.id = LESP_EVENT_OVERRUN;
    event.model = index_;
    event.time_us = esp_timer_get_time();
    event.position_us = now_.position_us;
    event.lost = lost;
    sink_->on_event(event);
}

esp_err_t Track::finish()
{
    // The gate may have opened only by what its own last frames made.
    esp_err_t error = ESP_OK;
    while (error == ESP_OK && is_due(true)) {
        error = run(true);
    }
    return error == ESP_OK && is_open_ ? listener_.finish(*this) : error;
}

// Of the end of an output frame.
std::int64_t Track::position(std::uint32_t output_frame) const
{
    const streaming::ModelConfig &config = *model_->config;
    const std::int64_t frames = config.window / std::max(config.outputs[0].frames(), 1);
    return base_us_ + (output_frame + std::int64_t{1}) * frames * period_us_;
}

void Track::on_event(const streaming::Event &event)
{
    lesp_event_t told = {};
    told.id = LESP_EVENT_DETECTED;
    told.model = index_;
    told.label = static_cast<std::uint32_t>(event.label);
    if (event.label < model_->config->labels.size()) {
        const std::string_view name = model_->config->labels[event.label];
        std::memcpy(told.name, name.data(), std::min(name.size(), sizeof(told.name) - 1));
    }
    told.score = event.score;
    told.position_us = position(event.frame);
    told.time_us = now_.time_us - (now_.position_us - told.position_us);
    sink_->on_event(told);
}

void Track::on_scores(std::span<const float> scores)
{
    sink_->on_scores(index_, scores);
    const std::int64_t position_us = position(scored_++);
    for (Track *track = opens_first_; track != nullptr; track = track->opens_next_) {
        track->follow_gate(scores[track->gate_label_], position_us);
    }
}

esp_err_t Track::set_threshold(std::uint32_t label, float value)
{
    if (chosen_.size() == 0) {
        return ESP_ERR_NOT_SUPPORTED;
    }
    if (label >= chosen_.size() || std::isnan(value)) {
        return ESP_ERR_INVALID_ARG;
    }
    chosen_[label].store(value, std::memory_order_relaxed);
    has_chosen_.store(true, std::memory_order_release);
    return ESP_OK;
}

void Track::apply_thresholds()
{
    if (!has_chosen_.exchange(false, std::memory_order_acquire)) {
        return;
    }
    for (std::size_t i = 0; i < thresholds_.size(); ++i) {
        thresholds_[i] = chosen_[i].load(std::memory_order_relaxed);
    }
}

void Track::publish()
{
    const streaming::StepTimes &times = listener_.times();
    const std::int64_t steps = std::max<std::int64_t>(times.steps, 1);
    steps_.store(times.steps, std::memory_order_relaxed);
    late_.store(times.late, std::memory_order_relaxed);
    average_us_.store(static_cast<std::uint32_t>(times.total_us / steps), std::memory_order_relaxed);
    longest_us_.store(static_cast<std::uint32_t>(times.longest_us), std::memory_order_relaxed);
}

void Track::get_stats(lesp_listener_stats_t *stats) const
{
    stats->steps = steps_.load(std::memory_order_relaxed);
    stats->late = late_.load(std::memory_order_relaxed);
    stats->average_us = average_us_.load(std::memory_order_relaxed);
    stats->longest_us = longest_us_.load(std::memory_order_relaxed);
    stats->opened = opened_.load(std::memory_order_relaxed);
    stats->dropped = dropped_.load(std::memory_order_relaxed);
}

} // namespace lesp::listening
