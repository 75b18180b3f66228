// Replays the golden windows of the bundle through the model on the chip and compares every value.
#include <cstdio>

#include "bundled_model.hpp"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "streaming/pipeline.hpp"
#include "streaming/replay.hpp"

static esp_err_t replay()
{
    streaming::Pipeline pipeline;
    streaming::GoldenSource source;
    streaming::GoldenSink sink;
    esp_err_t error = pipeline.init(bundled::kConfig, bundled::kFiles, {.clock = esp_timer_get_time});
    if (error == ESP_OK) {
        error = source.init(bundled::kConfig, bundled::kGolden);
    }
    if (error == ESP_OK) {
        error = sink.init(bundled::kConfig, bundled::kGolden);
    }
    if (error == ESP_OK) {
        // One tick of rest per window keeps the watchdog of the idle task content.
        error = streaming::stream(source, pipeline, sink, [] { vTaskDelay(1); });
    }
    if (error == ESP_OK) {
        sink.print();
    }
    return error;
}

extern "C" void app_main(void)
{
    if (const esp_err_t error = replay(); error == ESP_ERR_NOT_FOUND && bundled::kGolden.bytes == 0) {
        std::printf("This bundle holds no golden windows (Deployment(golden=False)); there is nothing to replay.\n");
    } else if (error != ESP_OK) {
        std::printf("FAIL %s\n", esp_err_to_name(error));
    }
}
