#include "capture.hpp"

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
    esp_err_t error = ESP_OK;
    while (error == ESP_OK) {
        std::size_t count = 0;
        error = source_->read(chunk, &count);
        if (error == ESP_OK) {
            ring_.write(std::span(chunk).first(count));
        } else {
            error_ = error;
        }
        xTaskNotifyGive(reader_);
    }
}

std::size_t Capture::read(std::span<std::int16_t> samples)
{
    if (const std::size_t count = ring_.read(samples); count > 0 || error_ != ESP_OK) {
        return count;
    }
    ulTaskNotifyTake(pdTRUE, pdMS_TO_TICKS(1000));
    return ring_.read(samples);
}
