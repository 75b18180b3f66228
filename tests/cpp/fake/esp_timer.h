// Stands for esp_timer/include/esp_timer.h of ESP-IDF 5.3.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
int64_t esp_timer_get_time(void);
#ifdef __cplusplus
}
#endif
