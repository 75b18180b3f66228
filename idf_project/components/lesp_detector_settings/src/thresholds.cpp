// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "detector_settings/thresholds.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "nvs.h"
#include "streaming/golden.hpp"

namespace lesp::detector_settings {

static constexpr const char *kNamespace = "lesp_detector";
static constexpr const char *kKey = "thresholds";
static constexpr float kNotSet = std::numeric_limits<float>::quiet_NaN();

float move_threshold(float threshold, Sensitivity sensitivity)
{
    if (threshold == streaming::kNever) {
        return threshold;
    }
    switch (sensitivity) {
    case Sensitivity::kLow:
        return (threshold + 1.0f) / 2.0f;
    case Sensitivity::kHigh:
        return threshold * 0.75f;
    default:
        return threshold;
    }
}

esp_err_t
Thresholds::start(const streaming::ModelConfig &config, const streaming::DetectorConfig &detector, Apply apply)
{
    static_cast<void>(own_.allocate(0));
    const std::size_t classes = detector.thresholds.size();
    if (classes == 0 || config.labels.size() != classes) {
        return ESP_ERR_NOT_SUPPORTED;
    }
    header_ = {};
    for (const std::string_view label : config.labels) {
        header_.labels = streaming::crc32(label.data(), label.size(), header_.labels);
        header_.labels = streaming::crc32("", 1, header_.labels);
    }
    if (!entry_.allocate(sizeof(Header) + classes * sizeof(float)) || !own_.allocate(classes)) {
        return ESP_ERR_NO_MEM;
    }
    std::fill(own_.begin(), own_.end(), kNotSet);
    labels_ = config.labels;
    detector_ = detector;
    apply_ = apply;
    const esp_err_t error = load();
    return error == ESP_OK ? apply_all() : error;
}

int Thresholds::find(std::string_view label) const
{
    const auto found = std::find(labels_.begin(), labels_.end(), label);
    return found == labels_.end() ? -1 : static_cast<int>(found - labels_.begin());
}

bool Thresholds::is_own(std::size_t label) const
{
    return !std::isnan(own_[label]);
}

float Thresholds::threshold(std::size_t label) const
{
    return is_own(label) ? own_[label] : move_threshold(detector_.thresholds[label], sensitivity());
}

esp_err_t Thresholds::set(std::size_t label, float value)
{
    if (!is_started()) {
        return ESP_ERR_INVALID_STATE;
    }
    if (label >= own_.size()) {
        return ESP_ERR_NOT_FOUND;
    }
    const bool is_outside = is_share() && value != streaming::kNever && (value < 0 || value > 1);
    if (std::isnan(value) || is_outside) {
        return ESP_ERR_INVALID_ARG;
    }
    own_[label] = value;
    const esp_err_t error = store();
    return error == ESP_OK ? apply_(label, value) : error;
}

esp_err_t Thresholds::reset(std::size_t label)
{
    if (!is_started()) {
        return ESP_ERR_INVALID_STATE;
    }
    if (label >= own_.size()) {
        return ESP_ERR_NOT_FOUND;
    }
    own_[label] = kNotSet;
    const esp_err_t error = store();
    return error == ESP_OK ? apply_(label, threshold(label)) : error;
}

esp_err_t Thresholds::reset_all()
{
    if (!is_started()) {
        return ESP_ERR_INVALID_STATE;
    }
    std::fill(own_.begin(), own_.end(), kNotSet);
    const esp_err_t error = store();
    return error == ESP_OK ? apply_all() : error;
}

esp_err_t Thresholds::set(Sensitivity sensitivity)
{
    if (!is_started()) {
        return ESP_ERR_INVALID_STATE;
    }
    if (!is_share() && sensitivity != Sensitivity::kNormal) {
        return ESP_ERR_NOT_SUPPORTED;
    }
    header_.sensitivity = static_cast<std::uint32_t>(sensitivity);
    const esp_err_t error = store();
    return error == ESP_OK ? apply_all() : error;
}

esp_err_t Thresholds::apply_all() const
{
    for (std::size_t label = 0; label < own_.size(); ++label) {
        if (const esp_err_t error = apply_(label, threshold(label)); error != ESP_OK) {
            return error;
        }
    }
    return ESP_OK;
}

esp_err_t Thresholds::load()
{
    nvs_handle_t handle = 0;
    std::size_t size = entry_.size();
    esp_err_t error = nvs_open(kNamespace, NVS_READONLY, &handle);
    if (error == ESP_OK) {
        error = nvs_get_blob(handle, kKey, nullptr, &size);
        if (error == ESP_OK && size == entry_.size()) {
            error = nvs_get_blob(handle, kKey, entry_.data(), &size);
        }
        nvs_close(handle);
    }
    if (error == ESP_ERR_NVS_NOT_FOUND || (error == ESP_OK && size != entry_.size())) {
        return ESP_OK;
    }
    if (error != ESP_OK) {
        return error;
    }
    Header found;
    std::memcpy(&found, entry_.data(), sizeof(found));
    const bool is_known = found.version == header_.version && found.labels == header_.labels &&
                          found.sensitivity <= static_cast<std::uint32_t>(Sensitivity::kHigh);
    if (is_known) {
        header_ = found;
        std::memcpy(own_.data(), entry_.data() + sizeof(found), own_.size() * sizeof(float));
    }
    return ESP_OK;
}

// What cannot be kept does not count either.
esp_err_t Thresholds::store()
{
    const esp_err_t error = write_entry();
    if (error != ESP_OK) {
        header_.sensitivity = Header().sensitivity;
        std::fill(own_.begin(), own_.end(), kNotSet);
        static_cast<void>(load());
    }
    return error;
}

esp_err_t Thresholds::write_entry()
{
    std::memcpy(entry_.data(), &header_, sizeof(header_));
    std::memcpy(entry_.data() + sizeof(header_), own_.data(), own_.size() * sizeof(float));
    nvs_handle_t handle = 0;
    esp_err_t error = nvs_open(kNamespace, NVS_READWRITE, &handle);
    if (error != ESP_OK) {
        return error;
    }
    error = nvs_set_blob(handle, kKey, entry_.data(), entry_.size());
    if (error == ESP_OK) {
        error = nvs_commit(handle);
    }
    nvs_close(handle);
    return error;
}

} // namespace lesp::detector_settings
