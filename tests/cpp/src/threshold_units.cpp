// Thresholds in NVS, by functions and by commands.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "allocations.hpp"
#include "detector_settings/thresholds.hpp"
#include "esp_console.h"
#include "expect.hpp"
#include "fake_flash.hpp"
#include "fake_heap.hpp"
#include "lesp_thresholds.h"

using lesp::detector_settings::Sensitivity;
using lesp::detector_settings::Thresholds;
using lesp::streaming::kNever;

static bool is_counting = false;

static bool is_counted()
{
    return is_counting;
}

static constexpr std::string_view kLabels[] = {"go", "stop", "_silence_"};
static constexpr std::string_view kOthers[] = {"go", "halt", "_silence_"};
static constexpr float kExported[] = {0.5f, 0.8f, kNever};
static constexpr lesp::streaming::ModelConfig kConfig = {.labels = kLabels};
static constexpr lesp::streaming::ModelConfig kOtherConfig = {.labels = kOthers};
static constexpr lesp::streaming::DetectorConfig kDetector = {.thresholds = kExported};

static std::vector<float> applied(3);
static esp_err_t apply_error = ESP_OK;
static std::map<std::string, esp_console_cmd_func_t> commands;

static esp_err_t apply(std::size_t label, float value)
{
    applied[label] = value;
    return apply_error;
}

extern "C" esp_err_t esp_console_cmd_register(const esp_console_cmd_t *command)
{
    commands[command->command] = command->func;
    return ESP_OK;
}

extern "C" const char *esp_err_to_name(esp_err_t)
{
    return "an error";
}

static bool is_applied(float go, float stop, float silence)
{
    return applied == std::vector<float>{go, stop, silence};
}

static void test_what_was_set_stays()
{
    clear_flash();
    Thresholds first;
    EXPECT(first.set(0, 0.5f) == ESP_ERR_INVALID_STATE && first.set(Sensitivity::kLow) == ESP_ERR_INVALID_STATE);
    EXPECT(first.start(kConfig, kDetector, apply) == ESP_OK && is_applied(0.5f, 0.8f, kNever));
    EXPECT(first.set(1, 0.6f) == ESP_OK && first.set(2, 0.9f) == ESP_OK && is_applied(0.5f, 0.6f, 0.9f));
    EXPECT(first.set(Sensitivity::kHigh) == ESP_OK && is_applied(0.375f, 0.6f, 0.9f));
    Thresholds second;
    applied = {0, 0, 0};
    EXPECT(second.start(kConfig, kDetector, apply) == ESP_OK && is_applied(0.375f, 0.6f, 0.9f));
    EXPECT(second.sensitivity() == Sensitivity::kHigh && second.is_own(1) && !second.is_own(0));
    EXPECT(second.reset(1) == ESP_OK && applied[1] == 0.8f * 0.75f);
    EXPECT(second.set(Sensitivity::kLow) == ESP_OK && is_applied(0.75f, 0.9f, 0.9f));
    EXPECT(second.reset_all() == ESP_OK && is_applied(0.75f, 0.9f, kNever));
    // Of another model, which keeps its own from then on.
    Thresholds other;
    EXPECT(other.start(kOtherConfig, kDetector, apply) == ESP_OK && is_applied(0.5f, 0.8f, kNever));
    EXPECT(other.find("halt") == 1 && other.find("stop") == -1);
    EXPECT(other.set(0, kNever) == ESP_OK);
    Thresholds third;
    EXPECT(third.start(kConfig, kDetector, apply) == ESP_OK && is_applied(0.5f, 0.8f, kNever));
}

static void test_what_is_wrong_is_refused()
{
    clear_flash();
    Thresholds thresholds;
    EXPECT(thresholds.start({}, kDetector, apply) == ESP_ERR_NOT_SUPPORTED);
    EXPECT(thresholds.start(kConfig, {}, apply) == ESP_ERR_NOT_SUPPORTED && !thresholds.is_started());
    for (int n = 1; n <= 2; ++n) {
        failing_allocation = n;
        EXPECT(thresholds.start(kConfig, kDetector, apply) == ESP_ERR_NO_MEM && !thresholds.is_started());
    }
    failing_allocation = 0;
    EXPECT(thresholds.start(kConfig, kDetector, apply) == ESP_OK);
    for (const float value : {NAN, -0.01f, 1.01f, -INFINITY}) {
        EXPECT(thresholds.set(0, value) == ESP_ERR_INVALID_ARG);
    }
    EXPECT(thresholds.set(3, 0.5f) == ESP_ERR_NOT_FOUND && thresholds.reset(3) == ESP_ERR_NOT_FOUND);
    EXPECT(is_applied(0.5f, 0.8f, kNever));
    is_powered = false; // NVS takes nothing
    EXPECT(thresholds.set(0, 0.7f) == ESP_FAIL && thresholds.threshold(0) == 0.5f);
    EXPECT(thresholds.set(Sensitivity::kLow) == ESP_FAIL && thresholds.sensitivity() == Sensitivity::kNormal);
    restore_power();
    apply_error = ESP_ERR_INVALID_STATE;
    EXPECT(thresholds.set(0, 0.7f) == ESP_ERR_INVALID_STATE);
    apply_error = ESP_OK;
    // Scores that are no shares of 1 may have any threshold, and no presets.
    lesp::streaming::DetectorConfig raw = kDetector;
    raw.activation = lesp::streaming::Activation::kNone;
    EXPECT(thresholds.start(kConfig, raw, apply) == ESP_OK && thresholds.set(0, -7.0f) == ESP_OK);
    EXPECT(thresholds.set(Sensitivity::kHigh) == ESP_ERR_NOT_SUPPORTED &&
           thresholds.set(Sensitivity::kNormal) == ESP_OK);
}

static int run(std::vector<std::string> words)
{
    std::vector<char *> pointers;
    for (std::string &word : words) {
        pointers.push_back(word.data());
    }
    std::printf("> ");
    for (const std::string &word : words) {
        std::printf("%s ", word.c_str());
    }
    std::printf("\n");
    return commands.at(words[0])(static_cast<int>(words.size()), pointers.data());
}

static void test_commands()
{
    clear_flash();
    EXPECT(lesp_register_threshold_commands() == ESP_OK && commands.size() == 2);
    EXPECT(lesp_sensitivity_get() == nullptr && run({"threshold", "stop", "0.5"}) == 1 && run({"threshold"}) == 0);
    EXPECT(run({"sensitivity"}) == 0 && lesp_threshold_reset(nullptr) == ESP_ERR_INVALID_STATE);
    EXPECT(lesp::detector_settings::thresholds().start(kConfig, kDetector, apply) == ESP_OK);
    EXPECT(run({"threshold", "stop", "0.75"}) == 0 && is_applied(0.5f, 0.75f, kNever));
    EXPECT(run({"threshold", "go", "never"}) == 0 && is_applied(kNever, 0.75f, kNever));
    EXPECT(run({"threshold"}) == 0 && run({"threshold", "stop"}) == 0);
    EXPECT(run({"threshold", "go", "default"}) == 0 && is_applied(0.5f, 0.75f, kNever));
    for (const char *const wrong : {"nan", "1.5", "-1", "much", "0.5x", "inf", ""}) {
        EXPECT(run({"threshold", "stop", wrong}) == 1);
    }
    EXPECT(run({"threshold", "halt", "0.5"}) == 1 && run({"threshold", "stop", "0.5", "0.6"}) == 1);
    EXPECT(run({"sensitivity", "high"}) == 0 && is_applied(0.375f, 0.75f, kNever));
    EXPECT(run({"sensitivity"}) == 0 && run({"sensitivity", "most"}) == 1 && run({"sensitivity", "low", "high"}) == 1);
    EXPECT(is_applied(0.375f, 0.75f, kNever));
    float value = 0;
    EXPECT(lesp_threshold_get("stop", &value) == ESP_OK && value == 0.75f);
    EXPECT(lesp_threshold_get(nullptr, &value) == ESP_ERR_NOT_FOUND &&
           lesp_sensitivity_set(nullptr) == ESP_ERR_NOT_FOUND);
    EXPECT(lesp_threshold_reset(nullptr) == ESP_OK && applied[1] == 0.8f * 0.75f);
    is_powered = false;
    EXPECT(run({"threshold", "stop", "0.5"}) == 1);
    restore_power();
    // The listener has stopped.
    apply_error = ESP_ERR_INVALID_STATE;
    EXPECT(run({"threshold", "stop", "0.25"}) == 0 && lesp_threshold_set("go", 0.5f) == ESP_OK);
    EXPECT(lesp_threshold_reset("go") == ESP_OK && run({"sensitivity", "high"}) == 0);
    apply_error = ESP_OK;
    Thresholds next;
    EXPECT(next.start(kConfig, kDetector, apply) == ESP_OK && is_applied(0.375f, 0.25f, kNever));
}

static void test_nothing_is_allocated()
{
    clear_flash();
    Thresholds thresholds;
    EXPECT(thresholds.start(kConfig, kDetector, apply) == ESP_OK);
    is_powered = false; // what NVS itself allocates is its own affair
    is_counting = true;
    const long before = allocations;
    static_cast<void>(thresholds.threshold(1));
    static_cast<void>(thresholds.find("stop"));
    EXPECT(thresholds.set(0, 2.0f) == ESP_ERR_INVALID_ARG && allocations == before);
    is_counting = false;
    restore_power();
}

int main()
{
    test_what_was_set_stays();
    test_what_is_wrong_is_refused();
    test_commands();
    test_nothing_is_allocated();
    std::printf("PASS thresholds\n");
}
