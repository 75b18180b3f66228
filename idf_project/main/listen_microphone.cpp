#include "listen.hpp"

#include <cstdio>

#include "audio/microphone.hpp"
#include "bundled_model.hpp"
#include "capture.hpp"
#include "ear.hpp"
#include "esp_timer.h"
#include "report.hpp"
#include "rest.hpp"
#include "sdkconfig.h"
#include "startup.hpp"

esp_err_t listen_to_microphone()
{
    static Ear ear;
    static Capture capture;
    audio::SampleSource *microphone = nullptr;
    esp_err_t error = ear.init();
    if (error == ESP_OK) {
        error = audio::open_microphone(bundled::kFrontEnd.sample_rate, &microphone);
    }
    if (error == ESP_OK) {
        error = capture.start(*microphone, bundled::kFrontEnd.sample_rate * CONFIG_STREAMING_BUFFER_MS / 1000);
    }
    if (error != ESP_OK) {
        return error;
    }
    print_memory();
    std::printf("listening\n");
    Reporter reporter(esp_timer_get_time());
    Rest rest(esp_timer_get_time());
    std::int16_t chunk[160];
    while (error == ESP_OK) {
        const esp_err_t source_error = capture.error();
        const std::size_t count = capture.read(chunk);
        error = ear.hear(std::span(chunk).first(count));
        if (const std::uint32_t gap = count == 0 ? capture.take_gap() : 0; gap > 0) {
            std::printf("overrun: %u samples lost\n", static_cast<unsigned>(gap));
            ear.skip();
        } else if (count == 0 && error == ESP_OK) {
            error = source_error; // all that came before it was heard
        }
        reporter.report(esp_timer_get_time(), ear.times(), capture.dropped());
        if (rest.is_due(esp_timer_get_time())) {
            vTaskDelay(1); // where steps are too long, samples are always there and nothing else waits
        }
    }
    print_times(ear.times(), capture.dropped());
    return error;
}
