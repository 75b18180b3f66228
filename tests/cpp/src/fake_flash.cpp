#include "fake_flash.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "esp_partition.h"
#include "nvs.h"

long operations_until_cut = 0;
bool is_powered = true;
bool does_cut_entry_stay = false;
long operations = 0;
int open_mappings = 0;
bool has_partitions = true;

alignas(16) static std::uint8_t flash[2][kPartitionBytes];
static std::map<std::string, std::vector<std::uint8_t>> entries;
static std::uint8_t kept_flash[2][kPartitionBytes];
static std::map<std::string, std::vector<std::uint8_t>> kept_entries;
static std::vector<std::string> handles = {""};

std::uint8_t *flash_of(int partition)
{
    return flash[partition];
}

void restore_power()
{
    is_powered = true;
    operations_until_cut = 0;
    open_mappings = 0;
}

void clear_flash()
{
    std::memset(flash, 0xff, sizeof(flash));
    entries.clear();
    restore_power();
    operations = 0;
}

void keep_flash()
{
    std::memcpy(kept_flash, flash, sizeof(flash));
    kept_entries = entries;
}

void put_back_flash()
{
    std::memcpy(flash, kept_flash, sizeof(flash));
    entries = kept_entries;
}

// Whether the power fails in this operation.
static bool does_power_fail()
{
    ++operations;
    if (operations_until_cut > 0 && --operations_until_cut == 0) {
        is_powered = false;
        return true;
    }
    return false;
}

static std::uint8_t *bytes_of(const esp_partition_t *partition)
{
    return flash[partition->address];
}

static esp_err_t write_entry(const std::string &name, const void *value, std::size_t size)
{
    if (!is_powered) {
        return ESP_FAIL;
    }
    const bool has_failed = does_power_fail();
    if (!has_failed || does_cut_entry_stay) {
        const auto *const first = static_cast<const std::uint8_t *>(value);
        entries[name] = std::vector<std::uint8_t>(first, first + size);
    }
    return has_failed ? ESP_FAIL : ESP_OK;
}

static const std::vector<std::uint8_t> *find_entry(nvs_handle_t handle, const char *key)
{
    const auto found = entries.find(handles[handle] + "/" + key);
    return found == entries.end() ? nullptr : &found->second;
}

extern "C" {

const esp_partition_t *
esp_partition_find_first(esp_partition_type_t type, esp_partition_subtype_t subtype, const char *label)
{
    static const esp_partition_t partitions[] = {{0, kPartitionBytes, "model_a"}, {1, kPartitionBytes, "model_b"}};
    for (const esp_partition_t &partition : partitions) {
        if (has_partitions && type == ESP_PARTITION_TYPE_DATA && subtype == ESP_PARTITION_SUBTYPE_ANY &&
            std::strcmp(partition.label, label) == 0) {
            return &partition;
        }
    }
    return nullptr;
}

esp_err_t esp_partition_read(const esp_partition_t *partition, size_t offset, void *out, size_t size)
{
    if (offset + size > partition->size) {
        return ESP_ERR_INVALID_SIZE;
    }
    std::memcpy(out, bytes_of(partition) + offset, size);
    return ESP_OK;
}

// As encrypted flash takes it: multiples of 16; and bits become 0 only.
esp_err_t esp_partition_write(const esp_partition_t *partition, size_t offset, const void *data, size_t size)
{
    if (!is_powered) {
        return ESP_FAIL;
    }
    if (offset + size > partition->size || offset % 16 != 0 || size % 16 != 0) {
        return ESP_ERR_INVALID_SIZE;
    }
    const bool has_failed = does_power_fail();
    for (std::size_t i = 0; i < (has_failed ? size / 2 : size); ++i) {
        bytes_of(partition)[offset + i] &= static_cast<const std::uint8_t *>(data)[i];
    }
    return has_failed ? ESP_FAIL : ESP_OK;
}

esp_err_t esp_partition_erase_range(const esp_partition_t *partition, size_t offset, size_t size)
{
    if (!is_powered) {
        return ESP_FAIL;
    }
    if (offset + size > partition->size || offset % 4096 != 0 || size % 4096 != 0) {
        return ESP_ERR_INVALID_SIZE;
    }
    const bool has_failed = does_power_fail();
    std::memset(bytes_of(partition) + offset, 0xff, has_failed ? size / 2 : size);
    return has_failed ? ESP_FAIL : ESP_OK;
}

esp_err_t esp_partition_mmap(const esp_partition_t *partition,
                             size_t offset,
                             size_t size,
                             esp_partition_mmap_memory_t,
                             const void **address,
                             esp_partition_mmap_handle_t *handle)
{
    if (offset + size > partition->size) {
        return ESP_ERR_INVALID_SIZE;
    }
    *address = bytes_of(partition) + offset;
    *handle = static_cast<esp_partition_mmap_handle_t>(++open_mappings);
    return ESP_OK;
}

void esp_partition_munmap(esp_partition_mmap_handle_t)
{
    --open_mappings;
}

esp_err_t nvs_open(const char *name, nvs_open_mode_t mode, nvs_handle_t *handle)
{
    const std::string prefix = std::string(name) + "/";
    const bool exists =
        std::any_of(entries.begin(), entries.end(), [&](const auto &each) { return each.first.starts_with(prefix); });
    if (mode == NVS_READONLY && !exists) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    handles.emplace_back(name);
    *handle = static_cast<nvs_handle_t>(handles.size() - 1);
    return ESP_OK;
}

esp_err_t nvs_get_u64(nvs_handle_t handle, const char *key, uint64_t *value)
{
    const auto *const found = find_entry(handle, key);
    if (found == nullptr || found->size() != sizeof(*value)) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    std::memcpy(value, found->data(), sizeof(*value));
    return ESP_OK;
}

esp_err_t nvs_set_u64(nvs_handle_t handle, const char *key, uint64_t value)
{
    return write_entry(handles[handle] + "/" + key, &value, sizeof(value));
}

esp_err_t nvs_get_blob(nvs_handle_t handle, const char *key, void *value, size_t *length)
{
    const auto *const found = find_entry(handle, key);
    if (found == nullptr) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    if (value != nullptr && *length < found->size()) {
        return ESP_ERR_INVALID_SIZE;
    }
    if (value != nullptr) {
        std::memcpy(value, found->data(), found->size());
    }
    *length = found->size();
    return ESP_OK;
}

esp_err_t nvs_set_blob(nvs_handle_t handle, const char *key, const void *value, size_t length)
{
    return write_entry(handles[handle] + "/" + key, value, length);
}

esp_err_t nvs_erase_key(nvs_handle_t handle, const char *key)
{
    if (!is_powered) {
        return ESP_FAIL;
    }
    const bool has_failed = does_power_fail();
    const bool is_gone = (!has_failed || does_cut_entry_stay) && entries.erase(handles[handle] + "/" + key) > 0;
    if (has_failed) {
        return ESP_FAIL;
    }
    return is_gone ? ESP_OK : ESP_ERR_NVS_NOT_FOUND;
}

esp_err_t nvs_commit(nvs_handle_t)
{
    return is_powered ? ESP_OK : ESP_FAIL;
}

void nvs_close(nvs_handle_t) {}

} // extern "C"
