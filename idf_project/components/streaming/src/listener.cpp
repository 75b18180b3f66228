#include "streaming/listener.hpp"

#include <algorithm>

#include "esp_log.h"
#include "streaming/frame_buffer.hpp"
#include "streaming/quantization.hpp"

namespace streaming {

static const char *const TAG = "streaming";

static std::size_t element_bytes(DataType type)
{
    switch (type) {
    case DataType::kInt8:
        return 1;
    case DataType::kInt16:
        return 2;
    default:
        return 4;
    }
}

static std::size_t frame_elements(const TensorConfig &tensor)
{
    return FrameGeometry::of(tensor).frame_bytes() / element_bytes(tensor.type);
}

esp_err_t Listener::init(Pipeline &pipeline, const DetectorConfig &detector, std::int64_t (*clock)())
{
    const ModelConfig &config = pipeline.config();
    if (config.inputs.empty() || config.outputs.empty() || config.inputs[0].frames() != config.window ||
        config.outputs[0].frames() == 0) {
        ESP_LOGE(TAG, "the first input of the model takes no frame per step, or its first output has no time axis");
        return ESP_ERR_INVALID_ARG;
    }
    frame_size_ = frame_elements(config.inputs[0]);
    classes_ = frame_elements(config.outputs[0]);
    has_detector_ = !detector.thresholds.empty();
    if (has_detector_ && detector.thresholds.size() != classes_) {
        ESP_LOGE(TAG,
                 "the detector has %u classes, the model %u",
                 static_cast<unsigned>(detector.thresholds.size()),
                 static_cast<unsigned>(classes_));
        return ESP_ERR_INVALID_ARG;
    }
    activation_ = has_detector_ ? detector.activation : Activation::kNone;
    if (!input_.allocate(FrameGeometry::of(config.inputs[0]).frame_bytes()) ||
        !output_.allocate(FrameGeometry::of(config.outputs[0]).frame_bytes()) || !scores_.allocate(classes_)) {
        return ESP_ERR_NO_MEM;
    }
    pipeline_ = &pipeline;
    clock_ = clock;
    times_ = {};
    return has_detector_ ? detector_.init(detector) : ESP_OK;
}

esp_err_t Listener::take(std::span<const float> frame, EventSink &sink)
{
    if (pipeline_ == nullptr || frame.size() != frame_size_) {
        return ESP_ERR_INVALID_SIZE;
    }
    const ModelConfig &config = pipeline_->config();
    const std::int64_t start = clock_ != nullptr ? clock_() : 0;
    quantize(frame, config.inputs[0], config.rounding, input_.data());
    StepResult result;
    esp_err_t error = pipeline_->write(0, input_.data(), input_.size());
    if (error == ESP_OK) {
        error = pipeline_->step(&result);
    }
    if (error != ESP_OK) {
        return error;
    }
    if (result.output_ready) {
        judge(sink);
    }
    if (clock_ != nullptr) {
        const std::int64_t took = clock_() - start;
        times_.total_us += took;
        times_.longest_us = std::max(times_.longest_us, took);
        times_.late += config.frame_period_us > 0 && took > config.frame_period_us ? 1 : 0;
    }
    ++times_.steps;
    return ESP_OK;
}

void Listener::judge(EventSink &sink)
{
    const TensorConfig &tensor = pipeline_->config().outputs[0];
    const FrameGeometry geometry = FrameGeometry::of(tensor);
    for (std::size_t index = 0; index < geometry.frames; ++index) {
        geometry.gather(pipeline_->output(0).data(), index, output_.data());
        const std::span<float> scores(scores_.data(), classes_);
        dequantize(output_.data(), tensor, scores);
        compute_scores(scores, activation_);
        sink.on_scores(scores);
        Event event;
        if (has_detector_ && detector_.step(scores, &event)) {
            sink.on_event(event);
        }
    }
}

void Listener::reset()
{
    if (pipeline_ != nullptr) {
        pipeline_->reset();
    }
    if (has_detector_) {
        detector_.reset();
    }
}

} // namespace streaming
