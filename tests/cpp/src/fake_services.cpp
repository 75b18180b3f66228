// Locks of the power management, the default event loop, which calls its handlers at once, and an app that came over
// the air where FAKE_APP is "new"; "failed" is one that cannot be kept. Of what changes, stderr has a line.
#include "fake_services.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#include "esp_event.h"
#include "esp_heap_caps.h"
#include "esp_ota_ops.h"
#include "esp_pm.h"
#include "esp_system.h"

long power_locks = 0;
std::atomic<long> power_acquired = 0;
std::atomic<long> power_held = 0;

struct esp_pm_lock {
    bool is_held = false;
};

static void expect(bool holds, const char *what)
{
    if (!holds) {
        std::fprintf(stderr, "FAKE power lock %s\n", what);
        std::abort();
    }
}

extern "C" {

esp_err_t esp_pm_lock_create(esp_pm_lock_type_t type, int, const char *name, esp_pm_lock_handle_t *handle)
{
    expect(type == ESP_PM_CPU_FREQ_MAX && name != nullptr, "of an unexpected kind");
    void *const memory = heap_caps_calloc(1, sizeof(esp_pm_lock), MALLOC_CAP_DEFAULT);
    if (memory == nullptr) {
        return ESP_ERR_NO_MEM;
    }
    *handle = new (memory) esp_pm_lock;
    ++power_locks;
    return ESP_OK;
}

esp_err_t esp_pm_lock_acquire(esp_pm_lock_handle_t handle)
{
    expect(!handle->is_held, "is taken twice");
    handle->is_held = true;
    ++power_acquired;
    ++power_held;
    return ESP_OK;
}

esp_err_t esp_pm_lock_release(esp_pm_lock_handle_t handle)
{
    expect(handle->is_held, "is given back twice");
    handle->is_held = false;
    --power_held;
    return ESP_OK;
}

esp_err_t esp_pm_lock_delete(esp_pm_lock_handle_t handle)
{
    expect(!handle->is_held, "is deleted while it is held");
    heap_caps_free(handle);
    --power_locks;
    return ESP_OK;
}

} // extern "C"

namespace {

struct Handler {
    esp_event_base_t base;
    int32_t id;
    esp_event_handler_t function;
    void *argument;
};

std::mutex loop_mutex;
bool has_loop = false;
std::vector<Handler> handlers;

} // namespace

extern "C" {

esp_err_t esp_event_loop_create_default(void)
{
    const std::lock_guard lock(loop_mutex);
    has_loop = true;
    return ESP_OK;
}

esp_err_t esp_event_loop_delete_default(void)
{
    const std::lock_guard lock(loop_mutex);
    has_loop = false;
    handlers.clear();
    return ESP_OK;
}

esp_err_t esp_event_handler_register(esp_event_base_t base, int32_t id, esp_event_handler_t function, void *argument)
{
    const std::lock_guard lock(loop_mutex);
    handlers.push_back({base, id, function, argument});
    return has_loop ? ESP_OK : ESP_ERR_INVALID_STATE;
}

esp_err_t esp_event_post(esp_event_base_t base, int32_t id, const void *data, size_t, TickType_t)
{
    const std::lock_guard lock(loop_mutex);
    if (!has_loop) {
        return ESP_ERR_INVALID_STATE;
    }
    for (const Handler &handler : handlers) {
        if (handler.base == base && (handler.id == id || handler.id == ESP_EVENT_ANY_ID)) {
            handler.function(handler.argument, base, id, const_cast<void *>(data));
        }
    }
    return ESP_OK;
}

} // extern "C"

extern "C" {

const esp_partition_t *esp_ota_get_running_partition(void)
{
    static const esp_partition_t partition = {};
    return &partition;
}

esp_err_t esp_ota_get_state_partition(const esp_partition_t *, esp_ota_img_states_t *state)
{
    *state = std::getenv("FAKE_APP") != nullptr ? ESP_OTA_IMG_PENDING_VERIFY : ESP_OTA_IMG_UNDEFINED;
    return std::getenv("FAKE_APP") != nullptr ? ESP_OK : ESP_ERR_NOT_FOUND;
}

esp_err_t esp_ota_mark_app_valid_cancel_rollback(void)
{
    std::fprintf(stderr, "the app is valid\n");
    return std::strcmp(std::getenv("FAKE_APP"), "new") == 0 ? ESP_OK : ESP_FAIL;
}

void esp_restart(void)
{
    std::fflush(stdout);
    std::fprintf(stderr, "restart\n");
    std::_Exit(0);
}

} // extern "C"
