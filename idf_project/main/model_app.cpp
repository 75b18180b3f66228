// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// The model in the app.
#include "model_files.hpp"

#include "bundled_model.hpp"

esp_err_t find_model(ModelFiles *files)
{
    *files = {lesp::bundled::kFiles, lesp::streaming::Location::kRodata};
    return ESP_OK;
}
