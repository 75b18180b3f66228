// Stands for fatfs/vfs/esp_vfs_fat.h of ESP-IDF 5.3.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "driver/sdmmc_host.h"
#include "driver/sdspi_host.h"
#include "esp_err.h"

typedef struct {
    bool format_if_mount_failed;
    int max_files;
    size_t allocation_unit_size;
} esp_vfs_fat_sdmmc_mount_config_t;

#ifdef __cplusplus
extern "C" {
#endif
esp_err_t esp_vfs_fat_sdmmc_mount(const char *base_path,
                                  const sdmmc_host_t *host_config,
                                  const void *slot_config,
                                  const esp_vfs_fat_sdmmc_mount_config_t *mount_config,
                                  sdmmc_card_t **out_card);
esp_err_t esp_vfs_fat_sdspi_mount(const char *base_path,
                                  const sdmmc_host_t *host_config,
                                  const sdspi_device_config_t *slot_config,
                                  const esp_vfs_fat_sdmmc_mount_config_t *mount_config,
                                  sdmmc_card_t **out_card);
#ifdef __cplusplus
}
#endif
