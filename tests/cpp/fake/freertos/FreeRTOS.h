// Stands for freertos/FreeRTOS.h of ESP-IDF 5.3.
#pragma once

#include <stdint.h>

typedef uint32_t TickType_t;
