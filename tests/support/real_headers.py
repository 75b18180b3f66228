"""Places of ESP-DL's own headers, and stand-ins for those of ESP-IDF that they include."""

from __future__ import annotations

# What the headers of ESP-DL themselves want of ESP-IDF.
STUBS = {
    "sdkconfig.h": "#include <assert.h>\n#include <limits.h>\n#define HEAP_IRAM_ATTR\n",
    "soc/soc_caps.h": "",
    "esp_memory_utils.h": "",
    "esp_mmu_map.h": "",
    "esp_partition.h": "",
    "spi_flash_mmap.h": "",
    "esp_system.h": '#include "esp_err.h"\n#include "esp_heap_caps.h"\n',
    "esp_cpu.h": "#include <stdint.h>\nstatic inline uint32_t esp_cpu_get_cycle_count(void) { return 0; }\n",
    "esp_idf_version.h": "#define ESP_IDF_VERSION_VAL(a, b, c) ((a) << 16 | (b) << 8 | (c))\n#define ESP_IDF_VERSION 0x050300\n",
    "esp_heap_caps.h": (
        "#include <stddef.h>\n#include <stdint.h>\n#define MALLOC_CAP_SPIRAM 1024\n#define MALLOC_CAP_INTERNAL 2048\n"
        '#define MALLOC_CAP_DEFAULT 4096\n#define MALLOC_CAP_8BIT 4\nextern "C" void heap_caps_free(void *);\n'
        'extern "C" void *heap_caps_calloc(size_t, size_t, uint32_t);\n'
        'extern "C" size_t heap_caps_get_free_size(uint32_t);\nextern "C" size_t heap_caps_get_total_size(uint32_t);\n'
    ),
}


INCLUDES = ["dl", "dl/tool/include", "dl/tensor/include", "dl/base", "dl/math/include", "dl/model/include"]
