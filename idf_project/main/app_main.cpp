// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Runs the model of the bundle on the source that menuconfig chose: "Streaming model" -> "Where the frames come from".
#include <cstdio>

#include "model_files.hpp"
#include "source.hpp"

extern "C" void app_main(void)
{
    if (const esp_err_t error = run_source(); error != ESP_OK) {
        std::printf("FAIL %s\n", esp_err_to_name(error));
        leave_new_model();
    }
}
