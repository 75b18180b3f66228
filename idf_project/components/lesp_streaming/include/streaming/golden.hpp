// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "esp_err.h"
#include "streaming/config.hpp"

namespace lesp::streaming {

// CRC32 as in zlib; `before` is that of what comes before `data`.
std::uint32_t crc32(const void *data, std::size_t bytes, std::uint32_t before = 0);

// Golden windows: what went into the model and came out of it when it was verified on the host.
//
// The data starts with "LEG1", the number of windows and the bytes of one record, little-endian. A record holds 1 if a
// recording starts with this window (else 0), every model input, and for each stage its outputs in full and one CRC32
// for each cache after the window; each part is filled up to a multiple of 4 bytes.
//
// A model with a GRU or LSTM has "LEG2": caches stand in full as well, so that every window can start from the host's
// state, and before the records stands one number for each output and cache, stage by stage: by how many steps it may
// differ. Gates are float32, which a chip with fused multiply-add may round to the other side of a tie.
class Golden {
public:
    // ESP_ERR_NOT_FOUND: no data, or no window in it. ESP_ERR_INVALID_SIZE: the data is not of this model. Both must
    // outlive the object.
    esp_err_t init(const ModelConfig &config, const GoldenData &data);

    std::size_t windows() const { return windows_; }
    bool starts_recording(std::size_t window) const;
    const std::uint8_t *input(std::size_t window, std::size_t input) const;
    const std::uint8_t *output(std::size_t window, std::size_t stage, std::size_t output) const;

    // Whether caches stand in full; their CRC32 where they don't.
    bool has_states() const { return has_states_; }
    const std::uint8_t *cache(std::size_t window, std::size_t stage, std::size_t cache) const;
    std::uint32_t cache_crc(std::size_t window, std::size_t stage, std::size_t cache) const;

    // Steps that an output or a cache may be off; 0 without states.
    std::uint32_t output_tolerance(std::size_t stage, std::size_t output) const;
    std::uint32_t cache_tolerance(std::size_t stage, std::size_t cache) const;

private:
    std::uint32_t tolerance(std::size_t stage, std::size_t position) const;
    std::size_t cache_bytes(std::size_t stage, std::size_t caches) const;
    std::size_t stage_offset(std::size_t stage) const;
    const std::uint8_t *record(std::size_t window) const { return records_ + window * record_bytes_; }

    ModelConfig config_;
    bool has_states_ = false;
    const std::uint8_t *tolerances_ = nullptr;
    const std::uint8_t *records_ = nullptr;
    std::size_t record_bytes_ = 0;
    std::size_t windows_ = 0;
};

} // namespace lesp::streaming
