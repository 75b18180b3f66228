// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/decision_replay.hpp"

#include <cstdio>

#include "streaming/frame_buffer.hpp"
#include "streaming/quantization.hpp"

namespace lesp::streaming {

esp_err_t DecisionSink::init(const ModelConfig &config,
                             const GoldenData &data,
                             const DetectorConfig &detector,
                             std::span<const GoldenEvent> events)
{
    if (config.outputs.empty() || config.outputs[0].frames() == 0) {
        return ESP_ERR_INVALID_ARG;
    }
    output_ = config.outputs[0];
    events_ = events;
    std::size_t elements = 1;
    for (int axis = 0; axis < output_.rank; ++axis) {
        elements *= axis == output_.time_axis ? 1 : static_cast<std::size_t>(output_.shape[axis]);
    }
    if (elements != detector.thresholds.size()) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!frame_.allocate(FrameGeometry::of(output_).frame_bytes()) || !scores_.allocate(elements)) {
        return ESP_ERR_NO_MEM;
    }
    const esp_err_t error = detector_.init(detector);
    return error == ESP_OK ? golden_.init(config, data) : error;
}

void DecisionSink::on_stage(Pipeline &pipeline, const StepResult &result)
{
    if (!result.output_ready || window_ == golden_.windows()) {
        return;
    }
    if (golden_.starts_recording(window_++)) {
        detector_.reset();
        ++started_;
    }
    const FrameGeometry geometry = FrameGeometry::of(output_);
    const std::span<float> scores(scores_.data(), scores_.size());
    for (std::size_t index = 0; index < geometry.frames; ++index) {
        geometry.gather(pipeline.output(0).data(), index, frame_.data());
        dequantize(frame_.data(), output_, scores);
        compute_scores(scores, detector_.config().activation);
        Event event;
        if (detector_.step(scores, &event)) {
            compare(event);
        }
    }
}

void DecisionSink::compare(const Event &event)
{
    const GoldenEvent got = {
        static_cast<std::uint32_t>(started_ - 1), event.frame, static_cast<std::uint32_t>(event.label)};
    const bool is_there = found_ < events_.size();
    const bool is_same = is_there && events_[found_].recording == got.recording && events_[found_].frame == got.frame &&
                         events_[found_].label == got.label;
    ++found_;
    if (!is_same && !has_differed_) {
        has_differed_ = true;
        first_ = got;
    }
}

void DecisionSink::print() const
{
    std::printf("detector: %u of %u events, %s\n",
                static_cast<unsigned>(found_),
                static_cast<unsigned>(events_.size()),
                has_passed() ? "all at the same frames" : "not those of the host");
    if (has_differed_) {
        std::printf("  first difference: label %u at frame %u of recording %u\n",
                    static_cast<unsigned>(first_.label),
                    static_cast<unsigned>(first_.frame),
                    static_cast<unsigned>(first_.recording));
    }
}

} // namespace lesp::streaming
