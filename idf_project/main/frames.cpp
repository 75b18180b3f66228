#include "frames.hpp"

#include <cstdio>

#include "bundled_model.hpp"
#include "esp_timer.h"
#include "report.hpp"
#include "startup.hpp"
#include "streaming/heap_array.hpp"
#include "streaming/listener.hpp"

extern "C" __attribute__((weak)) bool streaming_next_frame(float *, size_t)
{
    return false;
}

namespace {

class ScorePrinter : public EventPrinter {
public:
    void on_scores(std::span<const float> scores) override
    {
        if (!bundled::kDetector.thresholds.empty()) {
            return;
        }
        for (const float score : scores) {
            std::printf("%.4f ", static_cast<double>(score));
        }
        std::printf("\n");
    }
};

} // namespace

esp_err_t run_frames()
{
    static streaming::Pipeline pipeline;
    static streaming::Listener listener;
    streaming::HeapArray<float> frame;
    ScorePrinter printer;
    if (!has_one_input()) {
        return ESP_ERR_NOT_SUPPORTED;
    }
    esp_err_t error = start(pipeline);
    if (error == ESP_OK) {
        error = listener.init(pipeline, bundled::kDetector, esp_timer_get_time);
    }
    if (error == ESP_OK && !frame.allocate(listener.frame_size())) {
        error = ESP_ERR_NO_MEM;
    }
    Reporter reporter(esp_timer_get_time());
    while (error == ESP_OK && streaming_next_frame(frame.data(), frame.size())) {
        error = listener.take({frame.data(), frame.size()}, printer);
        reporter.report(esp_timer_get_time(), listener.times(), 0);
    }
    if (error == ESP_OK) {
        error = listener.finish(printer);
    }
    if (error == ESP_OK && listener.times().steps == 0) {
        std::printf("No frames came: define streaming_next_frame (main/frames.hpp).\n");
    }
    print_times(listener.times(), 0);
    return error;
}
