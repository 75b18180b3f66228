// The listening component with models that say what they evaluate: losses, gates, thresholds, pauses, power and memory.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "allocations.hpp"
#include "dl_speech_features.hpp"
#include "echo.hpp"
#include "esp_event.h"
#include "expect.hpp"
#include "fake_heap.hpp"
#include "fake_services.hpp"
#include "lesp_listener.h"
#include "listener/frame_ring.hpp"
#include "listener/rest.hpp"
#include "listener/session.hpp"
#include "listener_units.hpp"

using lesp::listening::FrameRing;
using lesp::listening::FrameStamp;

// The stand-ins of ESP-DL allocate in a run; what is counted is ours, on the tasks' way around them.
static std::atomic<bool> is_counting = false;
static bool is_counted()
{
    return is_counting && dl::audio::computing == 0;
}

extern "C" const lesp_model_t *lesp_bundled_model(void)
{
    return &echo::Model<1>::kModel;
}

// Lost is one buffer and what came until the reader saw it; what comes next is in one piece again.
static void test_the_ring_drops_one_buffer()
{
    FrameRing ring;
    EXPECT(ring.init(0, 4, 1) == ESP_ERR_INVALID_ARG && ring.init(2, 0, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(ring.init(2, std::size_t{1} << 40, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(ring.init(2, 3, 160) == ESP_OK && ring.capacity() == 4);
    const float values[2] = {1, 2};
    for (int i = 0; i < 4; ++i) {
        EXPECT(ring.push(values, {.position_us = i, .lost = i == 2 ? 7u : 0u}));
    }
    EXPECT(ring.is_full() && !ring.has_overrun() && ring.take_overrun() == 0 && ring.used() == 4);
    EXPECT(ring.values()[1] == 2 && ring.stamp().position_us == 0);
    EXPECT(!ring.push(values, {}) && !ring.push(values, {.lost = 5}));
    ring.pop();
    // There is room again, but a loss that nobody has seen yet keeps it empty.
    EXPECT(!ring.push(values, {}) && ring.used() == 3);
    EXPECT(ring.take_overrun() == 3 * 160 + 7 + 3 * 160 + 5 && ring.used() == 0 && ring.take_overrun() == 0);
    EXPECT(ring.push(values, {.position_us = 9}) && ring.stamp().position_us == 9 && ring.stamp().lost == 0);
    EXPECT(!ring.push(std::span(values).first(1), {}) && ring.has_overrun());
}

// Two tasks at full speed: each frame is evaluated once and in order, or is counted.
static void test_the_ring_between_tasks()
{
    static FrameRing ring;
    constexpr std::uint32_t kFrames = 200000;
    EXPECT(ring.init(1, 16, 1) == ESP_OK);
    std::atomic<bool> has_ended = false;
    std::thread writer([&has_ended] {
        for (std::uint32_t i = 0; i < kFrames; ++i) {
            const auto value = static_cast<float>(i);
            ring.push({&value, 1}, {.position_us = i});
            if (i % 64 == 0) {
                std::this_thread::yield();
            }
        }
        has_ended = true;
    });
    std::uint32_t next = 0;
    std::uint32_t lost = 0;
    while (!has_ended || ring.used() > 0 || ring.has_overrun()) {
        if (const std::uint32_t dropped = ring.take_overrun(); dropped > 0) {
            next += dropped;
            lost += dropped;
        } else if (ring.used() > 0) {
            EXPECT(ring.stamp().position_us == next && ring.values()[0] == static_cast<float>(next));
            ring.pop();
            ++next;
        }
    }
    writer.join();
    EXPECT(next == kFrames && lost < kFrames);
}

// Once a second, however often it is asked, and from the last rest on.
static void test_rest()
{
    lesp::listening::Rest rest(500);
    EXPECT(!rest.is_due(500) && !rest.is_due(1000499));
    EXPECT(rest.is_due(1000500));
    EXPECT(!rest.is_due(1000501) && !rest.is_due(2000499));
    EXPECT(rest.is_due(7000000) && !rest.is_due(7999999));
}

// Label, name, score and times of an event; the end, in order; and everything given back.
static void test_events()
{
    Source source;
    source.add(3, 0, 0);
    source.add(1, 1, 3.5f);
    source.add(2, 0, 0);
    source.add(1, 2, 5);
    source.release(7);
    Log log;
    EXPECT(lesp_listener_stop() == ESP_ERR_INVALID_STATE && lesp_listener_pause() == ESP_ERR_INVALID_STATE);
    const lesp_listener_config_t config = configure(source);
    EXPECT(lesp_listener_start(nullptr, Log::on_event, &log) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_ERR_INVALID_STATE);
    esp_err_t error = ESP_FAIL;
    EXPECT(lesp_listener_wait(20, &error) == ESP_ERR_TIMEOUT);
    source.has_ended = true;
    EXPECT(lesp_listener_wait(10000, &error) == ESP_OK && error == ESP_OK);
    lesp_listener_stats_t stats = {};
    EXPECT(lesp_listener_get_stats(0, &stats) == ESP_OK && stats.steps == 7 && stats.dropped == 0);
    EXPECT(stats.awake_permille <= 1000 && stats.models_permille <= 1000);
    EXPECT(lesp_listener_get_stats(1, &stats) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_find_label(0, "middle") == 1 && lesp_listener_find_label(0, "none") == -1);
    EXPECT(lesp_listener_stop() == ESP_OK && lesp_listener_get_stats(0, &stats) == ESP_ERR_INVALID_STATE);
    EXPECT(log.events.size() == 3 && log.scores[0].size() == 7);
    EXPECT(log.events[0].id == LESP_EVENT_DETECTED && log.events[0].label == 1 && log.events[0].score == 3.5f);
    EXPECT(std::strcmp(log.events[0].name, "middle") == 0 && log.events[0].position_us == 16000);
    EXPECT(std::string(log.events[1].name) == "a label that is longer than the" && log.events[1].position_us == 28000);
    EXPECT(log.events[1].time_us - log.events[0].time_us < 10000000 && log.events[0].time_us > 0);
    EXPECT(log.events[2].id == LESP_EVENT_ENDED && log.events[2].error == ESP_OK);
}

static void count_event(void *count, esp_event_base_t base, std::int32_t id, void *data)
{
    EXPECT(base == LESP_EVENT && static_cast<lesp_event_t *>(data)->id == static_cast<lesp_event_id_t>(id));
    ++*static_cast<std::atomic<int> *>(count);
}

// Events also go to the default event loop, and that alone is enough.
static void test_the_event_loop()
{
    std::atomic<int> detected = 0;
    std::atomic<int> all = 0;
    EXPECT(esp_event_loop_create_default() == ESP_OK);
    EXPECT(esp_event_handler_register(LESP_EVENT, LESP_EVENT_DETECTED, count_event, &detected) == ESP_OK);
    EXPECT(esp_event_handler_register(LESP_EVENT, ESP_EVENT_ANY_ID, count_event, &all) == ESP_OK);
    Source source;
    source.add(1, 0, 4);
    source.release(1);
    source.has_ended = true;
    lesp_listener_config_t config = configure(source);
    config.on_scores = nullptr;
    EXPECT(lesp_listener_start(&config, nullptr, nullptr) == ESP_OK);
    EXPECT(lesp_listener_wait(10000, nullptr) == ESP_OK);
    EXPECT(lesp_listener_stop() == ESP_OK && detected == 1 && all == 2);
    EXPECT(esp_event_loop_delete_default() == ESP_OK);
    config.post_events = false;
    EXPECT(lesp_listener_start(&config, nullptr, nullptr) == ESP_ERR_INVALID_ARG);
}

// A threshold counts from the next frame on, set from outside or from a callback.
static void test_thresholds()
{
    Source source;
    for (int i = 0; i < 4; ++i) {
        source.add(1, 0, 2.5f);
        source.add(1, 0, 0);
    }
    Log log;
    const lesp_listener_config_t config = configure(source);
    EXPECT(lesp_listener_set_threshold(0, 0, 1) == ESP_ERR_INVALID_STATE);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    EXPECT(lesp_listener_set_threshold(0, 4, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_set_threshold(1, 0, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_set_threshold(0, 0, NAN) == ESP_ERR_INVALID_ARG);
    source.release(2);
    wait_until([&log] { return log.evaluated(0) == 2; });
    EXPECT(log.count(LESP_EVENT_DETECTED) == 1);
    EXPECT(lesp_listener_set_threshold(0, 0, 3) == ESP_OK);
    source.release(2);
    wait_until([&log] { return log.evaluated(0) == 4; });
    EXPECT(log.count(LESP_EVENT_DETECTED) == 1);
    EXPECT(lesp_listener_set_threshold(0, 0, 2) == ESP_OK);
    source.release(4);
    source.has_ended = true;
    EXPECT(lesp_listener_wait(10000, nullptr) == ESP_OK);
    EXPECT(log.count(LESP_EVENT_DETECTED) == 3);
    EXPECT(lesp_listener_stop() == ESP_OK);
}

// With windows of five frames the model's task works once for five of them, and holds the clock up only then.
static void test_sleep_between_windows()
{
    Source source;
    source.add(52, 0, 1);
    Log log;
    lesp_listener_model_t model = LESP_LISTENER_MODEL_DEFAULT();
    model.model = &echo::Model<5>::kModel;
    lesp_listener_config_t config = configure(source);
    config.models = &model;
    config.model_count = 1;
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    source.release(4);
    wait_until([&source] { return source.given == 4; });
    std::this_thread::sleep_for(10 * kBriefly);
    const long before = power_acquired;
    EXPECT(log.evaluated(0) == 0 && power_held == 0 && power_locks == 2);
    source.release(1);
    wait_until([&log] { return log.evaluated(0) == 5; });
    wait_until([] { return power_held == 0; });
    // Once for the frame, once for the window.
    EXPECT(power_acquired == before + 2);
    source.release(47);
    source.has_ended = true;
    EXPECT(lesp_listener_wait(10000, nullptr) == ESP_OK && log.evaluated(0) == 52);
    EXPECT(lesp_listener_stop() == ESP_OK && power_held == 0 && power_locks == 0);
}

// Whichever allocation of the start fails, it says so, and nothing is left.
static void test_every_failed_allocation()
{
    Source source;
    Log log;
    lesp_listener_model_t models[2] = {LESP_LISTENER_MODEL_DEFAULT(), LESP_LISTENER_MODEL_DEFAULT()};
    models[1].gate = 0;
    lesp_listener_config_t config = configure(source);
    config.models = models;
    config.model_count = 2;
    Samples samples;
    samples.most = 1u << 30;
    samples.pause_us = 500;
    lesp_listener_config_t listening = configure(samples, true);
    for (const lesp_listener_config_t &each : {config, listening}) {
        long failures = 0;
        for (long place = 1;; ++place) {
            failing_allocation = place;
            const esp_err_t error = lesp_listener_start(&each, Log::on_event, &log);
            const bool has_failed = failing_allocation == 0;
            failing_allocation = 0;
            EXPECT(error == (has_failed ? ESP_ERR_NO_MEM : ESP_OK));
            EXPECT(power_locks == (has_failed ? 0 : 2));
            if (!has_failed) {
                break;
            }
            ++failures;
        }
        EXPECT(lesp_listener_stop() == ESP_OK && failures > 20);
    }
    EXPECT(log.count(LESP_EVENT_ENDED) == 0);
}

// A thousand times; the sanitizer tells what is left over.
static void test_starting_and_stopping()
{
    Source source;
    source.add(1, 0, 0);
    Log log;
    const lesp_listener_config_t config = configure(source);
    for (int i = 0; i < 1000; ++i) {
        source.given = 0;
        source.available = i % 2;
        EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
        EXPECT(lesp_listener_stop() == ESP_OK);
    }
    EXPECT(log.count(LESP_EVENT_ENDED) == 0 && power_locks == 0 && power_held == 0);
}

static std::atomic<int> quiet_events = 0;
static std::atomic<int> quiet_scores = 0;

static void test_nothing_is_allocated_after_the_start()
{
    Samples samples;
    samples.most = 4 * 300;
    samples.pause_us = 100;
    lesp_listener_config_t config = configure(samples, true);
    lesp_listener_model_t models[2] = {LESP_LISTENER_MODEL_DEFAULT(), LESP_LISTENER_MODEL_DEFAULT()};
    models[1].gate = 0;
    models[1].gate_threshold = -100;
    config.models = models;
    config.model_count = 2;
    config.on_scores = [](std::uint32_t, const float *, std::size_t, void *) { ++quiet_scores; };
    EXPECT(lesp_listener_start(&config, [](const lesp_event_t *, void *) { ++quiet_events; }, nullptr) == ESP_OK);
    wait_until([] { return quiet_scores > 10; });
    allocations = 0;
    is_counting = true;
    EXPECT(lesp_listener_set_threshold(0, 0, -7.9f) == ESP_OK);
    lesp_listener_pause();
    lesp_listener_resume();
    EXPECT(lesp_listener_wait(60000, nullptr) == ESP_OK);
    is_counting = false;
    EXPECT(allocations == 0 && quiet_events > 1 && quiet_scores > 400);
    EXPECT(lesp_listener_stop() == ESP_OK);
}

// In C++, two at once.
static void test_sessions()
{
    Source sources[2];
    Log logs[2];
    lesp::listening::Session sessions[2];
    for (int i = 0; i < 2; ++i) {
        sources[i].add(10 + i, i, 4);
        sources[i].release(static_cast<std::size_t>(10 + i));
        sources[i].has_ended = true;
        EXPECT(sessions[i].start(configure(sources[i]), Log::on_event, &logs[i]) == ESP_OK);
    }
    for (int i = 0; i < 2; ++i) {
        EXPECT(sessions[i].wait(10000, nullptr) && logs[i].evaluated(0) == static_cast<std::size_t>(10 + i));
        EXPECT(logs[i].count(LESP_EVENT_DETECTED) == 1);
    }
}

int main()
{
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    test_the_ring_drops_one_buffer();
    test_the_ring_between_tasks();
    test_rest();
    test_events();
    test_the_event_loop();
    test_thresholds();
    test_calls_from_a_callback();
    test_calls_from_a_source();
    test_a_call_during_a_start();
    test_pause();
    test_sleep_between_windows();
    test_a_model_that_is_too_slow();
    test_a_source_that_can_wait();
    test_a_gate();
    test_a_gate_that_is_late();
    test_several_models();
    test_every_failed_allocation();
    test_starting_and_stopping();
    test_nothing_is_allocated_after_the_start();
    test_sessions();
    std::printf("PASS listener\n");
}
