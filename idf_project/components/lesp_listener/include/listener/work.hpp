// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "esp_err.h"
#include "esp_timer.h"
#include "sdkconfig.h"
#if CONFIG_PM_ENABLE
#include "esp_pm.h"
#endif

namespace lesp::listening {

// The share of its time that a task works. Where power management is on (CONFIG_PM_ENABLE) the clock of the CPU is kept
// at its highest while it does, and only then.
class Work {
public:
    Work() = default;
    ~Work();
    Work(const Work &) = delete;
    Work &operator=(const Work &) = delete;

    // Errors of esp_pm_lock_create. `name` must outlive it.
    esp_err_t init(const char *name);

    // Around each piece of work, in one task.
    void begin();
    void end();

    // Thousandths of the time from init to the last end(); for any task.
    std::uint32_t permille() const { return permille_.load(std::memory_order_relaxed); }

private:
    std::int64_t start_us_ = 0;
    std::int64_t begin_us_ = 0;
    std::int64_t total_us_ = 0;
    std::atomic<std::uint32_t> permille_ = 0;
#if CONFIG_PM_ENABLE
    esp_pm_lock_handle_t lock_ = nullptr;
#endif
};

// A piece of work from here to the end of the block.
class Working {
public:
    explicit Working(Work &work) : work_(work) { work_.begin(); }
    ~Working() { work_.end(); }
    Working(const Working &) = delete;
    Working &operator=(const Working &) = delete;

private:
    Work &work_;
};

} // namespace lesp::listening
