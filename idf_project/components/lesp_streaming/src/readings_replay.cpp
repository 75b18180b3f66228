// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/readings_replay.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "streaming/frame_buffer.hpp"
#include "streaming/golden.hpp"
#include "streaming/heap_array.hpp"
#include "streaming/quantization.hpp"

namespace lesp::streaming {

namespace {

struct Header {
    char magic[4];
    std::uint32_t windows;
    std::uint32_t frames;
    std::uint32_t channels;
};

class Comparison {
public:
    explicit Comparison(const ModelConfig &config) : config_(config), geometry_(FrameGeometry::of(config.inputs[0])) {}

    esp_err_t init(std::size_t channels)
    {
        const bool has_memory = values_.allocate(channels) && got_.allocate(geometry_.frame_bytes()) &&
                                expected_.allocate(geometry_.frame_bytes());
        return has_memory ? ESP_OK : ESP_ERR_NO_MEM;
    }

    // How many integers of a frame differ.
    std::size_t compare(const char *readings, const std::uint8_t *window, std::size_t frame)
    {
        const std::span<float> values(values_.data(), values_.size());
        std::memcpy(values.data(), readings, values.size_bytes());
        normalize(values, config_.normalization, values);
        quantize(values, config_.inputs[0], config_.rounding, got_.data());
        geometry_.gather(window, frame, expected_.data());
        const std::size_t size = geometry_.frame_bytes() / values.size();
        std::size_t differing = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            differing += std::memcmp(got_.data() + i * size, expected_.data() + i * size, size) != 0 ? 1 : 0;
        }
        return differing;
    }

private:
    const ModelConfig &config_;
    FrameGeometry geometry_;
    HeapArray<float> values_;
    HeapArray<std::uint8_t> got_;
    HeapArray<std::uint8_t> expected_;
};

} // namespace

// Whether the data are readings of this model, and no longer than its golden windows.
static bool has_form(const ModelConfig &config, const Golden &golden, const GoldenData &readings, const Header &header)
{
    const auto frames = static_cast<std::uint64_t>(config.inputs[0].frames());
    const auto channels = static_cast<std::uint64_t>(config.normalization.mean.size());
    const std::uint64_t bytes = sizeof(header) + header.windows * frames * channels * sizeof(float);
    return std::memcmp(header.magic, "LER1", sizeof(header.magic)) == 0 && header.windows <= golden.windows() &&
           header.frames == frames && header.channels == channels && bytes == readings.bytes;
}

esp_err_t replay_readings(const ModelConfig &config,
                          const GoldenData &golden,
                          const GoldenData &readings,
                          ReadingsReport *report,
                          void (*idle)())
{
    *report = {};
    Golden windows;
    if (readings.data == nullptr) {
        return ESP_ERR_NOT_FOUND;
    }
    if (const esp_err_t error = windows.init(config, golden); error != ESP_OK) {
        return error;
    }
    Header header = {};
    if (readings.bytes < sizeof(header) || !config.normalization.fits(config.inputs[0])) {
        return ESP_ERR_INVALID_SIZE;
    }
    std::memcpy(&header, readings.data, sizeof(header));
    if (!has_form(config, windows, readings, header)) {
        return ESP_ERR_INVALID_SIZE;
    }
    Comparison comparison(config);
    if (const esp_err_t error = comparison.init(header.channels); error != ESP_OK) {
        return error;
    }
    const char *next = readings.data + sizeof(header);
    for (; report->windows < header.windows; ++report->windows) {
        for (std::uint32_t frame = 0; frame < header.frames; ++frame, next += header.channels * sizeof(float)) {
            report->differing += comparison.compare(next, windows.input(report->windows, 0), frame);
            report->values += header.channels;
        }
        if (idle != nullptr) {
            idle();
        }
    }
    return ESP_OK;
}

void ReadingsReport::print() const
{
    std::printf("readings: %u windows, %u of %u values differ\n",
                static_cast<unsigned>(windows),
                static_cast<unsigned>(differing),
                static_cast<unsigned>(values));
}

} // namespace lesp::streaming
