// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "lesp_listener.h"

#include <atomic>
#include <cmath>

#include "esp_event.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "listener/session.hpp"
#include "streaming/heap_array.hpp"

ESP_EVENT_DEFINE_BASE(LESP_EVENT);

using lesp::listening::Session;

namespace {

std::atomic<Session *> the_session = nullptr;   // once it has started, until it is being stopped
std::atomic<Session *> inner_session = nullptr; // for calls from its own tasks: as long as these are there
std::atomic<bool> is_locked = false;
std::atomic<TaskHandle_t> calling_back = nullptr; // the models' task, while it is in a callback
std::atomic<TaskHandle_t> reading = nullptr;      // the capture task, while it is in a function of the source

lesp_event_callback_t user_event = nullptr;
lesp_scores_callback_t user_scores = nullptr;
lesp_read_samples_t user_read_samples = nullptr;
lesp_read_frame_t user_read_frame = nullptr;

// Says, as long as it lives, that this task is in a function of the user's.
class Inside {
public:
    explicit Inside(std::atomic<TaskHandle_t> &mark) : mark_(mark) { mark_ = xTaskGetCurrentTaskHandle(); }
    ~Inside() { mark_ = nullptr; }
    Inside(const Inside &) = delete;
    Inside &operator=(const Inside &) = delete;

private:
    std::atomic<TaskHandle_t> &mark_;
};

bool is_in_callback()
{
    const TaskHandle_t task = xTaskGetCurrentTaskHandle();
    return calling_back == task || reading == task;
}

void call_back(const lesp_event_t *event, void *ctx)
{
    if (user_event == nullptr) {
        return;
    }
    const Inside inside(calling_back);
    user_event(event, ctx);
}

void call_back_scores(std::uint32_t model, const float *scores, std::size_t count, void *ctx)
{
    const Inside inside(calling_back);
    user_scores(model, scores, count, ctx);
}

esp_err_t read_samples(void *source, std::int16_t *samples, std::size_t count, std::size_t *got)
{
    const Inside inside(reading);
    return user_read_samples(source, samples, count, got);
}

esp_err_t read_frame(void *source, float *values, std::size_t count)
{
    const Inside inside(reading);
    return user_read_frame(source, values, count);
}

// The functions of the user's are called by those above, which say which task is in them.
lesp_listener_config_t guard(const lesp_listener_config_t &config, lesp_event_callback_t on_event)
{
    lesp_listener_config_t guarded = config;
    user_event = on_event;
    user_scores = config.on_scores;
    user_read_samples = config.read_samples;
    user_read_frame = config.read_frame;
    guarded.on_scores = user_scores != nullptr ? call_back_scores : nullptr;
    guarded.read_samples = user_read_samples != nullptr ? read_samples : nullptr;
    guarded.read_frame = user_read_frame != nullptr ? read_frame : nullptr;
    return guarded;
}

// One call at a time. From a callback there is nothing to wait for: the session stays as long as its tasks run, and
// whoever stops it waits for this one.
class Access {
public:
    Access() : is_inside_(is_in_callback())
    {
        while (!is_inside_ && is_locked.exchange(true)) {
            vTaskDelay(1);
        }
    }
    ~Access()
    {
        if (!is_inside_) {
            is_locked = false;
        }
    }
    Access(const Access &) = delete;
    Access &operator=(const Access &) = delete;
    Session *session() const { return is_inside_ ? inner_session : the_session; }

private:
    bool is_inside_;
};

} // namespace

esp_err_t lesp_listener_start(const lesp_listener_config_t *config, lesp_event_callback_t on_event, void *ctx)
{
    if (config == nullptr || (on_event == nullptr && !config->post_events)) {
        return ESP_ERR_INVALID_ARG;
    }
    const Access access;
    if (inner_session != nullptr) { // as it is from within
        return ESP_ERR_INVALID_STATE;
    }
    lesp::streaming::HeapPointer<Session> session = lesp::streaming::make_on_heap<Session>();
    if (session == nullptr) {
        return ESP_ERR_NO_MEM;
    }
    inner_session = session.get(); // the first event may come before start returns
    if (const esp_err_t error = session->start(guard(*config, on_event), call_back, ctx); error != ESP_OK) {
        session.reset();
        inner_session = nullptr;
        return error;
    }
    the_session = session.release(); // until stop
    return ESP_OK;
}

// Takes the session away from all but its own tasks.
static Session *take_session()
{
    const Access access;
    return the_session.exchange(nullptr);
}

esp_err_t lesp_listener_stop(void)
{
    if (is_in_callback()) {
        return ESP_ERR_INVALID_STATE;
    }
    lesp::streaming::HeapPointer<Session> session(take_session());
    if (session == nullptr) {
        return ESP_ERR_INVALID_STATE;
    }
    // Without the lock, since a function of the user's may wait for a task that makes a call.
    session->stop();
    session.reset();
    inner_session = nullptr; // another may start now
    return ESP_OK;
}

esp_err_t lesp_listener_pause(void)
{
    const Access access;
    if (access.session() == nullptr) {
        return ESP_ERR_INVALID_STATE;
    }
    access.session()->pause();
    return ESP_OK;
}

esp_err_t lesp_listener_resume(void)
{
    const Access access;
    if (access.session() == nullptr) {
        return ESP_ERR_INVALID_STATE;
    }
    access.session()->resume();
    return ESP_OK;
}

esp_err_t lesp_listener_wait(uint32_t milliseconds, esp_err_t *error)
{
    // Without the lock, which others need meanwhile; during a start there is none yet.
    Session *const session = the_session;
    if (session == nullptr || is_in_callback()) {
        return ESP_ERR_INVALID_STATE;
    }
    return session->wait(milliseconds, error) ? ESP_OK : ESP_ERR_TIMEOUT;
}

int lesp_listener_find_label(uint32_t model, const char *name)
{
    const Access access;
    return access.session() == nullptr || name == nullptr ? -1 : access.session()->find_label(model, name);
}

esp_err_t lesp_listener_set_threshold(uint32_t model, uint32_t label, float value)
{
    const Access access;
    return access.session() == nullptr ? ESP_ERR_INVALID_STATE : access.session()->set_threshold(model, label, value);
}

esp_err_t lesp_listener_get_stats(uint32_t model, lesp_listener_stats_t *stats)
{
    const Access access;
    return access.session() == nullptr ? ESP_ERR_INVALID_STATE : access.session()->get_stats(model, stats);
}
