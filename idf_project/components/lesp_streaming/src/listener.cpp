// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/listener.hpp"

#include <algorithm>
#include <limits>

#include "esp_log.h"
#include "streaming/frame_buffer.hpp"
#include "streaming/quantization.hpp"

namespace lesp::streaming {

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
    if (!config.normalization.is_empty() && !config.normalization.fits(config.inputs[0])) {
        ESP_LOGE(TAG,
                 "there are %u means, and a frame holds %u values",
                 static_cast<unsigned>(config.normalization.mean.size()),
                 static_cast<unsigned>(frame_size_));
        return ESP_ERR_INVALID_ARG;
    }
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
        !output_.allocate(FrameGeometry::of(config.outputs[0]).frame_bytes()) || !scores_.allocate(classes_) ||
        !normalized_.allocate(config.normalization.is_empty() ? 0 : frame_size_)) {
        return ESP_ERR_NO_MEM;
    }
    pipeline_ = &pipeline;
    clock_ = clock;
    times_ = {};
    taken_ = judged_ = 0;
    return has_detector_ ? detector_.init(detector) : ESP_OK;
}

esp_err_t Listener::take(std::span<const float> frame, EventSink &sink)
{
    if (pipeline_ == nullptr || frame.size() != frame_size_) {
        return ESP_ERR_INVALID_SIZE;
    }
    const ModelConfig &config = pipeline_->config();
    const std::int64_t start = clock_ != nullptr ? clock_() : 0;
    if (!config.normalization.is_empty()) {
        normalize(frame, config.normalization, {normalized_.data(), frame_size_});
        frame = {normalized_.data(), frame_size_};
    }
    quantize(frame, config.inputs[0], config.rounding, input_.data());
    StepResult result;
    if (const esp_err_t error = run_step(&result); error != ESP_OK) {
        return error;
    }
    ++taken_;
    if (result.output_ready) {
        judge(sink, std::numeric_limits<std::size_t>::max());
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

esp_err_t Listener::run_step(StepResult *result)
{
    const esp_err_t error = pipeline_->write(0, input_.data(), input_.size());
    return error == ESP_OK ? pipeline_->step(result) : error;
}

// Output frames that the frames so far make, those included by which the stream trails the offline output.
std::size_t Listener::frames_to_judge() const
{
    const ModelConfig &config = pipeline_->config();
    const auto stride = static_cast<std::size_t>(config.stride);
    const auto outputs = static_cast<std::size_t>(config.outputs[0].frames());
    const std::size_t strides = (taken_ + stride - 1) / stride;
    return strides * stride * outputs / static_cast<std::size_t>(config.window) +
           static_cast<std::size_t>(config.delay);
}

esp_err_t Listener::finish(EventSink &sink)
{
    if (pipeline_ == nullptr) {
        return ESP_ERR_INVALID_SIZE;
    }
    const ModelConfig &config = pipeline_->config();
    const std::size_t wanted = taken_ > 0 ? frames_to_judge() : 0;
    while (judged_ < wanted) {
        StepResult result;
        // A frame that is exactly zero is an integer zero in every format.
        std::fill(input_.begin(), input_.end(), std::uint8_t{0});
        const bool is_between_windows = taken_ % static_cast<std::size_t>(config.window) == 0;
        const bool is_flushed = is_between_windows && pipeline_->is_pending();
        const esp_err_t error = is_flushed ? pipeline_->step_pending(&result) : run_step(&result);
        if (error != ESP_OK) {
            return error;
        }
        taken_ += is_flushed ? 0 : 1;
        if (result.output_ready) {
            judge(sink, wanted);
        }
    }
    reset();
    return ESP_OK;
}

// Judges the new outputs, up to frame `most` of the recording.
void Listener::judge(EventSink &sink, std::size_t most)
{
    const TensorConfig &tensor = pipeline_->config().outputs[0];
    const FrameGeometry geometry = FrameGeometry::of(tensor);
    for (std::size_t index = 0; index < geometry.frames && judged_ < most; ++index, ++judged_) {
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
    taken_ = judged_ = 0;
    if (pipeline_ != nullptr) {
        pipeline_->reset();
    }
    if (has_detector_) {
        detector_.reset();
    }
}

} // namespace lesp::streaming
