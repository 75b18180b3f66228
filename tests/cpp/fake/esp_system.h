// Stands for esp_system/include/esp_system.h of ESP-IDF 5.3.
#pragma once

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif
void esp_restart(void) __attribute__((__noreturn__));
#ifdef __cplusplus
}
#endif
