// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listener/work.hpp"

namespace lesp::listening {

esp_err_t Work::init(const char *name)
{
    start_us_ = esp_timer_get_time();
    total_us_ = 0;
    permille_ = 0;
#if CONFIG_PM_ENABLE
    return esp_pm_lock_create(ESP_PM_CPU_FREQ_MAX, 0, name, &lock_);
#else
    static_cast<void>(name);
    return ESP_OK;
#endif
}

Work::~Work()
{
#if CONFIG_PM_ENABLE
    if (lock_ != nullptr) {
        esp_pm_lock_delete(lock_);
    }
#endif
}

void Work::begin()
{
#if CONFIG_PM_ENABLE
    esp_pm_lock_acquire(lock_);
#endif
    begin_us_ = esp_timer_get_time();
}

void Work::end()
{
    const std::int64_t now_us = esp_timer_get_time();
    total_us_ += now_us - begin_us_;
    if (now_us > start_us_) {
        permille_.store(static_cast<std::uint32_t>(total_us_ * 1000 / (now_us - start_us_)), std::memory_order_relaxed);
    }
#if CONFIG_PM_ENABLE
    esp_pm_lock_release(lock_);
#endif
}

} // namespace lesp::listening
