// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// For sources that need no microphone, and for chips without I2S.
#include "audio/microphone.hpp"
#include "esp_log.h"
#include "sdkconfig.h"

esp_err_t lesp::audio::open_microphone(int, SampleSource **)
{
    ESP_LOGE("microphone",
             "this firmware was built without one; choose the source \"Microphone\" in menuconfig, on a chip with I2S "
             "(" CONFIG_IDF_TARGET " is the one it was built for)");
    return ESP_ERR_NOT_SUPPORTED;
}
