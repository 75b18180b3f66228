// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The model in partitions of its own.
#include "model_files.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "bundled_model.hpp"
#include "esp_partition.h"
#include "sdkconfig.h"
#include "spi_flash_mmap.h"
#include "streaming/golden.hpp"

static esp_err_t compare(const esp_partition_t &partition, const lesp::streaming::ModelFile &file)
{
    char chunk[256];
    std::uint32_t crc = 0;
    for (std::size_t offset = 0; offset < file.bytes; offset += sizeof(chunk)) {
        const std::size_t count = std::min(sizeof(chunk), file.bytes - offset);
        if (const esp_err_t error = esp_partition_read(&partition, offset, chunk, count); error != ESP_OK) {
            std::printf("Partition %s cannot be read.\n", file.partition);
            return error;
        }
        crc = lesp::streaming::crc32(chunk, count, crc);
    }
    if (crc == file.crc) {
        return ESP_OK;
    }
    std::printf("Partition %s does not hold %s of this bundle for " CONFIG_IDF_TARGET
                ". `idf.py flash` writes it; alone: parttool.py write_partition --partition-name=%s "
                "--input=components/lesp_model/" CONFIG_IDF_TARGET "/%s\n",
                file.partition,
                file.name,
                file.partition,
                file.name);
    return ESP_ERR_INVALID_CRC;
}

static esp_err_t check_partition(const lesp::streaming::ModelFile &file, std::size_t *pages)
{
    const esp_partition_t *partition =
        esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, file.partition);
    if (partition == nullptr) {
        std::printf("There is no data partition %s. Build with the table that has it: idf.py -D MODEL=partition "
                    "set-target " CONFIG_IDF_TARGET "\n",
                    file.partition);
        return ESP_ERR_NOT_FOUND;
    }
    if (partition->size < file.bytes) {
        std::printf("Partition %s is too small: %s takes %u bytes, it has %u, %u are missing.\n",
                    file.partition,
                    file.name,
                    static_cast<unsigned>(file.bytes),
                    static_cast<unsigned>(partition->size),
                    static_cast<unsigned>(file.bytes - partition->size));
        return ESP_ERR_INVALID_SIZE;
    }
    const std::size_t first = partition->address / SPI_FLASH_MMU_PAGE_SIZE;
    const std::size_t last = (partition->address + partition->size - 1) / SPI_FLASH_MMU_PAGE_SIZE;
    *pages += last - first + 1;
    return compare(*partition, file);
}

esp_err_t find_model(ModelFiles *files)
{
    static const char *labels[std::size(lesp::bundled::kModelFiles)];
    std::size_t pages = 0;
    for (std::size_t i = 0; i < std::size(labels); ++i) {
        labels[i] = lesp::bundled::kModelFiles[i].partition;
        if (const esp_err_t error = check_partition(lesp::bundled::kModelFiles[i], &pages); error != ESP_OK) {
            return error;
        }
    }
    // ESP-DL stops the chip where a partition cannot be mapped.
    const std::size_t free = spi_flash_mmap_get_free_pages(SPI_FLASH_MMAP_DATA);
    if (free < pages) {
        std::printf("The partitions of the model take %u pages of address space, %u are free, %u are missing.\n",
                    static_cast<unsigned>(pages),
                    static_cast<unsigned>(free),
                    static_cast<unsigned>(pages - free));
        return ESP_ERR_NO_MEM;
    }
    *files = {labels, lesp::streaming::Location::kPartition};
    return ESP_OK;
}
