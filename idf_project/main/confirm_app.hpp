// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sdkconfig.h"
#if CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE
#include <cstdio>

#include "esp_ota_ops.h"
#endif

// Keeps an app that came over the air: it does what it is for, so the next reset need not go back to the app before.
inline void confirm_app()
{
#if CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE
    esp_ota_img_states_t state = ESP_OTA_IMG_UNDEFINED;
    const esp_err_t known = esp_ota_get_state_partition(esp_ota_get_running_partition(), &state);
    if (known != ESP_OK || state != ESP_OTA_IMG_PENDING_VERIFY) {
        return; // from a cable, or kept already
    }
    if (const esp_err_t error = esp_ota_mark_app_valid_cancel_rollback(); error != ESP_OK) {
        std::printf("this app is not kept, and the next reset goes back to the one before (%s)\n",
                    esp_err_to_name(error));
    }
#endif
}
