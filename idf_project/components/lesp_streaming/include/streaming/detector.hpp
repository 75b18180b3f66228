// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "esp_err.h"
#include "streaming/heap_array.hpp"

namespace lesp::streaming {

// Threshold of a class that makes no events.
inline constexpr float kNever = std::numeric_limits<float>::infinity();

// How outputs become scores.
enum class Activation : std::uint8_t { kSoftmax, kSigmoid, kNone };

struct DetectorConfig {
    std::span<const float> thresholds = {}; // one per class; empty: no detector
    int average = 1;                        // frames of the moving average
    int minimum = 1;                        // frames in a row over the threshold
    int refractory = 0;                     // frames after an event in which nothing counts
    Activation activation = Activation::kSoftmax;
    bool retrigger = false; // a class that has stayed over its threshold since its event fires again
};

// A class that fired.
struct Event {
    std::uint32_t frame = 0; // output frame since the last reset
    std::size_t label = 0;   // index of the class
    float score = 0;         // mean of its scores at that moment
};

// Turns the outputs of one frame into scores, in place.
void compute_scores(std::span<float> values, Activation activation);

// Scores per frame become events, exactly as `lightning_esp.detection.detector` does it on the host.
//
// A class fires when the mean of its scores over the last `average` frames (zeros before the start) has reached its
// threshold for `minimum` frames in a row; of several the one with the highest mean, of equal ones the first. Then
// nothing counts for `refractory` frames, and the class fires again only once its mean has been below its threshold.
// Nothing is allocated after init.
class Detector {
public:
    // `config.thresholds` must outlive the detector. ESP_ERR_INVALID_ARG: no thresholds, or a number of frames is out
    // of range. ESP_ERR_NO_MEM: no memory for `average` frames.
    esp_err_t init(const DetectorConfig &config);

    // Takes one frame, a score per class. True: a class fired. False: none did, or the number of scores is wrong.
    bool step(std::span<const float> scores, Event *event);

    // Starts a new recording.
    void reset();

    std::size_t classes() const { return config_.thresholds.size(); }
    const DetectorConfig &config() const { return config_; }

private:
    float mean(std::size_t label) const;

    DetectorConfig config_;
    HeapArray<float> recent_; // `average` frames of scores, a ring
    HeapArray<int> streaks_;
    HeapArray<bool> spent_;  // fired, and not below the threshold since
    std::size_t oldest_ = 0; // frame of the ring that comes first in time
    int resting_ = 0;
    std::uint32_t frame_ = 0;
};

} // namespace lesp::streaming
