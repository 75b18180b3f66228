// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The functions of C, which print in words what is wrong, and the commands that call them.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "detector_settings/thresholds.hpp"
#include "esp_console.h"
#include "lesp_thresholds.h"

using lesp::detector_settings::Sensitivity;
using lesp::detector_settings::Thresholds;

static constexpr const char *kSensitivities[] = {"low", "normal", "high"};

Thresholds &lesp::detector_settings::thresholds()
{
    static Thresholds the_thresholds;
    return the_thresholds;
}

static esp_err_t find(const char *label, std::size_t *index)
{
    const Thresholds &thresholds = lesp::detector_settings::thresholds();
    if (!thresholds.is_started()) {
        std::printf("There are no thresholds: no model with a detector and labels listens.\n");
        return ESP_ERR_INVALID_STATE;
    }
    const int found = label == nullptr ? -1 : thresholds.find(label);
    if (found >= 0) {
        *index = static_cast<std::size_t>(found);
        return ESP_OK;
    }
    std::printf("The model has no class \"%s\", only:", label == nullptr ? "" : label);
    for (const std::string_view each : thresholds.labels()) {
        std::printf(" %.*s", static_cast<int>(each.size()), each.data());
    }
    std::printf("\n");
    return ESP_ERR_NOT_FOUND;
}

// Setting fails with ESP_ERR_INVALID_STATE where no detector runs, which is behind keeping it.
static esp_err_t report(esp_err_t error)
{
    if (error == ESP_ERR_INVALID_STATE && lesp::detector_settings::thresholds().is_started()) {
        std::printf("The setting is kept and counts from the next start on; nothing listens now.\n");
        return ESP_OK;
    }
    if (error != ESP_OK) {
        std::printf("The setting was not kept (%s).\n", esp_err_to_name(error));
    }
    return error;
}

static void print(std::size_t label)
{
    const Thresholds &thresholds = lesp::detector_settings::thresholds();
    const std::string_view name = thresholds.labels()[label];
    const float value = thresholds.threshold(label);
    std::printf("%.*s ", static_cast<int>(name.size()), name.data());
    if (value == lesp::streaming::kNever) {
        std::printf("never");
    } else {
        std::printf("%.4g", static_cast<double>(value));
    }
    std::printf("%s\n", thresholds.is_own(label) ? ", set" : "");
}

extern "C" {

esp_err_t lesp_threshold_set(const char *label, float value)
{
    std::size_t index = 0;
    if (const esp_err_t error = find(label, &index); error != ESP_OK) {
        return error;
    }
    const esp_err_t error = lesp::detector_settings::thresholds().set(index, value);
    if (error == ESP_ERR_INVALID_ARG) {
        std::printf("A threshold of %g is none: scores go from 0 to 1.\n", static_cast<double>(value));
        return error;
    }
    return report(error);
}

esp_err_t lesp_threshold_get(const char *label, float *value)
{
    std::size_t index = 0;
    const esp_err_t error = find(label, &index);
    if (error == ESP_OK) {
        *value = lesp::detector_settings::thresholds().threshold(index);
    }
    return error;
}

esp_err_t lesp_threshold_reset(const char *label)
{
    if (label == nullptr) {
        return report(lesp::detector_settings::thresholds().reset_all());
    }
    std::size_t index = 0;
    const esp_err_t error = find(label, &index);
    return error == ESP_OK ? report(lesp::detector_settings::thresholds().reset(index)) : error;
}

esp_err_t lesp_sensitivity_set(const char *name)
{
    for (std::size_t i = 0; i < std::size(kSensitivities); ++i) {
        if (name == nullptr || std::strcmp(name, kSensitivities[i]) != 0) {
            continue;
        }
        const esp_err_t error = lesp::detector_settings::thresholds().set(static_cast<Sensitivity>(i));
        if (error == ESP_ERR_NOT_SUPPORTED) {
            std::printf("The scores of this model are no shares of 1, so there is no sensitivity; set thresholds.\n");
            return error;
        }
        return report(error);
    }
    std::printf("A sensitivity is low, normal or high, not \"%s\".\n", name == nullptr ? "" : name);
    return ESP_ERR_NOT_FOUND;
}

const char *lesp_sensitivity_get(void)
{
    const Thresholds &thresholds = lesp::detector_settings::thresholds();
    return thresholds.is_started() ? kSensitivities[static_cast<int>(thresholds.sensitivity())] : nullptr;
}

} // extern "C"

static int run_threshold(int count, char **words)
{
    std::size_t label = 0;
    if (count == 1) {
        const std::size_t classes = lesp::detector_settings::thresholds().labels().size();
        for (std::size_t each = 0; each < classes; ++each) {
            print(each);
        }
        return 0;
    }
    esp_err_t error = find(words[1], &label);
    if (error == ESP_OK && count == 3 && std::strcmp(words[2], "default") == 0) {
        error = lesp_threshold_reset(words[1]);
    } else if (error == ESP_OK && count == 3) {
        const bool is_never = std::strcmp(words[2], "never") == 0;
        char *end = nullptr;
        const float value = is_never ? lesp::streaming::kNever : std::strtof(words[2], &end);
        if (!is_never && (end == words[2] || *end != '\0' || !std::isfinite(value))) {
            std::printf("\"%s\" is no number; a threshold is one, or never, or default.\n", words[2]);
            return 1;
        }
        error = lesp_threshold_set(words[1], value);
    } else if (error == ESP_OK && count > 3) {
        std::printf("threshold [LABEL [NUMBER|never|default]]; a label with spaces stands in quotes.\n");
        return 1;
    }
    if (error == ESP_OK) {
        print(label);
    }
    return error == ESP_OK ? 0 : 1;
}

static int run_sensitivity(int count, char **words)
{
    if (count > 2) {
        std::printf("sensitivity [low|normal|high]\n");
        return 1;
    }
    if (count == 2 && lesp_sensitivity_set(words[1]) != ESP_OK) {
        return 1;
    }
    const char *const name = lesp_sensitivity_get();
    std::printf("%s\n", name == nullptr ? "no model with a detector and labels listens" : name);
    return 0;
}

extern "C" esp_err_t lesp_register_threshold_commands(void)
{
    esp_console_cmd_t threshold = {};
    threshold.command = "threshold";
    threshold.help =
        "Show the thresholds of the detector, or set that of a class: threshold LABEL NUMBER|never|default";
    threshold.func = run_threshold;
    esp_console_cmd_t sensitivity = {};
    sensitivity.command = "sensitivity";
    sensitivity.help = "Move the thresholds that were not set: sensitivity low|normal|high";
    sensitivity.func = run_sensitivity;
    const esp_err_t error = esp_console_cmd_register(&threshold);
    return error == ESP_OK ? esp_console_cmd_register(&sensitivity) : error;
}
