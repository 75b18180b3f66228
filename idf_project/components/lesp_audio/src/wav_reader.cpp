// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "audio/wav_reader.hpp"

#include <algorithm>
#include <cstring>

namespace lesp::audio {

static std::uint32_t read_word(const std::uint8_t *bytes, int count)
{
    std::uint32_t value = 0;
    for (int i = count - 1; i >= 0; --i) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static bool is(const std::uint8_t *bytes, const char *name)
{
    return std::memcmp(bytes, name, 4) == 0;
}

esp_err_t WavReader::fail(esp_err_t error, const char *problem)
{
    left_ = 0;
    problem_ = problem;
    return error;
}

bool WavReader::skip(std::uint64_t bytes)
{
    constexpr std::uint64_t kAtOnce = 1u << 30;
    while (bytes > 0) {
        const auto wanted = static_cast<std::size_t>(std::min(bytes, kAtOnce));
        if (source_->skip(wanted) != wanted) {
            return false;
        }
        bytes -= wanted;
    }
    return true;
}

esp_err_t WavReader::init(ByteSource &source)
{
    source_ = &source;
    left_ = 0;
    channels_ = 0;
    sample_rate_ = 0;
    problem_ = "";
    std::uint8_t head[12];
    if (source.read(head, sizeof(head)) != sizeof(head) || !is(head, "RIFF") || !is(head + 8, "WAVE")) {
        return fail(ESP_ERR_INVALID_ARG, "it does not start as a RIFF/WAVE file");
    }
    std::uint8_t chunk[8];
    while (source.read(chunk, sizeof(chunk)) == sizeof(chunk)) {
        const std::uint32_t bytes = read_word(chunk + 4, 4);
        if (is(chunk, "data")) {
            left_ = bytes;
            return channels_ > 0 ? ESP_OK : fail(ESP_ERR_INVALID_ARG, "its data come before their format");
        }
        if (is(chunk, "fmt ")) {
            if (const esp_err_t error = read_format(bytes); error != ESP_OK) {
                return error;
            }
        } else if (!skip(std::uint64_t{bytes} + bytes % 2)) { // chunks start at even offsets
            break;
        }
    }
    return fail(ESP_ERR_INVALID_SIZE, "it ends before its data");
}

esp_err_t WavReader::read_format(std::uint32_t bytes)
{
    constexpr std::uint32_t kPcm = 1;
    constexpr std::uint32_t kExtensible = 0xFFFE;
    std::uint8_t format[26] = {};
    const std::uint32_t known = std::min<std::uint32_t>(bytes, sizeof(format));
    if (bytes < 16 || source_->read(format, known) != known || !skip(std::uint64_t{bytes} - known + bytes % 2)) {
        return fail(ESP_ERR_INVALID_SIZE, "its format is cut off");
    }
    std::uint32_t kind = read_word(format, 2);
    if (kind == kExtensible && known == sizeof(format)) {
        kind = read_word(format + 24, 2); // the first word of its sub-format
    }
    const std::uint32_t channels = read_word(format + 2, 2);
    sample_rate_ = read_word(format + 4, 4);
    const std::uint32_t block = read_word(format + 12, 2);
    const std::uint32_t bits = read_word(format + 14, 2);
    if (kind != kPcm || bits != 16) {
        return fail(ESP_ERR_NOT_SUPPORTED, "it is not 16-bit PCM");
    }
    if (channels < 1 || channels > kMaxChannels || block != 2 * channels) {
        return fail(ESP_ERR_NOT_SUPPORTED, "it has no channels, too many, or gaps between them");
    }
    if (sample_rate_ < 1 || sample_rate_ > 768000) {
        return fail(ESP_ERR_NOT_SUPPORTED, "its sample rate is none");
    }
    channels_ = static_cast<int>(channels);
    return ESP_OK;
}

std::size_t WavReader::read(std::span<std::int16_t> samples)
{
    const auto block = static_cast<std::uint32_t>(2 * channels_);
    std::size_t count = 0;
    std::uint8_t bytes[2 * kMaxChannels];
    while (count < samples.size() && block > 0 && left_ >= block) {
        if (source_->read(bytes, block) != block) {
            left_ = 0;
            break;
        }
        left_ -= block;
        samples[count++] = static_cast<std::int16_t>(read_word(bytes, 2));
    }
    return count;
}

} // namespace lesp::audio
