// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "audio/sample_source.hpp"
#include "esp_err.h"
#include "lesp_listener.h"
#include "listener/task.hpp"
#include "listener/track.hpp"
#include "listener/work.hpp"
#include "streaming/heap_array.hpp"

namespace lesp::listening {

// Samples from a function of the user's.
class CallbackSamples : public audio::SampleSource {
public:
    void init(lesp_read_samples_t read, void *source, int sample_rate)
    {
        read_ = read;
        source_ = source;
        sample_rate_ = sample_rate;
    }
    int sample_rate() const override { return sample_rate_; }
    esp_err_t read(std::span<std::int16_t> samples, std::size_t *count) override
    {
        return read_(source_, samples.data(), samples.size(), count);
    }

private:
    lesp_read_samples_t read_ = nullptr;
    void *source_ = nullptr;
    int sample_rate_ = 0;
};

// One source and the models that listen to it: what lesp_listener.h describes, as an object that is started once.
//
// start, stop, wait and the destructor are the owner's; pause, resume, set_threshold, find_label and get_stats may be
// called from any task while it is there, callbacks included. Errors are those of the functions in C.
class Session : private TrackSink {
public:
    Session() = default;
    ~Session() { stop(); }
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;

    // Not to be called again, after an error neither.
    esp_err_t start(const lesp_listener_config_t &config, lesp_event_callback_t on_event, void *ctx);

    // Ends both tasks and closes the source; nothing where that has been done. Not from a callback, nor from
    // `read_samples` or `read_frame`.
    void stop();

    void pause();
    void resume();
    bool wait(std::uint32_t milliseconds, esp_err_t *error); // whether the source has ended
    int find_label(std::uint32_t model, std::string_view name) const;
    esp_err_t set_threshold(std::uint32_t model, std::uint32_t label, float value);
    esp_err_t get_stats(std::uint32_t model, lesp_listener_stats_t *stats) const;

private:
    void on_event(const lesp_event_t &event) override;
    void on_scores(std::uint32_t model, std::span<const float> scores) override;

    esp_err_t init_tracks();
    esp_err_t open_source();
    esp_err_t start_tasks();

    // Of the capture task.
    void capture();
    esp_err_t capture_samples();
    esp_err_t capture_frame();
    esp_err_t sit_out();
    esp_err_t reopen(esp_err_t error);
    void wait_for_room();
    void wake_models();

    // Of the models' task.
    void run_models();
    void log_models_stack() const;
    esp_err_t run_tracks(bool is_over);
    esp_err_t finish();
    bool is_due(bool is_over) const;

    lesp_listener_config_t config_ = {};
    lesp_event_callback_t callback_ = nullptr;
    void *ctx_ = nullptr;
    streaming::HeapArray<Track> tracks_;

    audio::SampleSource *source_ = nullptr; // nullptr: the source gives frames
    CallbackSamples samples_;
    std::array<std::int16_t, 160> chunk_ = {};
    streaming::HeapArray<float> frame_;
    std::size_t piece_ = 1; // samples that make one frame of a track at most
    std::int64_t heard_us_ = 0;

    std::atomic<bool> is_stopping_ = false;
    std::atomic<bool> is_paused_ = false;
    std::atomic<bool> is_over_ = false;            // the source has ended
    std::atomic<esp_err_t> source_error_ = ESP_OK; // why
    std::atomic<esp_err_t> error_ = ESP_OK;        // why the models have ended
    std::atomic<std::uint32_t> missed_events_ = 0;
    Work front_end_work_;
    Work models_work_;
    Task capture_task_;
    Task models_task_; // last, since both end before anything else goes
};

} // namespace lesp::listening
