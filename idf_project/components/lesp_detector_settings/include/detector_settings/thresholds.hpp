// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "esp_err.h"
#include "streaming/config.hpp"
#include "streaming/detector.hpp"
#include "streaming/heap_array.hpp"

namespace lesp::detector_settings {

enum class Sensitivity : std::uint8_t { kLow, kNormal, kHigh };

// The threshold that a preset makes of one that was exported; kNever stays.
float move_threshold(float threshold, Sensitivity sensitivity);

// Thresholds of one model's detector: those of the export, moved by a preset, or set one by one; kept in NVS (namespace
// "lesp_detector", key "thresholds") as one entry, which is there as a whole or not at all. An entry of a model with
// other labels is left alone until something is set. Nothing is allocated after start.
class Thresholds {
public:
    // Takes a threshold over into a running detector. An error is given on to who set it; the setting is kept all the
    // same. ESP_ERR_INVALID_STATE: no detector runs, so the setting counts from the next start on.
    typedef esp_err_t (*Apply)(std::size_t label, float value);

    // Reads what is kept, and applies it. The configuration must outlive the object. ESP_ERR_NOT_SUPPORTED: the model
    // has no detector, or no labels. ESP_ERR_NO_MEM: no memory. Else the errors of NVS and of `apply`.
    esp_err_t start(const streaming::ModelConfig &config, const streaming::DetectorConfig &detector, Apply apply);

    // Position of a label; -1: no class has it.
    int find(std::string_view label) const;

    // As lesp_thresholds.h says of the functions of C; else the errors of `apply`, with the setting kept.
    esp_err_t set(std::size_t label, float value);
    esp_err_t reset(std::size_t label);
    esp_err_t reset_all();
    esp_err_t set(Sensitivity sensitivity);

    bool is_started() const { return own_.size() > 0; }
    float threshold(std::size_t label) const;
    bool is_own(std::size_t label) const;
    Sensitivity sensitivity() const { return static_cast<Sensitivity>(header_.sensitivity); }
    std::span<const std::string_view> labels() const { return labels_; }

private:
    // What is kept: this, and a float for each class, NaN where none was set.
    struct Header {
        std::uint32_t version = 1;
        std::uint32_t labels = 0; // CRC32 of all of them
        std::uint32_t sensitivity = static_cast<std::uint32_t>(Sensitivity::kNormal);
    };

    bool is_share() const { return detector_.activation != streaming::Activation::kNone; }
    esp_err_t load();
    esp_err_t store();
    esp_err_t write_entry();
    esp_err_t apply_all() const;

    std::span<const std::string_view> labels_;
    streaming::DetectorConfig detector_;
    Apply apply_ = nullptr;
    Header header_;
    streaming::HeapArray<float> own_;
    streaming::HeapArray<std::uint8_t> entry_;
};

// The thresholds that the functions of lesp_thresholds.h act on.
Thresholds &thresholds();

} // namespace lesp::detector_settings
