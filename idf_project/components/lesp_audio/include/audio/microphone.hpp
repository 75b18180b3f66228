// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "audio/sample_source.hpp"
#include "esp_err.h"

namespace lesp::audio {

// Opens the microphone of the board that the project is built for (`boards/`), once; it stays open.
// ESP_ERR_NOT_SUPPORTED: this chip or board has none. Else the errors of its driver; the log says more.
esp_err_t open_microphone(int sample_rate, SampleSource **microphone);

} // namespace lesp::audio
