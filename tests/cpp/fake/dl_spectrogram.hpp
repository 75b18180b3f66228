// Stands for audio/speech_features/dl_spectrogram.hpp of ESP-DL 3.3.9.
#pragma once

#include "dl_speech_features.hpp"

namespace dl {
namespace audio {

class Spectrogram : public SpeechFeatureBase {
public:
    Spectrogram(const SpeechFeatureConfig config, uint32_t caps = 0);
    esp_err_t process_frame(const float *input, int win_len, float *output, float prev = 0) override;
    esp_err_t process_frame(const int16_t *input, int win_len, float *output, int16_t prev = 0) override;
};

} // namespace audio
} // namespace dl
