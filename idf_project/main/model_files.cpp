#include "model_files.hpp"

#include "bundled_model.hpp"
#include "sdkconfig.h"

#if CONFIG_STREAMING_MODEL_PARTITION

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "esp_partition.h"
#include "spi_flash_mmap.h"
#include "streaming/golden.hpp"

static esp_err_t compare(const esp_partition_t &partition, const streaming::ModelFile &file)
{
    char chunk[256];
    std::uint32_t crc = 0;
    for (std::size_t offset = 0; offset < file.bytes; offset += sizeof(chunk)) {
        const std::size_t count = std::min(sizeof(chunk), file.bytes - offset);
        if (const esp_err_t error = esp_partition_read(&partition, offset, chunk, count); error != ESP_OK) {
            std::printf("Partition %s cannot be read.\n", file.partition);
            return error;
        }
        crc = streaming::crc32(chunk, count, crc);
    }
    if (crc == file.crc) {
        return ESP_OK;
    }
    std::printf("Partition %s does not hold %s of this bundle for " CONFIG_IDF_TARGET
                ". `idf.py flash` writes it; alone: parttool.py write_partition --partition-name=%s "
                "--input=components/model/" CONFIG_IDF_TARGET "/%s\n",
                file.partition,
                file.name,
                file.partition,
                file.name);
    return ESP_ERR_INVALID_CRC;
}

static esp_err_t check_partition(const streaming::ModelFile &file, std::size_t *pages)
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
    static const char *labels[std::size(bundled::kModelFiles)];
    std::size_t pages = 0;
    for (std::size_t i = 0; i < std::size(labels); ++i) {
        labels[i] = bundled::kModelFiles[i].partition;
        if (const esp_err_t error = check_partition(bundled::kModelFiles[i], &pages); error != ESP_OK) {
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
    *files = {labels, streaming::Location::kPartition};
    return ESP_OK;
}

#elif CONFIG_STREAMING_MODEL_SDCARD

#include <cstdio>
#include <iterator>

#include "audio/byte_source.hpp"
#include "audio/card.hpp"
#include "streaming/golden.hpp"

static esp_err_t check_file(const char *path, const streaming::ModelFile &file)
{
    audio::FileBytes bytes;
    if (bytes.open(path) != ESP_OK) {
        std::printf(
            "There is no file %s. Copy components/model/" CONFIG_IDF_TARGET "/%s to the card.\n", path, file.name);
        return ESP_ERR_NOT_FOUND;
    }
    char chunk[256];
    std::uint32_t crc = 0;
    std::size_t size = 0;
    while (const std::size_t count = bytes.read(chunk, sizeof(chunk))) {
        crc = streaming::crc32(chunk, count, crc);
        size += count;
    }
    if (size == file.bytes && crc == file.crc) {
        return ESP_OK;
    }
    std::printf("%s has %u bytes and is not %s of this bundle for " CONFIG_IDF_TARGET
                ", which has %u. Copy components/model/" CONFIG_IDF_TARGET "/%s to the card.\n",
                path,
                static_cast<unsigned>(size),
                file.name,
                static_cast<unsigned>(file.bytes),
                file.name);
    return size == file.bytes ? ESP_ERR_INVALID_CRC : ESP_ERR_INVALID_SIZE;
}

esp_err_t find_model(ModelFiles *files)
{
    static char paths[std::size(bundled::kModelFiles)][128];
    static const char *places[std::size(paths)];
    if (const esp_err_t error = audio::mount_card(); error != ESP_OK) {
        std::printf("The SD card cannot be mounted (%s). Is one in the slot?\n", esp_err_to_name(error));
        return error;
    }
    for (std::size_t i = 0; i < std::size(paths); ++i) {
        const streaming::ModelFile &file = bundled::kModelFiles[i];
        const int length =
            std::snprintf(paths[i], sizeof(paths[i]), "%s/%s", CONFIG_STREAMING_MODEL_DIRECTORY, file.name);
        if (length < 0 || static_cast<std::size_t>(length) >= sizeof(paths[i])) {
            std::printf("The path of %s is longer than %u characters.\n",
                        file.name,
                        static_cast<unsigned>(sizeof(paths[i]) - 1));
            return ESP_ERR_INVALID_ARG;
        }
        places[i] = paths[i];
        if (const esp_err_t error = check_file(paths[i], file); error != ESP_OK) {
            return error;
        }
    }
    *files = {places, streaming::Location::kSdCard};
    return ESP_OK;
}

#else

esp_err_t find_model(ModelFiles *files)
{
    *files = {bundled::kFiles, streaming::Location::kRodata};
    return ESP_OK;
}

#endif
