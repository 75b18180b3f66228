// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The SD card of the XIAO ESP32S3 Sense, on SPI.
#include "audio/card.hpp"
#include "driver/sdspi_host.h"
#include "driver/spi_master.h"

#include "esp_vfs_fat.h"

// The initializers of ESP-IDF 5.3 leave out members that it added later, of which -Wextra warns in C++.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

esp_err_t lesp::audio::mount_card()
{
    constexpr spi_host_device_t kBus = SPI2_HOST;
    spi_bus_config_t pins = {};
    pins.sclk_io_num = 7;
    pins.miso_io_num = 8;
    pins.mosi_io_num = 9;
    pins.quadwp_io_num = -1;
    pins.quadhd_io_num = -1;
    if (const esp_err_t error = spi_bus_initialize(kBus, &pins, SDSPI_DEFAULT_DMA); error != ESP_OK) {
        return error;
    }
    sdmmc_host_t host = SDSPI_HOST_DEFAULT();
    host.slot = kBus;
    sdspi_device_config_t slot = SDSPI_DEVICE_CONFIG_DEFAULT();
    slot.host_id = kBus;
    slot.gpio_cs = GPIO_NUM_21;
    esp_vfs_fat_sdmmc_mount_config_t mount = {};
    mount.max_files = 4;
    mount.allocation_unit_size = 16 * 1024;
    sdmmc_card_t *card = nullptr;
    const esp_err_t error = esp_vfs_fat_sdspi_mount("/sdcard", &host, &slot, &mount, &card);
    if (error != ESP_OK) {
        spi_bus_free(kBus); // so that a later attempt finds it free
    }
    return error;
}
