// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listen.hpp"

#include <cinttypes>
#include <cstdint>
#include <cstdio>

#include "confirm_app.hpp"
#include "console.hpp"
#include "listener/model.hpp"
#include "model_files.hpp"
#include "sdkconfig.h"

extern "C" __attribute__((weak)) void streaming_on_event(const lesp_event_t *) {}

static void on_event(const lesp_event_t *event, void *)
{
    const auto milliseconds = static_cast<unsigned>(event->position_us / 1000);
    if (event->id == LESP_EVENT_DETECTED) {
        std::printf("event %s (%" PRIu32 ") at %u.%03u s, score %.3f\n",
                    event->name[0] != '\0' ? event->name : "class",
                    event->label,
                    milliseconds / 1000,
                    milliseconds % 1000,
                    static_cast<double>(event->score));
    } else if (event->id == LESP_EVENT_OVERRUN) {
        std::printf("overrun: %" PRIu32 " samples lost\n", event->lost);
    }
    streaming_on_event(event);
}

static void print_stats(const lesp_model &model)
{
    lesp_listener_stats_t stats = {};
    if (lesp_listener_get_stats(0, &stats) != ESP_OK) {
        return;
    }
    std::printf(
        "%u steps, %u us on average, %u us at most of %d us, %u too long, %u samples lost, at work for %u.%u %% of "
        "the time (front end %u.%u %%)\n",
        static_cast<unsigned>(stats.steps),
        static_cast<unsigned>(stats.average_us),
        static_cast<unsigned>(stats.longest_us),
        model.config->frame_period_us,
        static_cast<unsigned>(stats.late),
        static_cast<unsigned>(stats.dropped),
        static_cast<unsigned>(stats.awake_permille / 10),
        static_cast<unsigned>(stats.awake_permille % 10),
        static_cast<unsigned>(stats.front_end_permille / 10),
        static_cast<unsigned>(stats.front_end_permille % 10));
}

esp_err_t listen(lesp_listener_config_t config)
{
    const lesp_model &model = choose_model();
    lesp_listener_model_t only = LESP_LISTENER_MODEL_DEFAULT();
    only.model = &model;
    config.models = &only;
    config.model_count = 1;
    if (const esp_err_t error = lesp_listener_start(&config, on_event, nullptr); error != ESP_OK) {
        return error;
    }
    confirm_model();
    confirm_app();
#if CONFIG_STREAMING_CONSOLE
    if (const esp_err_t error = start_console(model); error != ESP_OK) {
        std::printf("There are no commands on the console (%s).\n", esp_err_to_name(error));
    }
#endif
    lesp::listening::print_memory();
    std::printf("listening\n");
    constexpr std::uint32_t kReportMs = CONFIG_STREAMING_REPORT_SECONDS * 1000;
    esp_err_t error = ESP_ERR_TIMEOUT;
    while (lesp_listener_wait(kReportMs > 0 ? kReportMs : 1000, &error) == ESP_ERR_TIMEOUT) {
        if (kReportMs > 0) {
            print_stats(model);
        }
    }
    print_stats(model);
    lesp_listener_stop();
    return error;
}
