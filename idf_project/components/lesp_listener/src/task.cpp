// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listener/task.hpp"

#include <cstdint>

#include "esp_heap_caps.h"
#include "esp_log.h"
#include "freertos/idf_additions.h"
#include "sdkconfig.h"

namespace lesp::listening {

static BaseType_t choose_core(int core)
{
#if CONFIG_FREERTOS_UNICORE
    static_cast<void>(core);
    return tskNO_AFFINITY;
#else
    return core == 0 || core == 1 ? core : tskNO_AFFINITY;
#endif
}

esp_err_t Task::start(
    const char *name, const lesp_task_config_t &config, bool stack_in_psram, void (*body)(void *), void *argument)
{
    if (handle_ != nullptr) {
        return ESP_ERR_INVALID_STATE;
    }
    body_ = body;
    argument_ = argument;
    has_ended_ = xSemaphoreCreateBinaryStatic(&memory_);
    const UBaseType_t caps = MALLOC_CAP_8BIT | (stack_in_psram ? MALLOC_CAP_SPIRAM : MALLOC_CAP_INTERNAL);
    TaskHandle_t handle = nullptr;
    const BaseType_t made = xTaskCreatePinnedToCoreWithCaps(
        run, name, config.stack_bytes, this, config.priority, &handle, choose_core(config.core), caps);
    if (made != pdPASS) {
        vSemaphoreDelete(has_ended_);
        return ESP_ERR_NO_MEM;
    }
    handle_ = handle;
    return ESP_OK;
}

void Task::run(void *self)
{
    auto *task = static_cast<Task *>(self);
    task->body_(task->argument_);
    xSemaphoreGive(task->has_ended_);
    // Who waits deletes it: a task whose stack has capabilities of its own that deletes itself needs memory for that.
    while (true) {
        vTaskSuspend(nullptr);
    }
}

bool Task::wait(TickType_t ticks)
{
    if (handle_ == nullptr || xSemaphoreTake(has_ended_, ticks) != pdTRUE) {
        return handle_ == nullptr;
    }
    xSemaphoreGive(has_ended_); // for whoever waits next
    return true;
}

void Task::join()
{
    if (handle_ == nullptr) {
        return;
    }
    xSemaphoreTake(has_ended_, portMAX_DELAY);
    vTaskDeleteWithCaps(handle_);
    vSemaphoreDelete(has_ended_);
    handle_ = nullptr;
}

void Task::wake()
{
    if (const TaskHandle_t handle = handle_; handle != nullptr) {
        xTaskNotifyGive(handle);
    }
}

void Task::log_stack(const char *name, const lesp_task_config_t &config, const char *option)
{
    const std::uint32_t size = config.stack_bytes;
    const std::uint32_t used = size - uxTaskGetStackHighWaterMark(nullptr); // bytes, on ESP-IDF
    constexpr std::uint32_t kStep = 256;
    const std::uint32_t enough = (used + used / 4 + kStep - 1) / kStep * kStep;
    ESP_LOGI("listener",
             "the %s task has used %u of its %u bytes of stack; with a quarter more, %s=%u is enough",
             name,
             static_cast<unsigned>(used),
             static_cast<unsigned>(size),
             option,
             static_cast<unsigned>(enough));
}

} // namespace lesp::listening
