// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// What a model looks like from outside, as constants. Exports generate them (`model_config.hpp`); nothing here depends
// on ESP-DL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace lesp::streaming {

inline constexpr int kMaxRank = 6;

enum class DataType : std::uint8_t { kInt8, kInt16, kFloat32 };

// How a chip rounds when it quantizes: 2.5 becomes 3 or 2.
enum class Rounding : std::uint8_t { kHalfUp, kHalfToEven };

// A tensor as it lies in memory, for one window, without gaps, the last axis closest.
struct TensorConfig {
    std::string_view name = {};
    DataType type = DataType::kInt8;
    int exponent = 0; // value = integer * 2^exponent; 0 for float32
    int rank = 0;
    int shape[kMaxRank] = {};  // batch (always 1) included
    int layout[kMaxRank] = {}; // axis i holds axis layout[i] of the PyTorch tensor
    int time_axis = -1;        // -1: no time; an input that is held for a whole recording
    std::size_t bytes = 0;

    // Frames in one window; 0 for a tensor without time.
    constexpr int frames() const { return time_axis < 0 ? 0 : shape[time_axis]; }
};

// State that the pipeline feeds back: input `tensor` is what output `next` was, one window before.
struct CacheConfig {
    TensorConfig tensor = {};
    std::string_view next = {};
    int initial = 0; // value of every element when a recording starts, as an integer of the tensor's type
};

// One `.espdl` file. An input is an input of the model or an output of an earlier stage, whichever has its name.
struct StageConfig {
    std::string_view name = {};
    std::span<const TensorConfig> inputs = {};
    std::span<const TensorConfig> outputs = {};
    std::span<const CacheConfig> caches = {};
};

// What makes the first input of raw readings: (reading - mean) * factor in float32, one of each for every value of a
// frame. Empty: the model takes its frames as they come.
struct Normalization {
    std::span<const float> mean = {};
    std::span<const float> factor = {};

    constexpr bool is_empty() const { return mean.empty(); }

    // Whether there is one of each for every value of a frame.
    constexpr bool fits(const TensorConfig &tensor) const
    {
        std::size_t values = 1;
        for (int axis = 0; axis < tensor.rank; ++axis) {
            values *= axis == tensor.time_axis ? 1 : static_cast<std::size_t>(tensor.shape[axis]);
        }
        return mean.size() == values && factor.size() == values;
    }
};

struct ModelConfig {
    std::string_view name = {};
    std::string_view target = {};
    int window = 0;          // frames of one inference, at least the number of stages
    int stride = 1;          // frames of the model's smallest step
    int delay = 0;           // output frames that the stream trails the offline output
    int frame_period_us = 0; // 0: not known
    Rounding rounding = Rounding::kHalfUp;
    std::span<const TensorConfig> inputs = {};
    std::span<const TensorConfig> outputs = {};
    std::span<const StageConfig> stages = {};
    std::span<const std::string_view> labels = {};
    Normalization normalization = {};
};

// A `.espdl` file of a model that lies outside the app: on a file system, or in a partition of its own.
struct ModelFile {
    const char *name = nullptr;
    const char *partition = nullptr; // label
    std::size_t bytes = 0;
    std::uint32_t crc = 0; // CRC32 as in zlib
};

// Golden windows as embedded in the firmware; see golden.hpp.
struct GoldenData {
    const char *data = nullptr;
    std::size_t bytes = 0;
};

} // namespace lesp::streaming
