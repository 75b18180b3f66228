// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "esp_err.h"

namespace lesp::audio {

// Bytes from somewhere, read once from front to back.
class ByteSource {
public:
    virtual ~ByteSource() = default;

    // Reads up to `bytes` and returns how many came; fewer only at the end, or where reading failed.
    virtual std::size_t read(void *out, std::size_t bytes) = 0;

    // Skips up to `bytes` and returns how many were there.
    virtual std::size_t skip(std::size_t bytes);
};

// Bytes in memory or flash, which must outlive the source.
class MemoryBytes : public ByteSource {
public:
    MemoryBytes(const void *data, std::size_t bytes) : data_(static_cast<const std::uint8_t *>(data)), left_(bytes) {}
    std::size_t read(void *out, std::size_t bytes) override;
    std::size_t skip(std::size_t bytes) override;

private:
    const std::uint8_t *data_;
    std::size_t left_;
};

// A file of any file system that ESP-IDF has mounted, an SD card say.
class FileBytes : public ByteSource {
public:
    FileBytes() = default;
    ~FileBytes() override;
    FileBytes(const FileBytes &) = delete;
    FileBytes &operator=(const FileBytes &) = delete;

    // ESP_ERR_NOT_FOUND: there is no such file.
    esp_err_t open(const char *path);
    std::size_t read(void *out, std::size_t bytes) override;

private:
    std::FILE *file_ = nullptr;
};

} // namespace lesp::audio
