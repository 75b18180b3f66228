// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "esp_err.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "lesp_listener.h"

namespace lesp::listening {

// A task that runs a function once. Another task waits for its end and frees it.
class Task {
public:
    Task() = default;
    ~Task() { join(); }
    Task(const Task &) = delete;
    Task &operator=(const Task &) = delete;

    // Starts `body(argument)`. ESP_ERR_NO_MEM: no memory for its stack. ESP_ERR_INVALID_STATE: it was started before.
    esp_err_t start(
        const char *name, const lesp_task_config_t &config, bool stack_in_psram, void (*body)(void *), void *argument);

    // Waits for the end of the body, at most `ticks`; whether it came.
    bool wait(TickType_t ticks);

    // Waits for the end of the body and frees the task; nothing where there is none. Not from the task itself.
    void join();

    // Makes sleep() return, now or when it is called next; for any task, until join.
    void wake();

    // Waits for wake(), in the task itself, at most `ticks`.
    static void sleep(TickType_t ticks) { ulTaskNotifyTake(pdTRUE, ticks); }

    // Logs, in the task itself, how much of its stack it has used so far, and what `option` of menuconfig could be.
    static void log_stack(const char *name, const lesp_task_config_t &config, const char *option);

private:
    static void run(void *self);

    void (*body_)(void *) = nullptr;
    void *argument_ = nullptr;
    std::atomic<TaskHandle_t> handle_ = nullptr; // others may wake a task while it is being started
    SemaphoreHandle_t has_ended_ = nullptr;
    StaticSemaphore_t memory_ = {};
};

} // namespace lesp::listening
