// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listener/track.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <tuple>

#include "esp_timer.h"

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

// Behind the closed gate: what lies too far back for the gate to ask for, however late that is.
void Track::discard()
{
    const std::size_t used = ring_.used(); // before it is asked what the gate has heard of this
    drop_until(gate_->next_score_us() - period_us_ - preroll_us_);
    if (gate_->is_due(false)) {
        return;
    }
    for (std::size_t left = std::min(ring_.used(), used); left > kept_; --left) {
        ring_.pop();
    }
}

void Track::drop_until(std::int64_t position_us)
{
    while (ring_.used() > 0 && period_us_ > 0 && ring_.stamp().position_us <= position_us) {
        ring_.pop();
    }
}

// No score is to come for a position before this one.
std::int64_t Track::next_score_us() const
{
    return starts_anew_ ? now_.position_us : position(scored_);
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

// Forgets what was heard. What is said of the loss counts for this model.
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

void Track::hear_gate(float score, std::int64_t position_us)
{
    if (score >= gate_threshold_) {
        closes_us_ = position_us + gate_hold_us_;
        is_closing_ = false;
        if (!is_open_) {
            open(position_us);
        }
    } else if (is_open_ && position_us > closes_us_) {
        is_closing_ = true;
        close_where_due();
    }
}

// The gate may be ahead: what came before it closed is heard first.
void Track::close_where_due()
{
    if (is_closing_ && (ring_.used() == 0 || ring_.stamp().position_us > closes_us_)) {
        is_open_ = false;
        is_closing_ = false;
        start_anew(0);
    }
}

// Somebody speaks in the frame that ends at `position_us`: what lies further back than the pre-roll goes.
void Track::open(std::int64_t position_us)
{
    is_open_ = true;
    opened_.fetch_add(1, std::memory_order_relaxed);
    drop_until(position_us - period_us_ - preroll_us_);
    start_anew(0);
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
        track->hear_gate(scores[track->gate_label_], position_us);
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
