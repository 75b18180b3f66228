// What the tests of the listening component share: a source, a log of what came, and waiting for it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "echo.hpp"
#include "expect.hpp"
#include "lesp_listener.h"

inline constexpr auto kBriefly = std::chrono::milliseconds(2);

// Frames, or samples, from the test: what is there is given, and then nothing until more comes or the end is said.
struct Source {
    std::vector<float> frames; // of kBands values
    std::atomic<std::size_t> given = 0;
    std::atomic<std::size_t> available = 0; // frames that may be given
    std::atomic<bool> has_ended = false;

    // Adds frames whose band `band` is `value`.
    void add(int count, int band, float value)
    {
        for (int i = 0; i < count; ++i) {
            for (int j = 0; j < echo::kBands; ++j) {
                frames.push_back(j == band ? value : 0);
            }
        }
    }

    void release(std::size_t count) { available += count; }

    static esp_err_t read(void *source, float *values, std::size_t count)
    {
        auto *self = static_cast<Source *>(source);
        const bool has_ended = self->has_ended; // before what it says is looked at
        EXPECT(count == echo::kBands);
        if (self->given == self->available) {
            std::this_thread::sleep_for(std::chrono::microseconds(200));
            return has_ended ? ESP_ERR_NOT_FINISHED : ESP_ERR_TIMEOUT;
        }
        std::memcpy(values, self->frames.data() + self->given++ * count, count * sizeof(float));
        return ESP_OK;
    }
};

// What came.
struct Log {
    std::mutex mutex;
    std::vector<lesp_event_t> events;
    std::vector<std::vector<float>> scores[3];

    static void on_event(const lesp_event_t *event, void *ctx)
    {
        auto *log = static_cast<Log *>(ctx);
        const std::lock_guard lock(log->mutex);
        log->events.push_back(*event);
    }
    static void on_scores(std::uint32_t model, const float *scores, std::size_t count, void *ctx)
    {
        auto *log = static_cast<Log *>(ctx);
        const std::lock_guard lock(log->mutex);
        log->scores[model].emplace_back(scores, scores + count);
    }
    std::size_t count(lesp_event_id_t id)
    {
        const std::lock_guard lock(mutex);
        std::size_t found = 0;
        for (const lesp_event_t &event : events) {
            found += event.id == id ? 1 : 0;
        }
        return found;
    }
    std::size_t evaluated(std::uint32_t model)
    {
        const std::lock_guard lock(mutex);
        return scores[model].size();
    }
};

template <typename Condition>
void wait_until(Condition condition)
{
    while (!condition()) {
        std::this_thread::sleep_for(kBriefly);
    }
}

inline lesp_listener_config_t configure(Source &source)
{
    lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
    config.read_frame = Source::read;
    config.source = &source;
    config.on_scores = Log::on_scores;
    return config;
}

// Samples that change their sign, four at a time.
struct Samples {
    std::atomic<std::uint32_t> given = 0;
    std::uint32_t most = 0;
    int pause_us = 0;

    static esp_err_t read(void *source, std::int16_t *samples, std::size_t count, std::size_t *got)
    {
        auto *self = static_cast<Samples *>(source);
        if (self->given >= self->most) {
            return ESP_ERR_NOT_FINISHED;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(self->pause_us));
        *got = std::min<std::size_t>(count, 4);
        for (std::size_t i = 0; i < *got; ++i) {
            samples[i] = static_cast<std::int16_t>(self->given++ % 2 == 0 ? 9000 : -9000);
        }
        return ESP_OK;
    }
};

inline lesp_listener_config_t configure(Samples &samples, bool is_live)
{
    lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
    config.read_samples = Samples::read;
    config.source = &samples;
    config.is_live = is_live;
    config.on_scores = Log::on_scores;
    config.buffer_ms = 64; // 16 frames
    return config;
}

// In listener_calls.cpp and listener_gates.cpp.
void test_calls_from_a_callback();
void test_calls_from_a_source();
void test_a_call_during_a_start();
void test_pause();
void test_a_model_that_is_too_slow();
void test_a_source_that_can_wait();
void test_a_gate();
void test_a_gate_that_is_late();
void test_several_models();
