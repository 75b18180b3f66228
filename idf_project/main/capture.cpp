#include "capture.hpp"

#include <algorithm>

#include "esp_timer.h"

// Above the main task, so that a long step does not keep samples in the driver.
static constexpr UBaseType_t kPriority = 10;
static constexpr std::uint32_t kStackBytes = 4096;

esp_err_t Capture::start(audio::SampleSource &source, std::size_t samples)
{
    source_ = &source;
    reader_ = xTaskGetCurrentTaskHandle();
    if (const esp_err_t error = ring_.init(samples); error != ESP_OK) {
        return error;
    }
    return xTaskCreate(run, "capture", kStackBytes, this, kPriority, nullptr) == pdPASS ? ESP_OK : ESP_ERR_NO_MEM;
}

void Capture::run(void *self)
{
    static_cast<Capture *>(self)->pump();
    vTaskDelete(nullptr);
}

void Capture::pump()
{
    std::int16_t chunk[160];
    std::int64_t last_us = esp_timer_get_time();
    while (error_ == ESP_OK) {
        std::size_t count = 0;
        const esp_err_t error = source_->read(chunk, &count);
        if (error == ESP_OK) {
            ring_.write(std::span(chunk).first(count));
            last_us = esp_timer_get_time();
        } else if (!restart(error, last_us)) {
            error_ = error;
        }
        xTaskNotifyGive(reader_);
    }
}

bool Capture::restart(esp_err_t error, std::int64_t last_us)
{
    if (error == ESP_ERR_NOT_FINISHED) {
        return false;
    }
    vTaskDelay(pdMS_TO_TICKS(100)); // a driver that fails at once would leave no time to others
    if (source_->restart() != ESP_OK) {
        return false;
    }
    const std::int64_t silent_us = esp_timer_get_time() - last_us;
    ring_.lose(static_cast<std::uint32_t>(std::max<std::int64_t>(silent_us * source_->sample_rate() / 1000000, 1)));
    return true;
}

std::size_t Capture::read(std::span<std::int16_t> samples)
{
    if (const std::size_t count = ring_.read(samples); count > 0 || error_ != ESP_OK) {
        return count;
    }
    ulTaskNotifyTake(pdTRUE, pdMS_TO_TICKS(1000));
    return ring_.read(samples);
}
