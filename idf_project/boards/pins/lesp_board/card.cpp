// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "audio/card.hpp"

esp_err_t lesp::audio::mount_card()
{
    return ESP_OK;
}
