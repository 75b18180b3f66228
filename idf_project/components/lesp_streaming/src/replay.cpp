// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/replay.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

// For "%.*s".
#define TEXT(view) static_cast<int>((view).size()), (view).data()

namespace lesp::streaming {

esp_err_t stream(Source &source, Pipeline &pipeline, Sink &sink, void (*idle)())
{
    const auto report = [&](const StepResult &result) {
        if (result.stage >= 0) {
            sink.on_stage(pipeline, result);
        }
        if (result.output_ready && idle != nullptr) {
            idle();
        }
    };
    SourceEvent event = SourceEvent::kFrame;
    while (event != SourceEvent::kEnd) {
        StepResult result;
        esp_err_t error = source.next(pipeline, &event);
        if (error == ESP_OK && event == SourceEvent::kFrame) {
            error = pipeline.step(&result);
        }
        if (error != ESP_OK) {
            return error;
        }
        report(result);
        if (event == SourceEvent::kFrame) {
            continue;
        }
        while (pipeline.is_pending()) {
            error = pipeline.step_pending(&result);
            if (error != ESP_OK) {
                return error;
            }
            report(result);
        }
        pipeline.reset();
    }
    return ESP_OK;
}

esp_err_t GoldenSource::init(const ModelConfig &config, const GoldenData &data)
{
    config_ = config;
    window_ = 0;
    step_ = 0;
    has_ended_recording_ = true;
    std::size_t longest = 0;
    for (const TensorConfig &tensor : config.inputs) {
        longest = std::max(longest, FrameGeometry::of(tensor).frame_bytes());
    }
    const esp_err_t error = golden_.init(config, data);
    if (error != ESP_OK) {
        return error;
    }
    return frame_.allocate(longest) ? ESP_OK : ESP_ERR_NO_MEM;
}

esp_err_t GoldenSource::next(Pipeline &pipeline, SourceEvent *event)
{
    if (window_ == golden_.windows()) {
        *event = SourceEvent::kEnd;
        return ESP_OK;
    }
    if (step_ == 0 && golden_.starts_recording(window_) && !has_ended_recording_) {
        has_ended_recording_ = true;
        *event = SourceEvent::kEndOfRecording;
        return ESP_OK;
    }
    has_ended_recording_ = false;
    *event = SourceEvent::kFrame;
    for (std::size_t input = 0; input < config_.inputs.size(); ++input) {
        const FrameGeometry geometry = FrameGeometry::of(config_.inputs[input]);
        // An input may have fewer or more frames than the window has steps; a held one has one value per window.
        const std::size_t first = step_ * geometry.frames / config_.window;
        const std::size_t last = (step_ + 1) * geometry.frames / config_.window;
        for (std::size_t index = first; index < last; ++index) {
            geometry.gather(golden_.input(window_, input), index, frame_.data());
            if (const esp_err_t error = pipeline.write(input, frame_.data(), geometry.frame_bytes()); error != ESP_OK) {
                return error;
            }
        }
    }
    if (++step_ == config_.window) {
        step_ = 0;
        ++window_;
    }
    return ESP_OK;
}

esp_err_t GoldenSink::init(const ModelConfig &config, const GoldenData &data)
{
    config_ = config;
    if (!reports_.allocate(config.stages.size())) {
        return ESP_ERR_NO_MEM;
    }
    return golden_.init(config, data);
}

void GoldenSink::on_stage(Pipeline &pipeline, const StepResult &result)
{
    const Stage &stage = pipeline.stage(result.stage);
    StageReport &report = reports_[result.stage];
    if (report.windows == golden_.windows()) {
        return;
    }
    report.total_us += result.microseconds;
    report.longest_us = std::max(report.longest_us, result.microseconds);
    if (!result.stage_done) {
        return;
    }
    for (std::size_t output = 0; output < stage.config().outputs.size(); ++output) {
        compare_output(stage, result.stage, output);
    }
    for (std::size_t cache = 0; cache < stage.config().caches.size(); ++cache) {
        compare_cache(stage, result.stage, cache);
        if (golden_.has_states()) {
            pipeline.set_cache(result.stage, cache, golden_.cache(report.windows, result.stage, cache));
        }
    }
    ++report.windows;
}

// Elements may be unaligned in the golden data.
template <typename T>
static double read(const std::uint8_t *data, std::size_t index)
{
    T value;
    std::memcpy(&value, data + index * sizeof(T), sizeof(T));
    return static_cast<double>(value);
}

static double read(const std::uint8_t *data, std::size_t index, DataType type)
{
    switch (type) {
    case DataType::kInt8:
        return read<std::int8_t>(data, index);
    case DataType::kInt16:
        return read<std::int16_t>(data, index);
    default:
        return read<float>(data, index);
    }
}

static bool is_allowed(double expected, double got, DataType type, std::uint32_t tolerance)
{
    const double distance = std::fabs(expected - got);
    if (distance <= tolerance && type != DataType::kFloat32) {
        return true;
    }
    switch (type) {
    case DataType::kInt8:
        return distance == 0;
    case DataType::kInt16:
        return distance <= 2;
    default:
        return distance <= 1e-5 * std::max(1.0, std::fabs(expected));
    }
}

static std::size_t element_count(const TensorConfig &tensor)
{
    std::size_t count = 1;
    for (int axis = 0; axis < tensor.rank; ++axis) {
        count *= static_cast<std::size_t>(tensor.shape[axis]);
    }
    return count;
}

void GoldenSink::compare_output(const Stage &stage, std::size_t index, std::size_t output)
{
    StageReport &report = reports_[index];
    compare(report,
            stage.config().outputs[output],
            "tensor",
            golden_.output(report.windows, index, output),
            stage.output(output).data(),
            golden_.output_tolerance(index, output));
}

void GoldenSink::compare(StageReport &report,
                         const TensorConfig &tensor,
                         const char *kind,
                         const std::uint8_t *expected,
                         const std::uint8_t *got,
                         std::uint32_t tolerance)
{
    const std::size_t count = element_count(tensor);
    report.values += count;
    for (std::size_t i = 0; i < count; ++i) {
        const double wanted = read(expected, i, tensor.type);
        const double found = read(got, i, tensor.type);
        if (wanted == found) {
            continue;
        }
        if (is_allowed(wanted, found, tensor.type, tolerance)) {
            ++report.tolerated;
            report.recurrent += tolerance > 0 ? 1 : 0;
            continue;
        }
        if (report.differing++ == 0) {
            report.first = {report.windows, kind, tensor.name, i, wanted, found};
        }
    }
}

void GoldenSink::compare_cache(const Stage &stage, std::size_t index, std::size_t cache)
{
    StageReport &report = reports_[index];
    const TensorConfig &tensor = stage.config().caches[cache].tensor;
    if (golden_.has_states()) {
        compare(report,
                tensor,
                "cache",
                golden_.cache(report.windows, index, cache),
                stage.cache(cache).data(),
                golden_.cache_tolerance(index, cache));
        return;
    }
    const std::uint32_t expected = golden_.cache_crc(report.windows, index, cache);
    const std::uint32_t got = crc32(stage.cache(cache).data(), tensor.bytes);
    ++report.values;
    if (expected != got && tensor.type != DataType::kInt8) {
        ++report.tolerated;
    } else if (expected != got && report.differing++ == 0) {
        report.first = {
            report.windows, "CRC32 of cache", tensor.name, 0, static_cast<double>(expected), static_cast<double>(got)};
    }
}

bool GoldenSink::has_passed(const StageReport &report)
{
    return report.differing == 0 && report.recurrent * kMostTolerated <= report.values;
}

bool GoldenSink::has_passed() const
{
    return std::all_of(reports_.begin(), reports_.end(), [this](const StageReport &report) {
        return has_passed(report) && report.windows == golden_.windows();
    });
}

void GoldenSink::print() const
{
    const std::size_t golden = golden_.windows();
    for (std::size_t i = 0; i < reports_.size(); ++i) {
        const StageReport &report = reports_[i];
        const auto windows = static_cast<std::int64_t>(std::max<std::size_t>(report.windows, 1));
        std::printf("stage %.*s: %u of %u windows, %u values compared, %u differ (%u within tolerance), "
                    "%lld us on average, %lld us at most\n",
                    TEXT(config_.stages[i].name),
                    static_cast<unsigned>(report.windows),
                    static_cast<unsigned>(golden),
                    static_cast<unsigned>(report.values),
                    static_cast<unsigned>(report.differing),
                    static_cast<unsigned>(report.tolerated),
                    static_cast<long long>(report.total_us / windows),
                    static_cast<long long>(report.longest_us));
        if (report.first.kind != nullptr) {
            std::printf("  first difference: window %u, %s %.*s, index %u: expected %.9g, got %.9g\n",
                        static_cast<unsigned>(report.first.window),
                        report.first.kind,
                        TEXT(report.first.tensor),
                        static_cast<unsigned>(report.first.index),
                        report.first.expected,
                        report.first.got);
        }
    }
    if (golden_.has_states()) {
        std::printf("every window started from the host's state, since gates are float32\n");
    }
}

} // namespace lesp::streaming
