// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"

namespace lesp::audio {

// Where samples come from: a microphone, a file.
class SampleSource {
public:
    virtual ~SampleSource() = default;

    virtual int sample_rate() const = 0;

    // Waits for samples and returns how many came, at least one and at most `samples.size()`, in `count`.
    // ESP_ERR_NOT_FINISHED: none will come any more. Any other error: the source is broken until `restart`.
    virtual esp_err_t read(std::span<std::int16_t> samples, std::size_t *count) = 0;

    // Lets go of the driver, so that the chip may sleep; `restart` opens it again. A source that cannot does nothing.
    virtual void close() {}

    // Opens a broken or closed source anew, after a time-out of its driver say. ESP_ERR_NOT_SUPPORTED: it cannot. Else
    // the errors of opening it.
    virtual esp_err_t restart() { return ESP_ERR_NOT_SUPPORTED; }
};

} // namespace lesp::audio
