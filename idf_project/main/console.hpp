// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "esp_err.h"
#include "listener/model.hpp"

// Takes the thresholds that are kept in NVS over into the first model of the listener, and reads the commands
// `threshold` and `sensitivity` from the console from now on. A model without a detector, or without labels, has none
// of both. Errors of lesp::detector_settings::Thresholds::start, of NVS and of esp_console.
esp_err_t start_console(const lesp_model &model);
