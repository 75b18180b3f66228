// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cstring>

#include "esp_log.h"
#include "model_image_reader.hpp"
#include "streaming/golden.hpp"

namespace lesp::streaming {

static const char *const TAG = "streaming";

static constexpr std::uint32_t kMagic = 0x494d454c; // "LEMI"
static constexpr std::size_t kEntryBytes = 3 * kWordBytes;
static constexpr std::uint32_t kConfigKind = 1;
static constexpr std::uint32_t kGoldenKind = 2;
static constexpr std::uint32_t kFirstFileKind = 16;

static_assert(std::endian::native == std::endian::little);

// Takes an array of `count` elements from a larger one.
template <typename T>
static std::span<T> take(HeapArray<T> &array, std::size_t *taken, std::size_t count)
{
    if (count > array.size() - *taken) {
        return {};
    }
    *taken += count;
    return {array.data() + (*taken - count), count};
}

std::size_t ModelImage::measure(std::span<const std::uint8_t, kHeaderBytes> header)
{
    const bool is_known = read_word(header.data()) == kMagic && read_word(header.data() + kWordBytes) == kVersion;
    return is_known ? read_word(header.data() + 2 * kWordBytes) : 0;
}

esp_err_t ModelImage::open(std::span<const std::uint8_t> bytes)
{
    model_ = {};
    bytes_ = 0;
    crc_ = 0;
    const esp_err_t error = read(bytes);
    if (error != ESP_OK) {
        model_ = {};
    }
    return error;
}

esp_err_t ModelImage::read(std::span<const std::uint8_t> bytes)
{
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kAlignment != 0) {
        return ESP_ERR_INVALID_ARG;
    }
    if (bytes.size() < kHeaderBytes || read_word(bytes.data()) != kMagic) {
        return ESP_ERR_NOT_FOUND;
    }
    const std::size_t size = measure(bytes.first<kHeaderBytes>());
    if (size == 0) {
        ESP_LOGE(TAG,
                 "the container has form %u, this firmware reads %u",
                 static_cast<unsigned>(read_word(bytes.data() + 4)),
                 static_cast<unsigned>(kVersion));
        return ESP_ERR_INVALID_VERSION;
    }
    if (size < kHeaderBytes + kWordBytes || size > bytes.size()) {
        return ESP_ERR_INVALID_SIZE;
    }
    const std::uint32_t crc = read_word(bytes.data() + 3 * kWordBytes);
    if (crc32(bytes.data() + kHeaderBytes, size - kHeaderBytes) != crc) {
        return ESP_ERR_INVALID_CRC;
    }
    if (const esp_err_t error = find_files(bytes.first(size)); error != ESP_OK) {
        return error;
    }
    bytes_ = size;
    crc_ = crc;
    return ESP_OK;
}

// Finds a section; the table was checked.
static std::span<const std::uint8_t> find_section(std::span<const std::uint8_t> bytes, std::uint32_t kind)
{
    const std::uint8_t *entry = bytes.data() + ModelImage::kHeaderBytes + kWordBytes;
    for (std::uint32_t left = read_word(entry - kWordBytes); left > 0; --left, entry += kEntryBytes) {
        if (read_word(entry) == kind) {
            return bytes.subspan(read_word(entry + kWordBytes), read_word(entry + 2 * kWordBytes));
        }
    }
    return {};
}

static bool has_table(std::span<const std::uint8_t> bytes)
{
    const std::uint8_t *entry = bytes.data() + ModelImage::kHeaderBytes + kWordBytes;
    const std::uint32_t sections = read_word(entry - kWordBytes);
    if (sections > (bytes.size() - ModelImage::kHeaderBytes - kWordBytes) / kEntryBytes) {
        return false;
    }
    for (std::uint32_t i = 0; i < sections; ++i, entry += kEntryBytes) {
        const std::size_t offset = read_word(entry + kWordBytes);
        if (offset % ModelImage::kAlignment != 0 || offset > bytes.size() ||
            read_word(entry + 2 * kWordBytes) > bytes.size() - offset) {
            return false;
        }
    }
    return true;
}

esp_err_t ModelImage::find_files(std::span<const std::uint8_t> bytes)
{
    if (!has_table(bytes)) {
        return ESP_ERR_INVALID_SIZE;
    }
    if (const esp_err_t error = read_config(find_section(bytes, kConfigKind)); error != ESP_OK) {
        return error;
    }
    if (!files_.allocate(stages_.size())) {
        return ESP_ERR_NO_MEM;
    }
    for (std::size_t i = 0; i < files_.size(); ++i) {
        const auto file = find_section(bytes, kFirstFileKind + static_cast<std::uint32_t>(i));
        if (file.empty() || file.size() != model_files_[i].bytes) {
            return ESP_ERR_INVALID_SIZE;
        }
        if (crc32(file.data(), file.size()) != model_files_[i].crc) {
            return ESP_ERR_INVALID_CRC;
        }
        files_[i] = reinterpret_cast<const char *>(file.data());
    }
    model_.files = {files_.data(), files_.size()};
    const auto windows = find_section(bytes, kGoldenKind);
    model_.golden = {reinterpret_cast<const char *>(windows.data()), windows.size()};
    Golden golden;
    const esp_err_t error = golden.init(model_.config, model_.golden);
    return error == ESP_ERR_NOT_FOUND ? ESP_OK : error;
}

esp_err_t ModelImage::read_config(std::span<const std::uint8_t> section)
{
    constexpr std::size_t kLeastText = 2 * kWordBytes;
    constexpr std::size_t kLeastTensor = kLeastText + 7 * kWordBytes;
    Reader reader(section);
    ModelConfig &config = model_.config;
    const std::size_t tensors = reader.count(kLeastTensor);
    const std::size_t caches = reader.count(kLeastTensor + kLeastText + kWordBytes);
    const std::size_t stages = reader.count(kLeastText + 3 * kWordBytes);
    const std::size_t labels = reader.count(kLeastText);
    if (!tensors_.allocate(tensors) || !caches_.allocate(caches) || !stages_.allocate(stages) ||
        !labels_.allocate(labels) || !model_files_.allocate(stages)) {
        return ESP_ERR_NO_MEM;
    }
    std::size_t taken = 0;
    std::size_t taken_caches = 0;
    const auto read_tensors = [&] {
        const std::size_t count = reader.count(kLeastTensor);
        const std::span<TensorConfig> found = take(tensors_, &taken, count);
        reader.require(found.size() == count);
        reader.read(found);
        return found;
    };
    config.name = reader.text();
    config.target = reader.text();
    config.window = reader.number(1, kMostFrames);
    config.stride = reader.number(1, kMostFrames);
    config.delay = reader.number(0, kMostFrames);
    config.frame_period_us = reader.number(0, INT32_MAX);
    config.rounding = reader.choice(Rounding::kHalfToEven);
    config.inputs = read_tensors();
    config.outputs = read_tensors();
    for (std::size_t i = 0; i < stages; ++i) {
        StageConfig &stage = stages_[i];
        stage.name = reader.text();
        stage.inputs = read_tensors();
        stage.outputs = read_tensors();
        const std::size_t count = reader.count(kLeastTensor);
        const std::span<CacheConfig> found = take(caches_, &taken_caches, count);
        reader.require(found.size() == count);
        for (CacheConfig &cache : found) {
            cache.tensor = reader.tensor();
            cache.next = reader.text();
            cache.initial = reader.number(INT16_MIN, INT16_MAX);
        }
        stage.caches = found;
        ModelFile &file = model_files_[i];
        file.name = reader.text().data();
        file.partition = reader.text().data();
        file.bytes = reader.word();
        file.crc = reader.word();
    }
    for (std::string_view &label : labels_) {
        label = reader.text();
    }
    config.stages = {stages_.data(), stages};
    config.labels = {labels_.data(), labels};
    model_.model_files = {model_files_.data(), stages};
    model_.front_end = reader.front_end(&config.normalization);
    reader.require(config.normalization.is_empty() || config.inputs.empty() ||
                   config.normalization.fits(config.inputs[0]));
    model_.detector = reader.detector();
    model_.estimated_ram = reader.word();
    model_.estimated_parameters = reader.word();
    reader.require(taken == tensors && taken_caches == caches && stages > 0 && !config.inputs.empty() &&
                   !config.outputs.empty() && config.window % config.stride == 0 &&
                   static_cast<std::size_t>(config.window) >= stages);
    if (!reader.is_complete()) {
        ESP_LOGE(TAG,
                 "the container's configuration is wrong at byte %u of %u",
                 static_cast<unsigned>(reader.position()),
                 static_cast<unsigned>(section.size()));
        return ESP_ERR_NOT_SUPPORTED;
    }
    return ESP_OK;
}

} // namespace lesp::streaming
