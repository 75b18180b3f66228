// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The SD card of the ESP32-S3-EYE, on one data line.
#include "audio/card.hpp"
#include "driver/sdmmc_host.h"

#include "esp_vfs_fat.h"

esp_err_t lesp::audio::mount_card()
{
    const sdmmc_host_t host = SDMMC_HOST_DEFAULT();
    sdmmc_slot_config_t slot = SDMMC_SLOT_CONFIG_DEFAULT();
    slot.clk = GPIO_NUM_39;
    slot.cmd = GPIO_NUM_38;
    slot.d0 = GPIO_NUM_40;
    slot.width = 1;
    slot.flags |= SDMMC_SLOT_FLAG_INTERNAL_PULLUP;
    esp_vfs_fat_sdmmc_mount_config_t mount = {};
    mount.max_files = 4;
    mount.allocation_unit_size = 16 * 1024;
    sdmmc_card_t *card = nullptr;
    return esp_vfs_fat_sdmmc_mount("/sdcard", &host, &slot, &mount, &card);
}
