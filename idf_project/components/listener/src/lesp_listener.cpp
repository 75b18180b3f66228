#include "lesp_listener.h"

#include <atomic>
#include <cmath>

#include "esp_event.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "listener/session.hpp"
#include "streaming/heap_array.hpp"

ESP_EVENT_DEFINE_BASE(LESP_EVENT);

using listening::Session;

namespace {

std::atomic<Session *> the_session = nullptr;
std::atomic<bool> is_locked = false;
std::atomic<TaskHandle_t> calling_back = nullptr; // the task that is in a callback

lesp_event_callback_t user_event = nullptr;
lesp_scores_callback_t user_scores = nullptr;

bool is_in_callback()
{
    return calling_back == xTaskGetCurrentTaskHandle();
}

void call_back(const lesp_event_t *event, void *ctx)
{
    if (user_event == nullptr) {
        return;
    }
    calling_back = xTaskGetCurrentTaskHandle();
    user_event(event, ctx);
    calling_back = nullptr;
}

void call_back_scores(std::uint32_t model, const float *scores, std::size_t count, void *ctx)
{
    calling_back = xTaskGetCurrentTaskHandle();
    user_scores(model, scores, count, ctx);
    calling_back = nullptr;
}

// One call at a time. From a callback there is nothing to wait for: the session stays as long as its tasks run, and
// whoever stops it waits for this one.
class Access {
public:
    Access() : needs_lock_(!is_in_callback())
    {
        while (needs_lock_ && is_locked.exchange(true)) {
            vTaskDelay(1);
        }
    }
    ~Access()
    {
        if (needs_lock_) {
            is_locked = false;
        }
    }
    Access(const Access &) = delete;
    Access &operator=(const Access &) = delete;
    Session *session() const { return the_session; }

private:
    bool needs_lock_;
};

} // namespace

esp_err_t lesp_listener_start(const lesp_listener_config_t *config, lesp_event_callback_t on_event, void *ctx)
{
    if (config == nullptr || (on_event == nullptr && !config->post_events)) {
        return ESP_ERR_INVALID_ARG;
    }
    const Access access;
    if (access.session() != nullptr || is_in_callback()) {
        return ESP_ERR_INVALID_STATE;
    }
    streaming::HeapPointer<Session> session = streaming::make_on_heap<Session>();
    if (session == nullptr) {
        return ESP_ERR_NO_MEM;
    }
    lesp_listener_config_t guarded = *config;
    user_event = on_event;
    user_scores = config->on_scores;
    guarded.on_scores = user_scores != nullptr ? call_back_scores : nullptr;
    the_session = session.get(); // the first event may come before start returns
    if (const esp_err_t error = session->start(guarded, call_back, ctx); error != ESP_OK) {
        the_session = nullptr;
        return error;
    }
    [[maybe_unused]] const Session *const kept = session.release(); // until stop
    return ESP_OK;
}

esp_err_t lesp_listener_stop(void)
{
    if (is_in_callback()) {
        return ESP_ERR_INVALID_STATE;
    }
    const Access access;
    const streaming::HeapPointer<Session> session(access.session());
    if (session == nullptr) {
        return ESP_ERR_INVALID_STATE;
    }
    session->stop();
    the_session = nullptr;
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
    // Without the lock, which others need meanwhile.
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
