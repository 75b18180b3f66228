// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/golden.hpp"

#include <cstring>

#include "esp_rom_crc.h"

namespace lesp::streaming {

static constexpr std::size_t kHeaderBytes = 12;
static constexpr std::size_t kWordBytes = 4;

static std::uint32_t read_word(const std::uint8_t *data)
{
    return data[0] | data[1] << 8 | data[2] << 16 | static_cast<std::uint32_t>(data[3]) << 24;
}

static std::size_t padded(std::size_t bytes)
{
    return (bytes + kWordBytes - 1) / kWordBytes * kWordBytes;
}

static std::size_t padded(std::span<const TensorConfig> tensors)
{
    std::size_t bytes = 0;
    for (const TensorConfig &tensor : tensors) {
        bytes += padded(tensor.bytes);
    }
    return bytes;
}

std::uint32_t crc32(const void *data, std::size_t bytes, std::uint32_t before)
{
    // Of the chip's ROM, by a table: models have megabytes.
    return esp_rom_crc32_le(before, static_cast<const std::uint8_t *>(data), static_cast<std::uint32_t>(bytes));
}

// Outputs and caches of the first stages.
static std::size_t result_count(std::span<const StageConfig> stages)
{
    std::size_t count = 0;
    for (const StageConfig &config : stages) {
        count += config.outputs.size() + config.caches.size();
    }
    return count;
}

esp_err_t Golden::init(const ModelConfig &config, const GoldenData &data)
{
    config_ = config;
    windows_ = 0;
    if (data.data == nullptr || data.bytes == 0) {
        return ESP_ERR_NOT_FOUND;
    }
    const auto *bytes = reinterpret_cast<const std::uint8_t *>(data.data);
    if (data.bytes < kHeaderBytes || (std::memcmp(bytes, "LEG1", 4) != 0 && std::memcmp(bytes, "LEG2", 4) != 0)) {
        return ESP_ERR_INVALID_SIZE;
    }
    has_states_ = bytes[3] == '2';
    const std::size_t tolerance_bytes = has_states_ ? kWordBytes * result_count(config.stages) : 0;
    const std::size_t windows = read_word(bytes + 4);
    record_bytes_ = read_word(bytes + 8);
    if (record_bytes_ != stage_offset(config.stages.size()) ||
        data.bytes != kHeaderBytes + tolerance_bytes + static_cast<std::uint64_t>(windows) * record_bytes_) {
        return ESP_ERR_INVALID_SIZE;
    }
    if (windows == 0) {
        return ESP_ERR_NOT_FOUND; // or whatever repeats none of them passes
    }
    tolerances_ = bytes + kHeaderBytes;
    records_ = tolerances_ + tolerance_bytes;
    windows_ = windows;
    return ESP_OK;
}

std::size_t Golden::stage_offset(std::size_t stage) const
{
    std::size_t offset = kWordBytes + padded(config_.inputs);
    for (std::size_t i = 0; i < stage; ++i) {
        offset += padded(config_.stages[i].outputs) + cache_bytes(i, config_.stages[i].caches.size());
    }
    return offset;
}

// Of the first caches of a stage.
std::size_t Golden::cache_bytes(std::size_t stage, std::size_t caches) const
{
    std::size_t bytes = 0;
    for (const CacheConfig &cache : config_.stages[stage].caches.first(caches)) {
        bytes += has_states_ ? padded(cache.tensor.bytes) : kWordBytes;
    }
    return bytes;
}

bool Golden::starts_recording(std::size_t window) const
{
    return read_word(record(window)) != 0;
}

const std::uint8_t *Golden::input(std::size_t window, std::size_t input) const
{
    return record(window) + kWordBytes + padded(config_.inputs.first(input));
}

const std::uint8_t *Golden::output(std::size_t window, std::size_t stage, std::size_t output) const
{
    return record(window) + stage_offset(stage) + padded(config_.stages[stage].outputs.first(output));
}

const std::uint8_t *Golden::cache(std::size_t window, std::size_t stage, std::size_t cache) const
{
    return record(window) + stage_offset(stage) + padded(config_.stages[stage].outputs) + cache_bytes(stage, cache);
}

std::uint32_t Golden::cache_crc(std::size_t window, std::size_t stage, std::size_t cache) const
{
    return read_word(this->cache(window, stage, cache));
}

std::uint32_t Golden::tolerance(std::size_t stage, std::size_t position) const
{
    return has_states_ ? read_word(tolerances_ + kWordBytes * (result_count(config_.stages.first(stage)) + position))
                       : 0;
}

std::uint32_t Golden::output_tolerance(std::size_t stage, std::size_t output) const
{
    return tolerance(stage, output);
}

std::uint32_t Golden::cache_tolerance(std::size_t stage, std::size_t cache) const
{
    return tolerance(stage, config_.stages[stage].outputs.size() + cache);
}

} // namespace lesp::streaming
