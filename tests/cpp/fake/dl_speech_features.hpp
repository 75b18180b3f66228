// Stands for audio/speech_features/dl_speech_features.hpp and audio/common/dl_audio_common.hpp of ESP-DL 3.3.9.
//
// The features behind it (src/fake_audio.cpp) are computed from their definitions, with a discrete Fourier transform in
// double precision, so that they can be compared with those of the host.
#pragma once

#include <cstdint>
#include <vector>

#include "esp_err.h"

namespace dl {
namespace audio {

enum class WinType { HANNING, HANN, SINE, HAMMING, POVEY, BLACKMAN, RECTANGULAR, NONE };

struct SpeechFeatureConfig {
    int sample_rate = 16000;
    int frame_length = 25;
    int frame_shift = 10;
    int num_mel_bins = 26;
    int num_ceps = 13;
    float preemphasis = 0.97f;
    float cepstral_lifter = 22.0;
    WinType window_type = WinType::HANNING;
    float low_freq = 80.0f;
    float high_freq = 0.0f;
    float log_epsilon = 1.1920928955078125e-07f;
    int use_log_fbank = 1;
    bool raw_energy = true;
    bool use_power = true;
    bool use_energy = false;
    bool use_int16_fft = false;
    bool remove_dc_offset = true;
};

// Not ESP-DL's: above 0 while the stand-in computes, so that tests can tell its allocations from others.
inline thread_local int computing = 0;

class SpeechFeatureBase {
public:
    explicit SpeechFeatureBase(const SpeechFeatureConfig config, uint32_t caps);
    virtual ~SpeechFeatureBase() = default;

    virtual esp_err_t process_frame(const float *input, int win_len, float *output, float input_prev = 0) = 0;
    virtual esp_err_t process_frame(const int16_t *input, int win_len, float *output, int16_t input_prev = 0) = 0;
    std::vector<int> get_output_shape(int input_len);

protected:
    SpeechFeatureConfig m_config;
    int m_win_len;
    int m_win_step;
    int m_fft_size;
    int m_feature_dim;
};

} // namespace audio
} // namespace dl
