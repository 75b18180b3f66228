// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"
#include "streaming/detector.hpp"
#include "streaming/front_end.hpp"
#include "streaming/golden.hpp"
#include "streaming/heap_array.hpp"
#include "streaming/replay.hpp"

namespace lesp::streaming {

// Compares what the detector makes of the replayed outputs with what it made of them on the host.
class DecisionSink : public Sink {
public:
    // All arguments must outlive the sink. ESP_ERR_INVALID_ARG: the detector does not fit the model. Else the errors of
    // Golden::init, or ESP_ERR_NO_MEM.
    esp_err_t init(const ModelConfig &config,
                   const GoldenData &data,
                   const DetectorConfig &detector,
                   std::span<const GoldenEvent> events);
    void on_stage(Pipeline &pipeline, const StepResult &result) override;

    // Whether exactly the golden events came.
    bool has_passed() const { return !has_differed_ && found_ == events_.size(); }

    // Prints one line, and the first event that differs.
    void print() const;

private:
    void compare(const Event &event);

    TensorConfig output_;
    Golden golden_;
    Detector detector_;
    std::span<const GoldenEvent> events_;
    HeapArray<std::uint8_t> frame_;
    HeapArray<float> scores_;
    std::size_t window_ = 0;
    std::size_t started_ = 0; // recordings so far
    std::size_t found_ = 0;   // events so far
    bool has_differed_ = false;
    GoldenEvent first_ = {}; // the first event that is none of the host's
};

} // namespace lesp::streaming
