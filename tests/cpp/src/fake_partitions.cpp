// Data partitions: the files of the directory that FAKE_PARTITIONS names, by label. FAKE_PAGES is how many pages of
// address space are free.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "esp_partition.h"
#include "spi_flash_mmap.h"

static std::FILE *open_partition(const char *label)
{
    const char *directory = std::getenv("FAKE_PARTITIONS");
    return directory != nullptr ? std::fopen((std::string(directory) + "/" + label).c_str(), "rb") : nullptr;
}

extern "C" {

const esp_partition_t *
esp_partition_find_first(esp_partition_type_t type, esp_partition_subtype_t subtype, const char *label)
{
    static esp_partition_t partition;
    std::FILE *file = open_partition(label);
    if (file == nullptr || type != ESP_PARTITION_TYPE_DATA || subtype != ESP_PARTITION_SUBTYPE_ANY) {
        return nullptr;
    }
    std::fseek(file, 0, SEEK_END);
    partition.address = 0x1fff00; // ends in the next page
    partition.size = static_cast<uint32_t>(std::ftell(file));
    std::strncpy(partition.label, label, sizeof(partition.label) - 1);
    std::fclose(file);
    return &partition;
}

esp_err_t esp_partition_read(const esp_partition_t *partition, size_t offset, void *out, size_t size)
{
    std::FILE *file = open_partition(partition->label);
    std::fseek(file, static_cast<long>(offset), SEEK_SET);
    const size_t count = std::fread(out, 1, size, file);
    std::fclose(file);
    return count == size ? ESP_OK : ESP_FAIL;
}

esp_err_t esp_partition_mmap(const esp_partition_t *partition,
                             size_t offset,
                             size_t size,
                             esp_partition_mmap_memory_t,
                             const void **address,
                             esp_partition_mmap_handle_t *)
{
    void *memory = nullptr;
    if (posix_memalign(&memory, 4096, size) != 0) {
        return ESP_ERR_NO_MEM;
    }
    *address = memory;
    return esp_partition_read(partition, offset, memory, size);
}

void esp_partition_munmap(esp_partition_mmap_handle_t) {}

// What these programs only read.
esp_err_t esp_partition_write(const esp_partition_t *, size_t, const void *, size_t)
{
    return ESP_FAIL;
}

esp_err_t esp_partition_erase_range(const esp_partition_t *, size_t, size_t)
{
    return ESP_FAIL;
}

uint32_t spi_flash_mmap_get_free_pages(spi_flash_mmap_memory_t)
{
    const char *pages = std::getenv("FAKE_PAGES");
    return pages != nullptr ? static_cast<uint32_t>(std::atoi(pages)) : 100;
}

} // extern "C"
