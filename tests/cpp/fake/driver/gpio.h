// Stands for esp_driver_gpio/include/driver/gpio.h of ESP-IDF 5.3.
#pragma once

#include <stdint.h>

#include "esp_err.h"

typedef enum { GPIO_NUM_5 = 5 } gpio_num_t;
typedef enum { GPIO_MODE_OUTPUT = 2 } gpio_mode_t;

#ifdef __cplusplus
extern "C" {
#endif
esp_err_t gpio_set_direction(gpio_num_t gpio_num, gpio_mode_t mode);
esp_err_t gpio_set_level(gpio_num_t gpio_num, uint32_t level);
#ifdef __cplusplus
}
#endif
