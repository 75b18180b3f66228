// Stands for spi_flash/include/spi_flash_mmap.h of ESP-IDF 5.3.
#pragma once

#include <stdint.h>

#define SPI_FLASH_MMU_PAGE_SIZE 0x10000

typedef enum { SPI_FLASH_MMAP_DATA, SPI_FLASH_MMAP_INST } spi_flash_mmap_memory_t;

#ifdef __cplusplus
extern "C" {
#endif
uint32_t spi_flash_mmap_get_free_pages(spi_flash_mmap_memory_t memory);
#ifdef __cplusplus
}
#endif
