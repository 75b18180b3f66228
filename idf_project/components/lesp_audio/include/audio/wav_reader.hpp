// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "audio/byte_source.hpp"
#include "esp_err.h"

namespace lesp::audio {

// A WAV file of 16-bit PCM, read sample by sample as it comes; of several channels the first.
//
// Chunks in any order before `data`, of odd sizes and of unknown kinds, are passed over. A `data` chunk that says more
// than the file holds (a recorder that lost power, a stream) ends where the file ends.
class WavReader {
public:
    static constexpr int kMaxChannels = 32;

    // Reads up to the first sample. `source` must outlive the reader.
    // ESP_ERR_INVALID_ARG: not a RIFF/WAVE file, or no format before its data. ESP_ERR_INVALID_SIZE: it ends inside its
    // header. ESP_ERR_NOT_SUPPORTED: not 16-bit PCM, or not 1 to 32 channels. problem() says which in words.
    esp_err_t init(ByteSource &source);

    // Reads up to `samples.size()` samples and returns how many came; 0 at the end.
    std::size_t read(std::span<std::int16_t> samples);

    int sample_rate() const { return static_cast<int>(sample_rate_); }
    int channels() const { return channels_; }
    const char *problem() const { return problem_; }

private:
    esp_err_t read_format(std::uint32_t bytes);
    esp_err_t fail(esp_err_t error, const char *problem);
    bool skip(std::uint64_t bytes);

    ByteSource *source_ = nullptr;
    std::uint32_t left_ = 0; // bytes of the data chunk
    std::uint32_t sample_rate_ = 0;
    int channels_ = 0;
    const char *problem_ = "";
};

} // namespace lesp::audio
