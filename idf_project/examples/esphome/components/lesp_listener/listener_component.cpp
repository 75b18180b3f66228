// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listener_component.h"

#include <cinttypes>

#include "esphome/core/log.h"

namespace esphome::lesp_listener {
namespace {

constexpr const char *kTag = "lesp_listener";
constexpr UBaseType_t kWaiting = 8; // events; ESPHome's loop comes by many times a second

} // namespace

void LespListener::setup()
{
    queue_ = xQueueCreate(kWaiting, sizeof(lesp_event_t));
    if (queue_ == nullptr) {
        ESP_LOGE(kTag, "no memory for the queue of events");
        mark_failed();
        return;
    }
    lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
    config.post_events = false; // esp_event allocates for each
    const esp_err_t error = lesp_listener_start(&config, &LespListener::on_event, this);
    if (error != ESP_OK) {
        ESP_LOGE(kTag, "the listener does not start: error 0x%x", static_cast<unsigned>(error));
        mark_failed();
    }
}

void LespListener::loop()
{
    lesp_event_t event;
    while (xQueueReceive(queue_, &event, 0) == pdTRUE) {
        if (event.id == LESP_EVENT_DETECTED) {
            const std::string label = event.name;
            for (auto *trigger : triggers_) {
                trigger->trigger(label, event.score);
            }
        } else if (event.id == LESP_EVENT_OVERRUN) {
            ESP_LOGW(kTag, "%" PRIu32 " samples lost: the model does not keep up", event.lost);
        } else {
            ESP_LOGE(kTag, "the microphone has ended: error 0x%x", static_cast<unsigned>(event.error));
            lesp_listener_stop();
            mark_failed();
        }
    }
    const uint32_t missed = missed_.exchange(0);
    if (missed != 0) {
        ESP_LOGW(kTag, "%" PRIu32 " events lost, since the loop was held up", missed);
    }
}

void LespListener::dump_config()
{
    lesp_listener_stats_t stats;
    if (lesp_listener_get_stats(0, &stats) == ESP_OK) {
        ESP_LOGCONFIG(kTag,
                      "Listener: %" PRIu32 " us a step on average, %" PRIu32 " us at most",
                      stats.average_us,
                      stats.longest_us);
    }
}

// Behind Wi-Fi: the model takes its memory first come, first served.
float LespListener::get_setup_priority() const
{
    return setup_priority::LATE;
}

void LespListener::pause()
{
    lesp_listener_pause();
}

void LespListener::resume()
{
    lesp_listener_resume();
}

void LespListener::on_event(const lesp_event_t *event, void *self)
{
    auto *listener = static_cast<LespListener *>(self);
    if (xQueueSend(listener->queue_, event, 0) != pdTRUE) {
        listener->missed_.fetch_add(1);
    }
}

} // namespace esphome::lesp_listener
