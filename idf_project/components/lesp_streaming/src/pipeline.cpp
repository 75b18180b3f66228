// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/pipeline.hpp"

#include <algorithm>
#include <cstring>

#include "esp_log.h"

// For "%.*s".
#define TEXT(view) static_cast<int>((view).size()), (view).data()

namespace lesp::streaming {

static const char *const TAG = "streaming";

static int find(std::span<const TensorConfig> tensors, std::string_view name)
{
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].name == name) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

static bool is_same_form(const TensorConfig &a, const TensorConfig &b)
{
    return a.type == b.type && a.exponent == b.exponent && a.rank == b.rank && a.bytes == b.bytes &&
           std::equal(a.shape, a.shape + a.rank, b.shape) && std::equal(a.layout, a.layout + a.rank, b.layout);
}

esp_err_t Pipeline::init(const ModelConfig &config, std::span<const char *const> files, const Options &options)
{
    is_ready_ = false;
    config_ = config;
    clock_ = options.clock;
    const int segments = options.segments;
    if (config.stages.empty() || files.size() != config.stages.size() || segments < 1 ||
        config.window < static_cast<int>(config.stages.size()) * segments) {
        ESP_LOGE(
            TAG,
            "model %.*s: %d files for %d stages in %d segments each, one of which runs per frame of a window of %d",
            TEXT(config.name),
            static_cast<int>(files.size()),
            static_cast<int>(config.stages.size()),
            segments,
            config.window);
        return ESP_ERR_INVALID_ARG;
    }
    segments_ = static_cast<std::size_t>(segments);
    esp_err_t error = init_inputs();
    if (error == ESP_OK) {
        error = init_stages(files, options);
    }
    if (error == ESP_OK) {
        error = init_outputs();
    }
    is_ready_ = error == ESP_OK;
    reset();
    return error;
}

esp_err_t Pipeline::init_inputs()
{
    if (!inputs_.allocate(config_.inputs.size())) {
        return ESP_ERR_NO_MEM;
    }
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        const TensorConfig &tensor = config_.inputs[i];
        if (const esp_err_t error = inputs_[i].frames.init(tensor); error != ESP_OK) {
            ESP_LOGE(TAG, "input %.*s: %s", TEXT(tensor.name), esp_err_to_name(error));
            return error;
        }
        if (!inputs_[i].window.allocate(tensor.bytes)) {
            ESP_LOGE(TAG, "input %.*s: no memory for %d bytes", TEXT(tensor.name), static_cast<int>(tensor.bytes));
            return ESP_ERR_NO_MEM;
        }
    }
    return ESP_OK;
}

esp_err_t Pipeline::init_stages(std::span<const char *const> files, const Options &options)
{
    if (!stages_.allocate(config_.stages.size())) {
        return ESP_ERR_NO_MEM;
    }
    for (std::size_t i = 0; i < stages_.size(); ++i) {
        esp_err_t error = stages_[i].init(config_.stages[i], files[i], options);
        if (error == ESP_OK) {
            error = connect(i);
        }
        if (error != ESP_OK) {
            return error;
        }
    }
    return ESP_OK;
}

esp_err_t Pipeline::connect(std::size_t stage)
{
    const StageConfig &config = config_.stages[stage];
    for (std::size_t i = 0; i < config.inputs.size(); ++i) {
        const Source source = find_source(config.inputs[i].name, stage);
        if (source.tensor == nullptr) {
            ESP_LOGE(TAG, "stage %.*s reads %.*s, which nothing makes", TEXT(config.name), TEXT(config.inputs[i].name));
            return ESP_ERR_INVALID_ARG;
        }
        if (!is_same_form(*source.tensor, config.inputs[i])) {
            ESP_LOGE(TAG, "stage %.*s reads %.*s in another form", TEXT(config.name), TEXT(config.inputs[i].name));
            return ESP_ERR_INVALID_ARG;
        }
        stages_[stage].connect(i, source.values.data());
    }
    return ESP_OK;
}

esp_err_t Pipeline::init_outputs()
{
    if (!outputs_.allocate(config_.outputs.size())) {
        return ESP_ERR_NO_MEM;
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        const Source source = find_source(config_.outputs[i].name, stages_.size());
        if (source.tensor == nullptr || !is_same_form(*source.tensor, config_.outputs[i])) {
            ESP_LOGE(TAG, "output %.*s is made by no stage in this form", TEXT(config_.outputs[i].name));
            return ESP_ERR_INVALID_ARG;
        }
        outputs_[i] = source.values;
    }
    return ESP_OK;
}

Pipeline::Source Pipeline::find_source(std::string_view name, std::size_t stages) const
{
    if (const int input = find_input(name); input >= 0) {
        const HeapArray<std::uint8_t> &window = inputs_[input].window;
        return {&config_.inputs[input], {window.data(), window.size()}};
    }
    for (std::size_t i = 0; i < stages; ++i) {
        if (const int output = find(config_.stages[i].outputs, name); output >= 0) {
            return {&config_.stages[i].outputs[output], stages_[i].output(output)};
        }
    }
    return {};
}

int Pipeline::find_input(std::string_view name) const
{
    return find(config_.inputs, name);
}

int Pipeline::find_output(std::string_view name) const
{
    return find(config_.outputs, name);
}

esp_err_t Pipeline::write(std::size_t input, const void *data, std::size_t bytes)
{
    if (input >= inputs_.size() || data == nullptr) {
        return ESP_ERR_INVALID_ARG;
    }
    FrameBuffer &frames = inputs_[input].frames;
    const bool is_held = config_.inputs[input].time_axis < 0;
    if (is_held && bytes == frames.frame_bytes()) {
        frames.clear();
    }
    return frames.push(data, bytes);
}

esp_err_t Pipeline::step(StepResult *result)
{
    if (result != nullptr) {
        *result = {};
    }
    const bool ends_window = frames_ + 1 == config_.window;
    if (!is_ready_ || (ends_window && !has_window())) {
        return ESP_ERR_INVALID_STATE;
    }
    ++frames_;
    if (ends_window) {
        take_window();
    }
    return is_pending() ? step_pending(result) : ESP_OK;
}

esp_err_t Pipeline::step_pending(StepResult *result)
{
    if (!is_ready_ || !is_pending()) {
        return ESP_ERR_INVALID_STATE;
    }
    const auto stage = static_cast<int>(next_ / segments_);
    const auto segment = static_cast<int>(next_ % segments_);
    const std::int64_t start = clock_ != nullptr ? clock_() : 0;
    const esp_err_t error = stages_[stage].run(static_cast<int>(segments_), segment);
    const std::int64_t end = clock_ != nullptr ? clock_() : 0;
    ++next_;
    if (result != nullptr) {
        result->stage = stage;
        result->segment = segment;
        result->stage_done = next_ % segments_ == 0;
        result->output_ready = next_ == steps();
        result->microseconds = end - start;
    }
    return error;
}

bool Pipeline::has_window() const
{
    return std::all_of(inputs_.begin(), inputs_.end(), [](const Input &input) { return input.frames.is_full(); });
}

void Pipeline::take_window()
{
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        Input &input = inputs_[i];
        std::memcpy(input.window.data(), input.frames.window(), input.window.size());
        if (config_.inputs[i].time_axis >= 0) {
            input.frames.clear();
        }
    }
    frames_ = 0;
    next_ = 0;
}

void Pipeline::reset()
{
    frames_ = 0;
    next_ = steps();
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        if (config_.inputs[i].time_axis >= 0) {
            inputs_[i].frames.clear();
        }
    }
    for (Stage &stage : stages_) {
        stage.reset();
    }
}

} // namespace lesp::streaming
