// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Where frames come from and where results go, and the pair of both that replays golden windows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "esp_err.h"
#include "streaming/config.hpp"
#include "streaming/frame_buffer.hpp"
#include "streaming/golden.hpp"
#include "streaming/heap_array.hpp"
#include "streaming/pipeline.hpp"

namespace lesp::streaming {

enum class SourceEvent : std::uint8_t {
    kFrame,          // every input has its next frame
    kEndOfRecording, // what comes next belongs to another recording
    kEnd,            // nothing comes any more
};

class Source {
public:
    virtual ~Source() = default;

    // Writes the next frame of every input, or says why there is none.
    virtual esp_err_t next(Pipeline &pipeline, SourceEvent *event) = 0;
};

class Sink {
public:
    virtual ~Sink() = default;

    // Called after every step in which a stage or a segment of one ran; `result.stage_done` says that it is complete.
    virtual void on_stage(Pipeline &pipeline, const StepResult &result) = 0;
};

// Drives frames from `source` through `pipeline` to `sink` until the source ends. At the end of a recording, pending
// stages run and the state is reset. `idle`, where given, is called after every complete output, to let other tasks
// run.
esp_err_t stream(Source &source, Pipeline &pipeline, Sink &sink, void (*idle)() = nullptr);

// Feeds the inputs of golden windows, frame by frame.
class GoldenSource : public Source {
public:
    // Errors of Golden::init, or ESP_ERR_NO_MEM.
    esp_err_t init(const ModelConfig &config, const GoldenData &data);
    esp_err_t next(Pipeline &pipeline, SourceEvent *event) override;

private:
    ModelConfig config_;
    Golden golden_;
    HeapArray<std::uint8_t> frame_;
    std::size_t window_ = 0;
    int step_ = 0;
    bool has_ended_recording_ = false;
};

// Compares what every stage made with the golden windows.
//
// int8 outputs and caches must be equal. An int16 output may be 2 steps off, as ESP-DL's int16 kernels may be against
// the host, and a float32 output by 1e-5 x max(1, |expected|); such values, and int16 and float32 caches that differ,
// are counted as tolerated.
//
// Behind a GRU or LSTM a value may be off by the steps that the golden data state, and one in kMostTolerated values
// may. Such a step would travel in the state, so after every window the caches are set to the host's: what is compared
// is each window from the same state.
class GoldenSink : public Sink {
public:
    // Errors of Golden::init, or ESP_ERR_NO_MEM.
    esp_err_t init(const ModelConfig &config, const GoldenData &data);
    void on_stage(Pipeline &pipeline, const StepResult &result) override;

    // Of so many values behind a GRU or LSTM one may be off.
    static constexpr std::size_t kMostTolerated = 50;

    // Whether every window was seen and nothing differed by more than is allowed.
    bool has_passed() const;

    // Prints windows and times of every stage, and its first difference.
    void print() const;

    // Golden windows in all.
    std::size_t windows() const { return golden_.windows(); }

private:
    struct Difference {
        std::size_t window = 0;
        const char *kind = nullptr; // nullptr: nothing differed
        std::string_view tensor;
        std::size_t index = 0;
        double expected = 0;
        double got = 0;
    };
    struct StageReport {
        std::size_t windows = 0;
        std::size_t values = 0;
        std::size_t differing = 0; // beyond what is allowed
        std::size_t tolerated = 0; // unequal but allowed
        std::size_t recurrent = 0; // of these, behind a GRU or LSTM
        std::int64_t total_us = 0;
        std::int64_t longest_us = 0;
        Difference first;
    };

    void compare_output(const Stage &stage, std::size_t index, std::size_t output);
    void compare_cache(const Stage &stage, std::size_t index, std::size_t cache);
    void compare(StageReport &report,
                 const TensorConfig &tensor,
                 const char *kind,
                 const std::uint8_t *expected,
                 const std::uint8_t *got,
                 std::uint32_t tolerance);
    static bool has_passed(const StageReport &report);

    ModelConfig config_;
    Golden golden_;
    HeapArray<StageReport> reports_;
};

} // namespace lesp::streaming
