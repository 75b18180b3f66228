// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "esp_err.h"
#include "streaming/config.hpp"
#include "streaming/frame_buffer.hpp"
#include "streaming/heap_array.hpp"
#include "streaming/stage.hpp"

namespace lesp::streaming {

// What one frame step did.
struct StepResult {
    int stage = -1;                // the stage that ran; -1: none
    int segment = 0;               // which part of it, where ESP-DL cuts its file
    bool stage_done = false;       // it was the last part of the stage, whose outputs are new
    bool output_ready = false;     // it was the last stage, the outputs of the model are new
    std::int64_t microseconds = 0; // time in ESP-DL and in copying; 0 without a clock
};

// A whole model, stepped frame by frame.
//
// A window is complete when its last frame has come. In that frame step stage 0 runs, stage 1 in the next one, and so
// on: the load per step is that of one stage, and the outputs come (stages - 1) steps after the window. Frames of the
// next window may come meanwhile. Inputs and every stage's outputs are private copies, found by name.
//
// The other way to spread the load is one file that ESP-DL cuts by the number of its operators, not by their cost: with
// `Options::segments` of n, each stage takes n steps, and a window must last stages x n frames.
//
//     for every frame:  pipeline.write(0, frame, bytes);  pipeline.step(&result);  if (result.output_ready) ...
//
// Nothing is allocated after init, which runs each stage once on zeros so that ESP-DL, too, has its memory for good;
// its operators take small blocks in each run and give them back in it (28 of about 100 bytes in a network of five
// convolutions). Not safe for use from several tasks at once; several pipelines are independent.
class Pipeline {
public:
    // Loads all stages. `config` and what its spans refer to must outlive the pipeline; `files` has one entry a stage.
    // ESP_ERR_INVALID_ARG: the window is shorter than the number of stages times segments, a name is made by nothing,
    // or the two ends of a connection differ in shape, type or exponent. Else the errors of Stage::init.
    esp_err_t init(const ModelConfig &config, std::span<const char *const> files, const Options &options = {});

    // Position of an input or output in the configuration; -1: there is none of that name.
    int find_input(std::string_view name) const;
    int find_output(std::string_view name) const;

    // Gives the next frame of an input, or the new value of one that is held; it counts from the next window on. The
    // axes of a frame are those of the tensor in the configuration without batch and time, gap-free.
    // ESP_ERR_INVALID_ARG: no such input. ESP_ERR_INVALID_SIZE: wrong number of bytes. ESP_ERR_INVALID_STATE: the
    // window is full, since step() was not called after its last frame; the frame was not taken.
    esp_err_t write(std::size_t input, const void *data, std::size_t bytes);

    // One frame step, to be called when every input has its frame: runs at most one stage, or one segment of it.
    // ESP_ERR_INVALID_STATE: not initialised, or the window ends here and an input lacks frames or was never written;
    // nothing has changed, so write what is missing and step again.
    esp_err_t step(StepResult *result = nullptr);

    // Whether stages of the last complete window have yet to run, and running the next of them without a new frame: for
    // the end of a recording. ESP_ERR_INVALID_STATE: none is left.
    bool is_pending() const { return next_ < steps(); }
    esp_err_t step_pending(StepResult *result = nullptr);

    // Starts a new recording: initial caches, no frames; what was pending is dropped. Held inputs keep their value.
    void reset();

    // Overwrites a cache for the next run of its stage; `values` are gap-free as in the configuration.
    void set_cache(std::size_t stage, std::size_t cache, const std::uint8_t *values)
    {
        stages_[stage].set_cache(cache, values);
    }

    // The last value of an output, gap-free as in the configuration. It stays until its stage runs again.
    std::span<const std::uint8_t> output(std::size_t index) const { return outputs_[index]; }

    const ModelConfig &config() const { return config_; }
    const Stage &stage(std::size_t index) const { return stages_[index]; }

private:
    struct Input {
        FrameBuffer frames;             // being filled
        HeapArray<std::uint8_t> window; // being read by the stages
    };
    // A tensor that a stage may read or a user ask for.
    struct Source {
        const TensorConfig *tensor = nullptr;
        std::span<const std::uint8_t> values;
    };

    esp_err_t init_inputs();
    esp_err_t init_stages(std::span<const char *const> files, const Options &options);
    esp_err_t connect(std::size_t stage);
    esp_err_t init_outputs();
    Source find_source(std::string_view name, std::size_t stages) const;
    std::size_t steps() const { return stages_.size() * segments_; }
    bool has_window() const;
    void take_window();

    ModelConfig config_;
    HeapArray<Input> inputs_;
    HeapArray<Stage> stages_;
    HeapArray<std::span<const std::uint8_t>> outputs_;
    std::int64_t (*clock_)() = nullptr;
    std::size_t segments_ = 1;
    std::size_t next_ = 0; // of steps(): the step of the last complete window that runs next
    int frames_ = 0;       // of the window that is being filled
    bool is_ready_ = false;
};

} // namespace lesp::streaming
