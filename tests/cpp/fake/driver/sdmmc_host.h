// Stands for esp_driver_sdmmc/include/driver/sdmmc_host.h and its defaults, of ESP-IDF 5.3.
#pragma once

#include <stdint.h>

typedef enum { GPIO_NUM_38 = 38, GPIO_NUM_39 = 39, GPIO_NUM_40 = 40 } sdmmc_gpio_num_t;
typedef struct {
    int slot;
} sdmmc_host_t;
typedef struct {
    sdmmc_gpio_num_t clk, cmd, d0;
    uint8_t width;
    uint32_t flags;
} sdmmc_slot_config_t;
typedef struct sdmmc_card_t sdmmc_card_t;

#define SDMMC_HOST_DEFAULT()                                                                                           \
    {                                                                                                                  \
        .slot = 1                                                                                                      \
    }
#define SDMMC_SLOT_CONFIG_DEFAULT()                                                                                    \
    {                                                                                                                  \
    }
#define SDMMC_SLOT_FLAG_INTERNAL_PULLUP (1 << 0)
