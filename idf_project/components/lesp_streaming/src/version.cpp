// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/version.hpp"

// CMake reads it in ESP-DL's manifest; ESP-DL itself does not say it.
#ifndef STREAMING_ESP_DL_VERSION
#define STREAMING_ESP_DL_VERSION ""
#endif

std::string_view lesp::streaming::esp_dl_version()
{
    return STREAMING_ESP_DL_VERSION;
}
