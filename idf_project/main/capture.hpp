#pragma once

#include <atomic>
#include <cstdint>

#include "audio/sample_ring.hpp"
#include "audio/sample_source.hpp"
#include "esp_err.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

// A task that takes samples from a source and hands them to the task that made it, through a ring of fixed size. It
// never waits for that task: what does not fit is dropped and counted by the ring. A source that breaks is restarted,
// as often as it can be; the time without it counts as dropped samples.
class Capture {
public:
    // Starts the task. `source` must outlive it. ESP_ERR_NO_MEM: no memory for the task or `samples` samples.
    esp_err_t start(audio::SampleSource &source, std::size_t samples);

    // Waits for samples and returns how many came; 0 after a second without any, at a gap, or at the end.
    std::size_t read(std::span<std::int16_t> samples);

    // See SampleRing.
    std::uint32_t take_gap() { return ring_.take_gap(); }
    std::uint32_t dropped() const { return ring_.dropped(); }

    // ESP_OK while the source gives samples; else what it said last. Samples may still be in the ring.
    esp_err_t error() const { return error_; }

private:
    static void run(void *self);
    void pump();
    bool restart(esp_err_t error, std::int64_t last_us);

    audio::SampleSource *source_ = nullptr;
    audio::SampleRing ring_;
    TaskHandle_t reader_ = nullptr;
    std::atomic<esp_err_t> error_ = ESP_OK;
};
