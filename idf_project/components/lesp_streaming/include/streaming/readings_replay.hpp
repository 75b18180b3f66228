// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The self-test of a model that takes raw readings: golden readings, normalised and quantized, against golden windows.
#pragma once

#include <cstddef>

#include "esp_err.h"
#include "streaming/config.hpp"

namespace lesp::streaming {

// What the comparison found.
struct ReadingsReport {
    std::size_t windows = 0;
    std::size_t values = 0;
    std::size_t differing = 0; // integers of the first input that are not the host's

    bool has_passed() const { return windows > 0 && differing == 0; }

    // Prints one line.
    void print() const;
};

// Makes integers of golden readings (`golden/<name>_readings.bin`, see lightning_esp.bundle.readings), frame by frame,
// and compares them with the first input of the golden windows. ESP_ERR_NOT_FOUND: no data. ESP_ERR_INVALID_SIZE: the
// data is damaged, or of another model. ESP_ERR_NO_MEM: no memory. `idle` is called now and then.
esp_err_t replay_readings(const ModelConfig &config,
                          const GoldenData &golden,
                          const GoldenData &readings,
                          ReadingsReport *report,
                          void (*idle)() = nullptr);

} // namespace lesp::streaming
