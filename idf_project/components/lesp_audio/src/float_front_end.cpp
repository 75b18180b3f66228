// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The front end in float: all that links `dl::audio`. A file of an archive is linked for a symbol that is missing,
// which a weak function's is not; so components/lesp_model asks for `audio_float_front_end` where a model needs it.
#include "float_front_end.hpp"

#include <vector>

#include "dl_fbank.hpp"
#include "dl_mfcc.hpp"
#include "dl_spectrogram.hpp"
#include "esp_heap_caps.h"
#include "esp_log.h"

extern "C" {
extern const char audio_float_front_end;
const char audio_float_front_end = 1;
}

namespace lesp::audio {

using streaming::FrontEndConfig;
using streaming::FrontEndKind;
using streaming::WindowFunction;

static const char *const TAG = "audio";

static dl::audio::WinType to_dl(WindowFunction window)
{
    switch (window) {
    case WindowFunction::kHann:
        return dl::audio::WinType::HANN;
    case WindowFunction::kSine:
        return dl::audio::WinType::SINE;
    case WindowFunction::kHamming:
        return dl::audio::WinType::HAMMING;
    case WindowFunction::kPovey:
        return dl::audio::WinType::POVEY;
    case WindowFunction::kBlackman:
        return dl::audio::WinType::BLACKMAN;
    case WindowFunction::kRectangular:
        return dl::audio::WinType::RECTANGULAR;
    default:
        return dl::audio::WinType::HANNING;
    }
}

static dl::audio::SpeechFeatureConfig to_dl(const FrontEndConfig &config)
{
    dl::audio::SpeechFeatureConfig result;
    result.sample_rate = config.sample_rate;
    result.frame_length = config.frame_length;
    result.frame_shift = config.frame_shift;
    result.num_mel_bins = config.num_mel_bins;
    result.num_ceps = config.num_ceps;
    result.preemphasis = config.preemphasis;
    result.cepstral_lifter = config.cepstral_lifter;
    result.window_type = to_dl(config.window_type);
    result.low_freq = config.low_freq;
    result.high_freq = config.high_freq;
    result.log_epsilon = config.log_epsilon;
    result.use_log_fbank = config.use_log_fbank;
    result.raw_energy = config.raw_energy;
    result.use_power = config.use_power;
    result.use_energy = config.use_energy;
    result.remove_dc_offset = config.remove_dc_offset;
    return result;
}

// ESP-DL checks none of its allocations, so there must be enough before it starts: its largest block is one transform
// in internal memory, and all tables together are about four of them and the cosine transform.
static bool has_memory(const FrontEndConfig &config)
{
    std::size_t transform = sizeof(float);
    while (transform < sizeof(float) * static_cast<std::size_t>(config.frame_samples)) {
        transform *= 2;
    }
    const std::size_t cosines =
        config.kind == FrontEndKind::kMfcc ? sizeof(float) * config.num_mel_bins * config.num_ceps : 0;
    const std::size_t needed = 6 * transform + cosines;
    const std::size_t block = heap_caps_get_largest_free_block(MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT);
    const std::size_t free = heap_caps_get_free_size(MALLOC_CAP_8BIT);
    if (block >= transform && free >= needed) {
        return true;
    }
    ESP_LOGE(TAG,
             "the front end takes %u bytes, %u of them in one block of internal memory; %u are free, %u in one block",
             static_cast<unsigned>(needed),
             static_cast<unsigned>(transform),
             static_cast<unsigned>(free),
             static_cast<unsigned>(block));
    return false;
}

esp_err_t make_float_front_end(const FrontEndConfig &config,
                               streaming::HeapPointer<dl::audio::SpeechFeatureBase> *front_end)
{
    if (!has_memory(config)) {
        return ESP_ERR_NO_MEM;
    }
    const dl::audio::SpeechFeatureConfig options = to_dl(config);
    if (config.kind == FrontEndKind::kFbank) {
        *front_end = streaming::make_on_heap<dl::audio::Fbank>(options);
    } else if (config.kind == FrontEndKind::kMfcc) {
        *front_end = streaming::make_on_heap<dl::audio::MFCC>(options);
    } else {
        *front_end = streaming::make_on_heap<dl::audio::Spectrogram>(options);
    }
    if (!*front_end) {
        return ESP_ERR_NO_MEM;
    }
    const std::vector<int> shape = (*front_end)->get_output_shape(config.frame_samples);
    if (shape.size() != 2 || shape[0] != 1 || shape[1] != config.bands) {
        ESP_LOGE(TAG, "ESP-DL makes other frames of this config than the export says; is it the pinned version?");
        front_end->reset();
        return ESP_ERR_INVALID_VERSION;
    }
    return ESP_OK;
}

} // namespace lesp::audio
