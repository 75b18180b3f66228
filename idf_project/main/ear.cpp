#include "ear.hpp"

#include <cstdio>

#include "bundled_model.hpp"
#include "esp_timer.h"
#include "startup.hpp"

esp_err_t Ear::init()
{
    if (bundled::kFrontEnd.kind == streaming::FrontEndKind::kNone) {
        std::printf("This model has no front end, so it cannot listen; choose the source \"Frames of your own\".\n");
        return ESP_ERR_NOT_SUPPORTED;
    }
    if (!has_one_input()) {
        return ESP_ERR_NOT_SUPPORTED;
    }
    esp_err_t error = start(pipeline_);
    if (error == ESP_OK) {
        error = extractor_.init(bundled::kFrontEnd);
    }
    return error == ESP_OK ? listener_.init(pipeline_, bundled::kDetector, esp_timer_get_time) : error;
}

esp_err_t Ear::hear(std::span<const std::int16_t> samples)
{
    while (!samples.empty()) {
        if (!extractor_.take(&samples)) {
            continue;
        }
        if (const esp_err_t error = listener_.take(extractor_.features(), printer_); error != ESP_OK) {
            return error;
        }
    }
    return ESP_OK;
}
