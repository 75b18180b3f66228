// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The task of a session that takes samples or frames from the source, and what it does where the source breaks.
#include <algorithm>
#include <cstdio>

#include "esp_log.h"
#include "esp_timer.h"
#include "listener/rest.hpp"
#include "listener/session.hpp"
#include "sdkconfig.h"

namespace lesp::listening {

static const char *const TAG = "listener";

void Session::capture()
{
    Rest rest(esp_timer_get_time());
    esp_err_t error = ESP_OK;
    bool has_run = false;
    while (error == ESP_OK && !is_stopping_) {
        if (is_paused_) {
            error = sit_out();
        } else {
            error = source_ != nullptr ? capture_samples() : capture_frame();
            if (!has_run) {
                Task::log_stack("capture", config_.capture_task, "LISTENER_CAPTURE_STACK");
            }
            has_run = true;
        }
        if (rest.is_due(esp_timer_get_time())) {
            vTaskDelay(1); // a source that never waits leaves no time to others
        }
    }
    if (source_ != nullptr) {
        source_->close();
    }
    source_error_ = error == ESP_ERR_NOT_FINISHED ? ESP_OK : error;
    is_over_ = true;
    models_task_.wake();
}

esp_err_t Session::capture_samples()
{
    std::size_t count = 0;
    const esp_err_t error = source_->read(chunk_, &count);
    if (error != ESP_OK) {
        return error == ESP_ERR_NOT_FINISHED ? error : reopen(error);
    }
    std::span<const std::int16_t> left(chunk_.data(), std::min(count, chunk_.size()));
    heard_us_ = esp_timer_get_time();
    while (!left.empty() && !is_stopping_) {
        wait_for_room();
        const Working working(front_end_work_);
        const std::size_t size = std::min(left.size(), piece_);
        for (Track &track : tracks_) {
            track.feed(left.first(size), heard_us_);
        }
        left = left.subspan(size);
    }
    wake_models();
    return ESP_OK;
}

esp_err_t Session::capture_frame()
{
    const esp_err_t error = config_.read_frame(config_.source, frame_.data(), frame_.size());
    if (error != ESP_OK) {
        return error == ESP_ERR_TIMEOUT ? ESP_OK : error;
    }
    wait_for_room();
    const Working working(front_end_work_);
    for (Track &track : tracks_) {
        track.give({frame_.data(), frame_.size()}, esp_timer_get_time());
    }
    wake_models();
    return ESP_OK;
}

// A source that can wait does, until every model has room for a frame.
void Session::wait_for_room()
{
    const bool can_wait = source_ == nullptr || !config_.is_live;
    while (can_wait && !is_stopping_ &&
           std::any_of(tracks_.begin(), tracks_.end(), [](const Track &track) { return track.is_full(); })) {
        wake_models();
        Task::sleep(pdMS_TO_TICKS(100));
    }
}

void Session::wake_models()
{
    if (is_due(false)) {
        models_task_.wake();
    }
}

// The source is closed meanwhile, so that the chip may sleep.
esp_err_t Session::sit_out()
{
    if (source_ != nullptr) {
        source_->close();
    }
    while (is_paused_ && !is_stopping_) {
        Task::sleep(portMAX_DELAY);
    }
    for (Track &track : tracks_) {
        track.restart();
    }
    if (is_stopping_ || source_ == nullptr) {
        return ESP_OK;
    }
    heard_us_ = esp_timer_get_time();
    const esp_err_t error = source_->restart();
    return error == ESP_ERR_NOT_SUPPORTED ? ESP_OK : error;
}

// A source that breaks is opened again, as often as it can be; the time without it counts as lost.
esp_err_t Session::reopen(esp_err_t error)
{
    vTaskDelay(pdMS_TO_TICKS(100)); // a driver that fails at once would leave no time to others
    if (source_->restart() != ESP_OK) {
        return error;
    }
    ESP_LOGW(TAG, "the source gave no samples (%s) and was opened again", esp_err_to_name(error));
    const std::int64_t now_us = esp_timer_get_time();
    const std::int64_t lost = (now_us - heard_us_) * source_->sample_rate() / 1000000;
    heard_us_ = now_us;
    for (Track &track : tracks_) {
        track.lose(static_cast<std::uint32_t>(std::max<std::int64_t>(lost, 1)));
    }
    return ESP_OK;
}

} // namespace lesp::listening
