// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dl_speech_features.hpp"
#include "esp_err.h"
#include "streaming/front_end.hpp"
#include "streaming/heap_array.hpp"

namespace lesp::audio {

// Builds the front end of ESP-DL's `dl::audio` that a config names. On an error the log says more: ESP_ERR_NO_MEM;
// ESP_ERR_INVALID_VERSION: it makes other frames than `config` says; ESP_ERR_NOT_SUPPORTED: it was not linked.
esp_err_t make_float_front_end(const streaming::FrontEndConfig &config,
                               streaming::HeapPointer<dl::audio::SpeechFeatureBase> *front_end);

} // namespace lesp::audio
