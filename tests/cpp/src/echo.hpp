// A model for the stand-in of ESP-DL that says what it evaluates: see dl::Model::echo.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "listener/model.hpp"

// How long one of its windows takes.
extern std::atomic<int> echo_us;

namespace echo {

inline constexpr int kBands = 4;
inline constexpr int kClasses = 4; // three of them echo bands, the last one counts windows

// Writes the file that the stand-in reads.
inline std::vector<char> write_file(int window)
{
    std::vector<char> file = {'E', 'C', 'H', 'O'};
    const auto word = [&file](std::int32_t value) {
        const char *bytes = reinterpret_cast<const char *>(&value);
        file.insert(file.end(), bytes, bytes + sizeof(value));
    };
    const auto text = [&file, word](std::string_view value) {
        word(static_cast<std::int32_t>(value.size()));
        file.insert(file.end(), value.begin(), value.end());
    };
    constexpr std::int32_t kInt8 = 3;
    text("echo");
    for (const std::int32_t count : {2, 2, 0}) {
        word(count);
    }
    std::int32_t slot = 0;
    const auto tensor = [&](std::string_view name, int exponent, std::int32_t frames, std::int32_t size) {
        text(name);
        for (const std::int32_t value : {slot++, kInt8, std::int32_t{exponent}, 3, 1, frames, size}) {
            word(value);
        }
    };
    tensor("x", -4, window, kBands);
    tensor("count", 0, 1, 1);
    tensor("scores", -4, window, kClasses);
    tensor("count.next", 0, 1, 1);
    return file;
}

inline constexpr float kMean[kBands] = {};
inline constexpr float kScale[kBands] = {1, 1, 1, 1};

inline constexpr lesp::streaming::FrontEndConfig kFrontEnd = [] {
    lesp::streaming::FrontEndConfig config;
    config.kind = lesp::streaming::FrontEndKind::kFbank;
    config.sample_rate = 1000;
    config.frame_length = 8;
    config.frame_shift = 4;
    config.num_mel_bins = kBands;
    config.low_freq = 20;
    config.high_freq = 480;
    config.bands = kBands;
    config.frame_samples = 8;
    config.hop_samples = 4;
    config.mean = kMean;
    config.scale = kScale;
    return config;
}();

// All of a model with windows of kWindow frames, each 4 ms long.
template <int kWindow>
struct Model {
    static constexpr lesp::streaming::TensorConfig kInputs[] = {{.name = "x",
                                                                 .exponent = -4,
                                                                 .rank = 3,
                                                                 .shape = {1, kWindow, kBands},
                                                                 .layout = {0, 1, 2},
                                                                 .time_axis = 1,
                                                                 .bytes = kWindow * kBands}};
    static constexpr lesp::streaming::TensorConfig kOutputs[] = {{.name = "scores",
                                                                  .exponent = -4,
                                                                  .rank = 3,
                                                                  .shape = {1, kWindow, kClasses},
                                                                  .layout = {0, 1, 2},
                                                                  .time_axis = 1,
                                                                  .bytes = kWindow * kClasses}};
    static constexpr lesp::streaming::CacheConfig kCaches[] = {
        {.tensor = {.name = "count", .rank = 3, .shape = {1, 1, 1}, .layout = {0, 1, 2}, .bytes = 1},
         .next = "count.next",
         .initial = 0}};
    static constexpr lesp::streaming::StageConfig kStages[] = {
        {.name = "echo", .inputs = kInputs, .outputs = kOutputs, .caches = kCaches}};
    static constexpr std::string_view kLabels[] = {"low", "middle", "a label that is longer than the name of an event"};
    static constexpr lesp::streaming::ModelConfig kConfig = {.name = "echo",
                                                             .target = "esp32s3",
                                                             .window = kWindow,
                                                             .frame_period_us = 4000,
                                                             .inputs = kInputs,
                                                             .outputs = kOutputs,
                                                             .stages = kStages,
                                                             .labels = kLabels};
    static constexpr float kThresholds[kClasses] = {2, 3, 4, lesp::streaming::kNever};
    static constexpr lesp::streaming::DetectorConfig kDetector = {.thresholds = kThresholds,
                                                                  .activation = lesp::streaming::Activation::kNone};

    static esp_err_t find(lesp::listening::ModelFiles *files)
    {
        static const std::vector<char> file = write_file(kWindow);
        static const char *const places[] = {file.data()};
        *files = {places, lesp::streaming::Location::kRodata};
        return ESP_OK;
    }

    static constexpr lesp_model kModel = {
        .config = &kConfig, .front_end = &kFrontEnd, .detector = &kDetector, .find = find};
};

} // namespace echo
