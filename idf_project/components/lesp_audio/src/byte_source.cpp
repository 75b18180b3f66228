// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "audio/byte_source.hpp"

#include <algorithm>
#include <cstring>

namespace lesp::audio {

std::size_t ByteSource::skip(std::size_t bytes)
{
    char discarded[64];
    std::size_t skipped = 0;
    while (skipped < bytes) {
        const std::size_t wanted = std::min(bytes - skipped, sizeof(discarded));
        const std::size_t got = read(discarded, wanted);
        skipped += got;
        if (got < wanted) {
            break;
        }
    }
    return skipped;
}

std::size_t MemoryBytes::read(void *out, std::size_t bytes)
{
    const std::size_t taken = std::min(bytes, left_);
    if (taken > 0) {
        std::memcpy(out, data_, taken);
    }
    return skip(taken);
}

std::size_t MemoryBytes::skip(std::size_t bytes)
{
    const std::size_t taken = std::min(bytes, left_);
    data_ += taken;
    left_ -= taken;
    return taken;
}

FileBytes::~FileBytes()
{
    if (file_ != nullptr) {
        std::fclose(file_);
    }
}

esp_err_t FileBytes::open(const char *path)
{
    if (file_ != nullptr) {
        std::fclose(file_);
    }
    file_ = std::fopen(path, "rb");
    return file_ != nullptr ? ESP_OK : ESP_ERR_NOT_FOUND;
}

std::size_t FileBytes::read(void *out, std::size_t bytes)
{
    return file_ != nullptr ? std::fread(out, 1, bytes, file_) : 0;
}

} // namespace lesp::audio
