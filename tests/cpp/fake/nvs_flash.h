// Stands for nvs_flash/include/nvs_flash.h of ESP-IDF 5.3.
#pragma once

#include "nvs.h"

#ifdef __cplusplus
extern "C" {
#endif
esp_err_t nvs_flash_init(void);
#ifdef __cplusplus
}
#endif
