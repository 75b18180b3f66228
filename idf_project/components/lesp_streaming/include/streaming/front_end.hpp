// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// How audio becomes the model's input, as constants. Exports generate them (`model_config.hpp`);
// `components/lesp_audio` builds ESP-DL's `dl::audio`, or its own integer form of it, from them. Nothing here depends
// on ESP-DL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lesp::streaming {

// Class of `dl::audio`; kNone: the model takes frames of something else.
enum class FrontEndKind : std::uint8_t { kNone, kFbank, kMfcc, kSpectrogram };

// How features are computed: by `dl::audio` in float32, or by `audio::FixedPointFeatures` in integers, which takes a
// chip without a floating-point unit a thirtieth of the instructions.
enum class Arithmetic : std::uint8_t { kFloat, kFixedPoint };

enum class WindowFunction : std::uint8_t { kHanning, kHann, kSine, kHamming, kPovey, kBlackman, kRectangular };

// Field names, units and meaning are those of `dl::audio::SpeechFeatureConfig`, down to `remove_dc_offset`.
struct FrontEndConfig {
    FrontEndKind kind = FrontEndKind::kNone;
    int sample_rate = 16000;
    int frame_length = 25; // milliseconds
    int frame_shift = 10;  // milliseconds
    int num_mel_bins = 26;
    int num_ceps = 13;
    float preemphasis = 0.97f;
    float cepstral_lifter = 22.0f;
    WindowFunction window_type = WindowFunction::kHanning;
    float low_freq = 80.0f;
    float high_freq = 7600.0f;
    float log_epsilon = 1.1920928955078125e-07f;
    int use_log_fbank = 1;
    bool raw_energy = true;
    bool use_power = true;
    bool use_energy = false;
    bool remove_dc_offset = true;

    Arithmetic arithmetic = Arithmetic::kFloat;
    int bands = 0;         // features in one frame
    int frame_samples = 0; // samples in one frame
    int hop_samples = 0;   // samples from one frame to the next
    // (feature - mean) * scale is what the model sees; one of each per band.
    std::span<const float> mean = {};
    std::span<const float> scale = {};
};

// Whether tables can be made of the numbers: exports write no others, and a container may hold any.
constexpr bool is_computable(const FrontEndConfig &config)
{
    const float top = config.high_freq > 0 ? config.high_freq : static_cast<float>(config.sample_rate / 2);
    const bool has_bands = config.kind != FrontEndKind::kSpectrogram;
    return config.preemphasis >= 0 && config.preemphasis < 1 && config.cepstral_lifter >= 0 &&
           config.cepstral_lifter <= 1e6f && config.log_epsilon >= 1e-37f && config.log_epsilon <= 1e30f &&
           (!has_bands || (config.low_freq >= 0 && top > config.low_freq && top <= 1e6f));
}

// What the detector made of the golden windows.
struct GoldenEvent {
    std::uint32_t recording = 0;
    std::uint32_t frame = 0; // output frame of that recording
    std::uint32_t label = 0;
};

} // namespace lesp::streaming
