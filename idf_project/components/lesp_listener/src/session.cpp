// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listener/session.hpp"

#include <algorithm>
#include <cstdio>

#include "esp_event.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "listener/rest.hpp"
#include "sdkconfig.h"
#if CONFIG_LISTENER_MICROPHONE
#include "audio/microphone.hpp"
#endif

namespace lesp::listening {

esp_err_t Session::start(const lesp_listener_config_t &config, lesp_event_callback_t on_event, void *ctx)
{
    if (on_event == nullptr && !config.post_events) {
        return ESP_ERR_INVALID_ARG;
    }
    config_ = config;
    callback_ = on_event;
    ctx_ = ctx;
    esp_err_t error = init_tracks();
    if (error == ESP_OK) {
        error = front_end_work_.init("lesp_front_end");
    }
    if (error == ESP_OK) {
        error = models_work_.init("lesp_models");
    }
    if (error == ESP_OK) {
        error = open_source();
    }
    config_.models = nullptr; // they need not outlive this call
    return error == ESP_OK ? start_tasks() : error;
}

esp_err_t Session::init_tracks()
{
    const lesp_listener_model_t bundled = LESP_LISTENER_MODEL_DEFAULT();
    const bool has_models = config_.models != nullptr && config_.model_count > 0;
    const std::span<const lesp_listener_model_t> models =
        has_models ? std::span(config_.models, config_.model_count) : std::span(&bundled, 1);
    const bool needs_front_end = config_.read_frame == nullptr;
    if (!tracks_.allocate(models.size())) {
        return ESP_ERR_NO_MEM;
    }
    for (std::size_t i = 0; i < models.size(); ++i) {
        lesp_listener_model_t options = models[i];
        options.model = options.model != nullptr ? options.model : lesp_bundled_model();
        const esp_err_t error = tracks_[i].init(static_cast<std::uint32_t>(i),
                                                options,
                                                config_.buffer_ms,
                                                needs_front_end,
                                                std::span(tracks_.data(), i),
                                                *this);
        if (error != ESP_OK) {
            return error;
        }
    }
    return ESP_OK;
}

esp_err_t Session::open_source()
{
    if (config_.read_frame != nullptr) {
        const std::size_t size = tracks_[0].frame_size();
        const bool agree =
            std::all_of(tracks_.begin(), tracks_.end(), [size](const Track &t) { return t.frame_size() == size; });
        if (!agree) {
            std::printf("The models take frames of different sizes; one source of frames cannot feed them all.\n");
            return ESP_ERR_NOT_SUPPORTED;
        }
        return frame_.allocate(size) ? ESP_OK : ESP_ERR_NO_MEM;
    }
    const int rate = tracks_[0].front_end().sample_rate;
    piece_ = static_cast<std::size_t>(tracks_[0].front_end().hop_samples);
    for (const Track &track : tracks_) {
        piece_ = std::min(piece_, static_cast<std::size_t>(track.front_end().hop_samples));
        if (track.front_end().sample_rate != rate) {
            std::printf("One model takes %d samples a second, another %d; one microphone cannot feed both.\n",
                        rate,
                        track.front_end().sample_rate);
            return ESP_ERR_NOT_SUPPORTED;
        }
    }
    if (config_.read_samples != nullptr) {
        samples_.init(config_.read_samples, config_.source, rate);
        source_ = &samples_;
        return ESP_OK;
    }
    config_.is_live = true;
#if CONFIG_LISTENER_MICROPHONE
    return audio::open_microphone(rate, &source_);
#else
    std::printf("This firmware was built without a microphone: idf.py menuconfig, Component config -> Listener.\n");
    return ESP_ERR_NOT_SUPPORTED;
#endif
}

esp_err_t Session::start_tasks()
{
    heard_us_ = esp_timer_get_time();
    esp_err_t error = models_task_.start(
        "lesp_models",
        config_.model_task,
        config_.stack_in_psram,
        [](void *self) { static_cast<Session *>(self)->run_models(); },
        this);
    if (error == ESP_OK) {
        error = capture_task_.start(
            "lesp_capture",
            config_.capture_task,
            config_.stack_in_psram,
            [](void *self) { static_cast<Session *>(self)->capture(); },
            this);
    }
    if (error != ESP_OK) {
        callback_ = nullptr; // nothing has come yet, and nothing shall
        config_.post_events = false;
        stop();
        if (source_ != nullptr) {
            source_->close();
        }
    }
    return error;
}

void Session::stop()
{
    is_stopping_ = true;
    capture_task_.wake();
    capture_task_.wait(portMAX_DELAY);
    models_task_.wake();
    models_task_.wait(portMAX_DELAY);
    // Each may have woken the other until now.
    capture_task_.join();
    models_task_.join();
}

void Session::pause()
{
    is_paused_ = true;
}

void Session::resume()
{
    is_paused_ = false;
    capture_task_.wake();
}

bool Session::wait(std::uint32_t milliseconds, esp_err_t *error)
{
    if (!models_task_.wait(pdMS_TO_TICKS(milliseconds))) {
        return false;
    }
    if (error != nullptr) {
        *error = error_;
    }
    return true;
}

int Session::find_label(std::uint32_t model, std::string_view name) const
{
    if (model >= tracks_.size()) {
        return -1;
    }
    const auto labels = tracks_[model].config().labels;
    const auto found = std::find(labels.begin(), labels.end(), name);
    return found == labels.end() ? -1 : static_cast<int>(found - labels.begin());
}

esp_err_t Session::set_threshold(std::uint32_t model, std::uint32_t label, float value)
{
    return model < tracks_.size() ? tracks_[model].set_threshold(label, value) : ESP_ERR_INVALID_ARG;
}

esp_err_t Session::get_stats(std::uint32_t model, lesp_listener_stats_t *stats) const
{
    if (model >= tracks_.size() || stats == nullptr) {
        return ESP_ERR_INVALID_ARG;
    }
    *stats = {};
    tracks_[model].get_stats(stats);
    stats->missed_events = missed_events_;
    stats->front_end_permille = front_end_work_.permille();
    stats->models_permille = models_work_.permille();
    stats->awake_permille = std::min<std::uint32_t>(stats->front_end_permille + stats->models_permille, 1000);
    return ESP_OK;
}

void Session::on_event(const lesp_event_t &event)
{
    if (callback_ != nullptr) {
        callback_(&event, ctx_);
    }
    if (!config_.post_events) {
        return;
    }
    const esp_err_t error = esp_event_post(LESP_EVENT, event.id, &event, sizeof(event), 0);
    // Without a default event loop nobody waits for events.
    if (error != ESP_OK && error != ESP_ERR_INVALID_STATE) {
        missed_events_.fetch_add(1, std::memory_order_relaxed);
    }
}

void Session::on_scores(std::uint32_t model, std::span<const float> scores)
{
    if (config_.on_scores != nullptr) {
        config_.on_scores(model, scores.data(), scores.size(), ctx_);
    }
}

bool Session::is_due(bool is_over) const
{
    return std::any_of(tracks_.begin(), tracks_.end(), [is_over](const Track &track) { return track.is_due(is_over); });
}

void Session::run_models()
{
    Rest rest(esp_timer_get_time());
    esp_err_t error = ESP_OK;
    bool has_run = false;
    while (error == ESP_OK && !is_stopping_) {
        const bool is_over = is_over_; // before the frames are looked at, which come before it
        if (is_due(is_over)) {
            error = run_tracks(is_over);
            if (!has_run) {
                log_models_stack();
            }
            has_run = true;
        } else if (is_over) {
            break;
        } else {
            Task::sleep(portMAX_DELAY);
        }
        if (rest.is_due(esp_timer_get_time())) {
            vTaskDelay(1); // where steps are too long, frames are always there and nothing else waits
        }
    }
    if (error == ESP_OK) {
        error = is_stopping_ ? ESP_OK : source_error_.load();
    }
    if (error == ESP_OK && !is_stopping_) {
        error = finish();
    }
    error_ = error;
    log_models_stack(); // callbacks of all events so far included
    const bool was_stopped = is_stopping_.exchange(true);
    if (!was_stopped) {
        lesp_event_t event = {};
        event.id = LESP_EVENT_ENDED;
        event.error = error;
        event.time_us = esp_timer_get_time();
        on_event(event);
    }
}

void Session::log_models_stack() const
{
    Task::log_stack("models'", config_.model_task, "LISTENER_MODEL_STACK");
}

esp_err_t Session::run_tracks(bool is_over)
{
    const Working working(models_work_);
    for (Track &track : tracks_) {
        if (const esp_err_t error = track.run(is_over); error != ESP_OK) {
            return error;
        }
    }
    capture_task_.wake(); // it may wait for room
    return ESP_OK;
}

esp_err_t Session::finish()
{
    const Working working(models_work_);
    for (Track &track : tracks_) {
        if (const esp_err_t error = track.finish(); error != ESP_OK) {
            return error;
        }
    }
    return ESP_OK;
}

} // namespace lesp::listening
