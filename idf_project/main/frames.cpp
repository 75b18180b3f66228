// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "frames.hpp"

#include <cstdio>

#include "listen.hpp"
#include "model_files.hpp"
#include "source.hpp"

extern "C" __attribute__((weak)) bool streaming_next_frame(float *, size_t)
{
    return false;
}

static std::size_t frames_taken = 0;

static esp_err_t read_frame(void *, float *values, std::size_t count)
{
    if (!streaming_next_frame(values, count)) {
        return ESP_ERR_NOT_FINISHED;
    }
    ++frames_taken;
    return ESP_OK;
}

static void print_scores(std::uint32_t, const float *scores, std::size_t count, void *)
{
    for (std::size_t i = 0; i < count; ++i) {
        std::printf("%.4f ", static_cast<double>(scores[i]));
    }
    std::printf("\n");
}

esp_err_t run_source()
{
    lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
    config.read_frame = read_frame;
    config.on_scores = choose_model().detector->thresholds.empty() ? print_scores : nullptr;
    const esp_err_t error = listen(config);
    if (error == ESP_OK && frames_taken == 0) {
        std::printf("No frames came: define streaming_next_frame (main/frames.hpp).\n");
    }
    return error;
}
