// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"
#include "streaming/config.hpp"
#include "streaming/detector.hpp"
#include "streaming/heap_array.hpp"
#include "streaming/pipeline.hpp"

namespace lesp::streaming {

// What a frame step made, for whoever listens.
class EventSink {
public:
    virtual ~EventSink() = default;

    // A class fired. `event.frame` counts output frames since the last reset.
    virtual void on_event(const Event &event) = 0;

    // Scores of one output frame, before the detector; called for each of them.
    virtual void on_scores(std::span<const float> scores) { static_cast<void>(scores); }
};

// How long frame steps take, against the time from frame to frame.
struct StepTimes {
    std::uint32_t steps = 0;
    std::uint32_t late = 0;    // steps longer than a frame period
    std::int64_t total_us = 0; // of all steps
    std::int64_t longest_us = 0;
};

// One frame of floats after another, raw readings where the model normalises them: quantized, through the pipeline,
// dequantized, scored, detected.
//
// It drives the first input of a model and judges its first output; other inputs are held and written by the caller.
// Without a detector only scores are reported. Nothing is allocated after init.
class Listener {
public:
    // `pipeline` must be initialised and outlive the listener. `clock` gives microseconds; without it nothing is timed.
    // ESP_ERR_INVALID_ARG: the first input takes no frames, the detector has another number of classes than the first
    // output, or the normalisation another number of values than a frame. ESP_ERR_NO_MEM: no memory.
    esp_err_t init(Pipeline &pipeline, const DetectorConfig &detector, std::int64_t (*clock)() = nullptr);

    // Takes one frame, `frame_size()` values, and runs one frame step. ESP_ERR_INVALID_SIZE: another number of values.
    // Else the errors of Pipeline::write and Pipeline::step.
    esp_err_t take(std::span<const float> frame, EventSink &sink);

    // Ends the recording: what its last frames make is scored too, with frames of zeros behind them where the last
    // window is not full or the output trails, as on the host. Then a new recording starts. Errors of take.
    esp_err_t finish(EventSink &sink);

    // Starts a new recording.
    void reset();

    std::size_t frame_size() const { return frame_size_; }

    // Scores of one output frame.
    std::size_t classes() const { return classes_; }
    const StepTimes &times() const { return times_; }

private:
    esp_err_t run_step(StepResult *result);
    void judge(EventSink &sink, std::size_t most);
    std::size_t frames_to_judge() const;

    Pipeline *pipeline_ = nullptr;
    Detector detector_;
    bool has_detector_ = false;
    Activation activation_ = Activation::kNone;
    std::int64_t (*clock_)() = nullptr;
    std::size_t frame_size_ = 0;
    std::size_t classes_ = 0;
    HeapArray<float> normalized_;    // one frame, where the model takes raw readings
    HeapArray<std::uint8_t> input_;  // one quantized frame
    HeapArray<std::uint8_t> output_; // one quantized output frame
    HeapArray<float> scores_;
    std::size_t taken_ = 0;  // frames of this recording
    std::size_t judged_ = 0; // output frames of this recording
    StepTimes times_;
};

} // namespace lesp::streaming
