// Stands for esphome/core/log.h of ESPHome 2026.6.
#pragma once

#include <cstdio>

#define ESP_LOGE(tag, format, ...) std::printf("E %s: " format "\n", tag, ##__VA_ARGS__)
#define ESP_LOGW(tag, format, ...) std::printf("W %s: " format "\n", tag, ##__VA_ARGS__)
#define ESP_LOGCONFIG(tag, format, ...) std::printf("C %s: " format "\n", tag, ##__VA_ARGS__)
