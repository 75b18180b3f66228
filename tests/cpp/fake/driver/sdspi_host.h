// Stands for esp_driver_sdspi/include/driver/sdspi_host.h and its defaults, of ESP-IDF 5.3.
#pragma once

#include "driver/sdmmc_host.h"
#include "driver/spi_master.h"

typedef enum { GPIO_NUM_13 = 13, GPIO_NUM_21 = 21 } sdspi_gpio_num_t;
typedef struct {
    spi_host_device_t host_id;
    sdspi_gpio_num_t gpio_cs;
} sdspi_device_config_t;

#define SDSPI_DEFAULT_HOST SPI2_HOST
#define SDSPI_DEFAULT_DMA SPI_DMA_CH_AUTO
#define SDSPI_HOST_DEFAULT()                                                                                           \
    {                                                                                                                  \
        .slot = SDSPI_DEFAULT_HOST                                                                                     \
    }
#define SDSPI_DEVICE_CONFIG_DEFAULT()                                                                                  \
    {                                                                                                                  \
        .host_id = SDSPI_DEFAULT_HOST, .gpio_cs = GPIO_NUM_13                                                          \
    }
