// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "audio/feature_replay.hpp"
#include "bundled_model.hpp"
#include "confirm_app.hpp"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "listener/model.hpp"
#include "listener/rest.hpp"
#include "model_files.hpp"
#include "source.hpp"
#include "streaming/decision_replay.hpp"
#include "streaming/pipeline.hpp"
#include "streaming/readings_replay.hpp"
#include "streaming/replay.hpp"

namespace {

// A tick of rest now and then keeps the watchdog of the idle task content.
void rest()
{
    static lesp::listening::Rest rest(esp_timer_get_time());
    if (rest.is_due(esp_timer_get_time())) {
        vTaskDelay(1);
    }
}

class Both : public lesp::streaming::Sink {
public:
    void on_stage(lesp::streaming::Pipeline &pipeline, const lesp::streaming::StepResult &result) override
    {
        stages.on_stage(pipeline, result);
        if (has_detector) {
            decisions.on_stage(pipeline, result);
        }
    }

    lesp::streaming::GoldenSink stages;
    lesp::streaming::DecisionSink decisions;
    const bool has_detector = !lesp::bundled::kDetector.thresholds.empty();
};

esp_err_t replay_front_end(bool *has_passed)
{
    *has_passed = true;
    if (lesp::bundled::kGoldenAudio.bytes == 0) {
        return ESP_OK;
    }
    lesp::audio::FeatureReport report;
    const esp_err_t error = lesp::audio::replay_features(lesp::bundled::kConfig,
                                                         lesp::bundled::kFrontEnd,
                                                         lesp::bundled::kGoldenAudio,
                                                         &report,
                                                         esp_timer_get_time,
                                                         rest);
    if (error == ESP_OK) {
        report.print();
        *has_passed = report.has_passed();
    }
    return error;
}

esp_err_t replay_raw_readings(bool *has_passed)
{
    if (lesp::bundled::kGoldenReadings.bytes == 0) {
        return ESP_OK;
    }
    lesp::streaming::ReadingsReport report;
    const esp_err_t error = lesp::streaming::replay_readings(
        lesp::bundled::kConfig, lesp::bundled::kGolden, lesp::bundled::kGoldenReadings, &report, rest);
    if (error == ESP_OK) {
        report.print();
        *has_passed = report.has_passed();
    }
    return error;
}

// The last line, and the only one that starts with PASS or FAIL.
void print_verdict(const Both &sink, bool does_front_end_pass)
{
    const bool do_decisions_pass = !sink.has_detector || sink.decisions.has_passed();
    const auto windows = static_cast<unsigned>(sink.stages.windows());
    if (does_front_end_pass && sink.stages.has_passed() && do_decisions_pass) {
        confirm_app();
        std::printf("PASS %u windows\n", windows);
        return;
    }
    std::printf("FAIL %u windows:%s%s%s differ from the host\n",
                windows,
                does_front_end_pass ? "" : " front end",
                sink.stages.has_passed() ? "" : " stages",
                do_decisions_pass ? "" : " detector");
}

} // namespace

// Replays the golden data: samples through the front end, or readings through the normalisation, windows through the
// model, outputs through the detector. The last line that it prints is PASS or FAIL.
esp_err_t run_source()
{
    if (lesp::bundled::kGolden.bytes == 0) {
        std::printf("This bundle holds no golden windows (Deployment(golden=False)); there is nothing to replay.\n");
        return ESP_OK;
    }
    static lesp::streaming::Pipeline pipeline;
    lesp::streaming::GoldenSource source;
    Both sink;
    bool does_front_end_pass = true;
    static const lesp_model model =
        LESP_MODEL(lesp::bundled, find_model); // of the bundle, also where there was an update
    esp_err_t error = lesp::listening::load(model, pipeline);
    if (error == ESP_OK) {
        error = replay_front_end(&does_front_end_pass);
    }
    if (error == ESP_OK) {
        error = replay_raw_readings(&does_front_end_pass);
    }
    if (error == ESP_OK) {
        error = source.init(lesp::bundled::kConfig, lesp::bundled::kGolden);
    }
    if (error == ESP_OK) {
        error = sink.stages.init(lesp::bundled::kConfig, lesp::bundled::kGolden);
    }
    if (error == ESP_OK && sink.has_detector) {
        error = sink.decisions.init(
            lesp::bundled::kConfig, lesp::bundled::kGolden, lesp::bundled::kDetector, lesp::bundled::kGoldenEvents);
    }
    if (error == ESP_OK) {
        error = lesp::streaming::stream(source, pipeline, sink, rest);
    }
    if (error != ESP_OK) {
        return error;
    }
    if (sink.has_detector) {
        sink.decisions.print();
    }
    lesp::listening::print_memory();
    sink.stages.print();
    print_verdict(sink, does_front_end_pass);
    return ESP_OK;
}
