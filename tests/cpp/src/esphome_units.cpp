// The listener as a component of ESPHome, with a listener that says what the test lets it say.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../../../idf_project/examples/esphome/components/lesp_listener/listener_component.h"

#define EXPECT(condition)                                                                                              \
    if (!(condition)) {                                                                                                \
        std::printf("FAIL %s, line %d\n", #condition, __LINE__);                                                       \
        std::exit(1);                                                                                                  \
    }

struct QueueDefinition {
    std::mutex mutex;
    std::deque<std::vector<char>> items;
    std::size_t length, bytes;
};

static bool s_queue_fails = false;
static std::vector<QueueDefinition *> s_queues;
static esp_err_t s_start = ESP_OK;
static lesp_event_callback_t s_callback = nullptr;
static void *s_context = nullptr;
static std::string s_calls;

extern "C" {
QueueHandle_t xQueueCreate(UBaseType_t length, UBaseType_t bytes)
{
    if (s_queue_fails) {
        return nullptr;
    }
    s_queues.push_back(new QueueDefinition{{}, {}, length, bytes});
    return s_queues.back();
}

BaseType_t xQueueSend(QueueHandle_t queue, const void *item, TickType_t)
{
    const std::lock_guard lock(queue->mutex);
    if (queue->items.size() == queue->length) {
        return pdFALSE;
    }
    const char *data = static_cast<const char *>(item);
    queue->items.emplace_back(data, data + queue->bytes);
    return pdTRUE;
}

BaseType_t xQueueReceive(QueueHandle_t queue, void *item, TickType_t)
{
    const std::lock_guard lock(queue->mutex);
    if (queue->items.empty()) {
        return pdFALSE;
    }
    std::memcpy(item, queue->items.front().data(), queue->bytes);
    queue->items.pop_front();
    return pdTRUE;
}

esp_err_t lesp_listener_start(const lesp_listener_config_t *config, lesp_event_callback_t on_event, void *ctx)
{
    EXPECT(!config->post_events && config->read_samples == nullptr && config->models == nullptr);
    s_callback = on_event;
    s_context = ctx;
    s_calls += "start ";
    return s_start;
}

esp_err_t lesp_listener_stop(void)
{
    return s_calls += "stop ", ESP_OK;
}
esp_err_t lesp_listener_pause(void)
{
    return s_calls += "pause ", ESP_OK;
}
esp_err_t lesp_listener_resume(void)
{
    return s_calls += "resume ", ESP_OK;
}
esp_err_t lesp_listener_get_stats(uint32_t, lesp_listener_stats_t *stats)
{
    *stats = {};
    stats->average_us = 402;
    stats->longest_us = 611;
    return ESP_OK;
}
}

using esphome::lesp_listener::LespListener;

static void say(lesp_event_id_t id, const char *name = "", float score = 0)
{
    lesp_event_t event{};
    event.id = id;
    event.score = score;
    event.lost = 160;
    event.error = 0x107;
    std::snprintf(event.name, sizeof(event.name), "%s", name);
    std::thread([&event] { s_callback(&event, s_context); }).join(); // a task of the listener's
}

static void test_events_run_automations_in_the_loop()
{
    LespListener listener;
    esphome::Trigger<std::string, float> first, second;
    std::string heard;
    first.action = [&heard](const std::string &label, float score) {
        heard += label + (score == 0.75f ? " 0.75 " : " ? ");
    };
    second.action = [&heard](const std::string &, float) { heard += "too "; };
    listener.add_trigger(&first);
    listener.add_trigger(&second);
    listener.setup();
    listener.loop();
    say(LESP_EVENT_DETECTED, "stop", 0.75f);
    EXPECT(heard.empty());
    listener.loop();
    EXPECT(heard == "stop 0.75 too ");
    say(LESP_EVENT_OVERRUN);
    for (int i = 0; i < 10; ++i) {
        say(LESP_EVENT_DETECTED, "go", 0.75f);
    }
    listener.loop();
    listener.loop();
    EXPECT(heard.size() == std::strlen("stop 0.75 too ") + 7 * std::strlen("go 0.75 too "));
    listener.dump_config();
    listener.pause();
    listener.resume();
    EXPECT(!listener.is_failed() && s_calls == "start pause resume ");
    say(LESP_EVENT_ENDED);
    listener.loop();
    EXPECT(listener.is_failed() && s_calls == "start pause resume stop ");
    EXPECT(listener.get_setup_priority() == esphome::setup_priority::LATE);
}

static void test_what_does_not_start_is_marked_failed()
{
    LespListener listener;
    s_start = ESP_ERR_NO_MEM;
    listener.setup();
    EXPECT(listener.is_failed());
    LespListener other;
    s_queue_fails = true;
    s_calls.clear();
    other.setup();
    EXPECT(other.is_failed() && s_calls.empty());
}

int main()
{
    test_events_run_automations_in_the_loop();
    test_what_does_not_start_is_marked_failed();
    for (auto *queue : s_queues) {
        delete queue;
    }
    std::puts("PASS esphome");
}
