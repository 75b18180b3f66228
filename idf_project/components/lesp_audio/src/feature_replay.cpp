// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "audio/feature_replay.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "streaming/quantization.hpp"

namespace lesp::audio {

using streaming::DataType;
using streaming::FrontEndConfig;
using streaming::ModelConfig;
using streaming::TensorConfig;

namespace {

// Golden data, read piece by piece.
class Reader {
public:
    Reader(const char *data, std::size_t bytes) : data_(data), left_(bytes) {}

    // The next bytes, filled up to a multiple of 4; nullptr if there are not so many.
    const char *take(std::uint64_t bytes)
    {
        const std::uint64_t padded = (bytes + 3) / 4 * 4;
        if (padded > left_) {
            return nullptr;
        }
        const char *found = data_;
        data_ += padded;
        left_ -= static_cast<std::size_t>(padded);
        return found;
    }

    bool take_word(std::uint32_t *value)
    {
        const char *found = take(sizeof(*value));
        if (found != nullptr) {
            std::memcpy(value, found, sizeof(*value));
        }
        return found != nullptr;
    }

    bool is_empty() const { return left_ == 0; }

private:
    const char *data_;
    std::size_t left_;
};

// A recording of the golden data.
struct Recording {
    const char *samples = nullptr;
    const char *features = nullptr;
    std::uint32_t sample_count = 0;
    std::uint32_t frame_count = 0;
};

class Comparison {
public:
    Comparison(const ModelConfig &model, FeatureReport *report)
        : tensor_(model.inputs[0]), rounding_(model.rounding), report_(report)
    {
    }

    esp_err_t init(std::size_t bands)
    {
        const bool has_memory = expected_.allocate(bands) && quantized_.allocate(2 * bands);
        return has_memory ? ESP_OK : ESP_ERR_NO_MEM;
    }

    void compare(std::span<const float> got, const char *golden, const FrontEndConfig &front_end)
    {
        std::memcpy(expected_.data(), golden, got.size_bytes());
        for (std::size_t band = 0; band < got.size(); ++band) {
            const float scale = std::max(std::fabs(front_end.scale[band]), 1e-12f);
            const float difference = std::fabs(got[band] - expected_[band]) / scale;
            const float size = std::fabs(expected_[band] / scale + front_end.mean[band]);
            const bool is_exact = front_end.arithmetic == streaming::Arithmetic::kFixedPoint;
            const float allowed = is_exact ? 0.0f : kFeatureTolerance * std::max(1.0f, size);
            // Written so that NaN fails.
            report_->differing += difference <= allowed ? 0 : 1;
            report_->largest = std::max(report_->largest, difference);
        }
        compare_quantized(got);
        report_->values += got.size();
        ++report_->frames;
    }

private:
    // Only int8 has steps that are coarse against the tolerance.
    void compare_quantized(std::span<const float> got)
    {
        if (tensor_.type != DataType::kInt8) {
            return;
        }
        std::int8_t *const ours = quantized_.data();
        std::int8_t *const theirs = ours + got.size();
        streaming::quantize(got, tensor_, rounding_, ours);
        streaming::quantize({expected_.data(), expected_.size()}, tensor_, rounding_, theirs);
        for (std::size_t i = 0; i < got.size(); ++i) {
            const int off = std::abs(ours[i] - theirs[i]);
            report_->steps_off += off == 1 ? 1 : 0;
            report_->wrong += off > 1 ? 1 : 0;
        }
    }

    TensorConfig tensor_;
    streaming::Rounding rounding_;
    FeatureReport *report_;
    streaming::HeapArray<float> expected_;
    streaming::HeapArray<std::int8_t> quantized_;
};

} // namespace

static bool read_recording(Reader &reader, const FrontEndConfig &front_end, Recording *recording)
{
    std::uint32_t bands = 0;
    if (!reader.take_word(&recording->sample_count) || !reader.take_word(&recording->frame_count) ||
        !reader.take_word(&bands) || bands != static_cast<std::uint32_t>(front_end.bands)) {
        return false;
    }
    recording->samples = reader.take(std::uint64_t{recording->sample_count} * sizeof(std::int16_t));
    recording->features = reader.take(std::uint64_t{recording->frame_count} * bands * sizeof(float));
    return recording->samples != nullptr && recording->features != nullptr;
}

// 1 to 199 samples at a time: the sizes that a driver may deliver.
static esp_err_t run_recording(const Recording &recording,
                               FeatureExtractor &extractor,
                               Comparison &comparison,
                               FeatureReport *report,
                               std::int64_t (*clock)(),
                               void (*idle)())
{
    std::int16_t chunk[199];
    std::uint32_t frames = 0;
    std::size_t size = 1;
    for (std::uint32_t position = 0; position < recording.sample_count;
         position += size, size = (size * 7 + 3) % 199 + 1) {
        const std::size_t count = std::min<std::size_t>(size, recording.sample_count - position);
        std::memcpy(
            chunk, recording.samples + std::size_t{position} * sizeof(std::int16_t), count * sizeof(std::int16_t));
        std::span<const std::int16_t> samples(chunk, count);
        while (!samples.empty()) {
            const std::int64_t start = clock != nullptr ? clock() : 0;
            if (!extractor.take(&samples)) {
                continue;
            }
            const std::int64_t took = clock != nullptr ? clock() - start : 0;
            report->longest_us = std::max(report->longest_us, took);
            report->total_us += took;
            if (frames == recording.frame_count) {
                return ESP_ERR_INVALID_SIZE;
            }
            const auto features = extractor.features();
            comparison.compare(features, recording.features + frames++ * features.size_bytes(), extractor.config());
            if (idle != nullptr && frames % 16 == 0) {
                idle();
            }
        }
    }
    return frames == recording.frame_count ? ESP_OK : ESP_ERR_INVALID_SIZE;
}

esp_err_t replay_features(const ModelConfig &model,
                          const FrontEndConfig &front_end,
                          const streaming::GoldenData &data,
                          FeatureReport *report,
                          std::int64_t (*clock)(),
                          void (*idle)())
{
    *report = {};
    if (data.data == nullptr) {
        return ESP_ERR_NOT_FOUND;
    }
    FeatureExtractor extractor;
    if (const esp_err_t error = extractor.init(front_end); error != ESP_OK) {
        return error;
    }
    Comparison comparison(model, report);
    if (const esp_err_t error = comparison.init(extractor.features().size()); error != ESP_OK) {
        return error;
    }
    Reader reader(data.data, data.bytes);
    const char *magic = reader.take(4);
    std::uint32_t recordings = 0;
    if (magic == nullptr || std::memcmp(magic, "LEA1", 4) != 0 || !reader.take_word(&recordings)) {
        return ESP_ERR_INVALID_SIZE;
    }
    for (; report->recordings < recordings; ++report->recordings) {
        Recording recording;
        if (!read_recording(reader, front_end, &recording)) {
            return ESP_ERR_INVALID_SIZE;
        }
        extractor.reset();
        if (const esp_err_t error = run_recording(recording, extractor, comparison, report, clock, idle);
            error != ESP_OK) {
            return error;
        }
    }
    return reader.is_empty() ? ESP_OK : ESP_ERR_INVALID_SIZE;
}

void FeatureReport::print() const
{
    const auto count = static_cast<std::int64_t>(std::max<std::size_t>(frames, 1));
    std::printf("front end: %u frames of %u recordings, largest difference %.2g, %u of %u values differ, "
                "%u quantized one step off, %u further, %lld us on average, %lld us at most\n",
                static_cast<unsigned>(frames),
                static_cast<unsigned>(recordings),
                static_cast<double>(largest),
                static_cast<unsigned>(differing),
                static_cast<unsigned>(values),
                static_cast<unsigned>(steps_off),
                static_cast<unsigned>(wrong),
                static_cast<long long>(total_us / count),
                static_cast<long long>(longest_us));
}

} // namespace lesp::audio
