// Stands for esp_rom/include/esp_rom_crc.h of ESP-IDF 5.3.
#pragma once

#include <stdint.h>

// The register is inverted before and after, so that calls can be chained and 0 begins.
inline uint32_t esp_rom_crc32_le(uint32_t crc, const uint8_t *buf, uint32_t len)
{
    crc = ~crc;
    for (uint32_t i = 0; i < len; ++i) {
        crc ^= buf[i];
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
        }
    }
    return ~crc;
}
