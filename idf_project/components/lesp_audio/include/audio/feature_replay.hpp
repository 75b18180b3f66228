// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The self-test of the front end: golden samples through it, and its features compared with those of the host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "audio/feature_extractor.hpp"
#include "esp_err.h"
#include "streaming/config.hpp"
#include "streaming/front_end.hpp"

namespace lesp::audio {

// What the comparison found.
struct FeatureReport {
    std::size_t recordings = 0;
    std::size_t frames = 0;
    std::size_t values = 0;
    std::size_t differing = 0;   // features further apart than allowed
    std::size_t steps_off = 0;   // quantized features that are one step off; allowed on 1 % of the values
    std::size_t wrong = 0;       // quantized features that are further off
    float largest = 0;           // difference of features before mean and scale
    std::int64_t longest_us = 0; // for one frame
    std::int64_t total_us = 0;

    bool has_passed() const { return frames > 0 && differing == 0 && wrong == 0 && steps_off * 100 <= values; }

    // Prints one line.
    void print() const;
};

// How far a feature may be from the host's, times the larger of 1 and its size, before mean and scale. The transforms
// of the chips round differently from the host's, and from each other's: against the plain C one, LogMel differs by at
// most 2e-4, Mfcc and Spectrogram by at most 8e-4, of which up to 6.5e-4 lie between two builds of ESP-DL itself, with
// and without fused multiply-add. Features in fixed point have no tolerance: they are the host's.
inline constexpr float kFeatureTolerance = 2e-3f;

// Runs golden samples (`golden/<name>_audio.bin`, see lightning_esp.bundle.audio) through the front end in chunks of
// different sizes and compares frame by frame: features, and what the model's first input makes of them.
// ESP_ERR_NOT_FOUND: no data. ESP_ERR_INVALID_SIZE: the data is damaged, or of another front end. Else the errors of
// FeatureExtractor::init. `clock` gives microseconds; without it nothing is timed. `idle` is called now and then.
esp_err_t replay_features(const streaming::ModelConfig &model,
                          const streaming::FrontEndConfig &front_end,
                          const streaming::GoldenData &data,
                          FeatureReport *report,
                          std::int64_t (*clock)() = nullptr,
                          void (*idle)() = nullptr);

} // namespace lesp::audio
