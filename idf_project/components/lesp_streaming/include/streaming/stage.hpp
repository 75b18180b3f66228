// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"
#include "streaming/config.hpp"
#include "streaming/heap_array.hpp"

namespace dl {
class Model;
class TensorBase;
} // namespace dl

namespace lesp::streaming {

// Where the `.espdl` files are, and what their address means: a pointer into flash, the label of a partition, a path.
enum class Location : std::uint8_t { kRodata, kPartition, kSdCard };

// Where the pipeline keeps state and copies: internal RAM as long as there is some, else PSRAM; or one of both alone.
enum class Memory : std::uint8_t { kAny, kInternal, kPsram };

struct Options {
    Location location = Location::kRodata;
    int max_internal_bytes = 0;   // internal RAM that ESP-DL takes for the tensors of each file, where there is PSRAM
    bool copy_parameters = true;  // false: leave the weights in flash, slower but without a copy in PSRAM
    Memory memory = Memory::kAny; // for state and copies of outputs, which each step reads and writes
    int segments = 1;             // parts with equal numbers of operators that ESP-DL cuts each file into
    std::int64_t (*clock)() = nullptr; // microseconds, `esp_timer_get_time` say; without it nothing is measured
};

// One `.espdl` file on ESP-DL with the state of its caches.
//
// ESP-DL may lay an output over an input that was read already. So every run writes all inputs, state included, and
// then copies all outputs to memory of its own before anything else may be written.
class Stage {
public:
    Stage();
    ~Stage();
    Stage(const Stage &) = delete;
    Stage &operator=(const Stage &) = delete;

    // Loads the model and checks that its tensors are those of `config`, which must outlive the stage. On an error the
    // log says what differs:
    // ESP_FAIL: ESP-DL could not load the file. ESP_ERR_NOT_FOUND: a tensor is missing, or there is one too many.
    // ESP_ERR_INVALID_SIZE: a shape differs. ESP_ERR_INVALID_VERSION: a type or exponent differs.
    // ESP_ERR_NO_MEM: no memory. ESP_ERR_NOT_SUPPORTED: the firmware is built for PSRAM, and there is none.
    esp_err_t init(const StageConfig &config, const char *file, const Options &options);

    // Names the memory that input `index` is read from at every run; it holds `config.inputs[index].bytes`.
    void connect(std::size_t index, const std::uint8_t *source);

    // Runs one window, or part `segment` of `segments` of it: `dl::Model::run(segments, segment)`. All parts of a
    // window must run in order; the first one reads the inputs, and the last one writes the outputs and caches.
    // ESP_ERR_INVALID_STATE: not initialised, or an input is not connected. ESP_ERR_INVALID_ARG: no such segment.
    esp_err_t run(int segments = 1, int segment = 0);

    // Forgets the recording: caches get their initial values.
    void reset();

    // Overwrites cache `index` for the next run.
    void set_cache(std::size_t index, const std::uint8_t *values);

    // Values after the last run; private memory, valid until the next one.
    std::span<const std::uint8_t> output(std::size_t index) const { return outputs_[index].span(); }
    std::span<const std::uint8_t> cache(std::size_t index) const { return caches_[index].span(); }

    const StageConfig &config() const { return config_; }

private:
    // A tensor of the model and the memory that it is copied from or to.
    struct Input {
        dl::TensorBase *tensor = nullptr;
        const std::uint8_t *source = nullptr;
        std::size_t bytes = 0;
    };
    struct Output {
        dl::TensorBase *tensor = nullptr;
        std::uint8_t *copy = nullptr;
        std::size_t bytes = 0;
        std::span<const std::uint8_t> span() const { return {copy, bytes}; }
    };

    esp_err_t load(const char *file, const Options &options);
    esp_err_t allocate(Memory memory);
    esp_err_t bind();
    void warm_up();
    esp_err_t write_inputs();
    void read_outputs();
    esp_err_t find(const TensorConfig &tensor, std::string_view name, bool is_input, dl::TensorBase **found) const;

    StageConfig config_;
    HeapPointer<dl::Model> model_;
    HeapArray<Input> inputs_;        // config.inputs
    HeapArray<Input> cache_inputs_;  // config.caches
    HeapArray<Output> outputs_;      // config.outputs
    HeapArray<Output> caches_;       // config.caches
    HeapArray<std::uint8_t> memory_; // all copies
    bool is_ready_ = false;
};

} // namespace lesp::streaming
