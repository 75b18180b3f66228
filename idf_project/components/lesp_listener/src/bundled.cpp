// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "bundled_model.hpp"
#include "listener/model.hpp"
#include "sdkconfig.h"

#if CONFIG_STREAMING_MODEL_PARTITION || CONFIG_STREAMING_MODEL_SDCARD
#include <cstdio>

// Its files are not in the app; who knows where they are describes the model with a function that finds them.
static esp_err_t find(lesp::listening::ModelFiles *)
{
    std::printf(
        "The model lies outside the app; start the listener with a lesp_model_t that finds it, as main does.\n");
    return ESP_ERR_NOT_FOUND;
}
#else
static esp_err_t find(lesp::listening::ModelFiles *files)
{
    return lesp::listening::find_in_app<lesp::bundled::kFiles>(files);
}
#endif

const lesp_model_t *lesp_bundled_model(void)
{
    static const lesp_model model = LESP_MODEL(lesp::bundled, find);
    return &model;
}
