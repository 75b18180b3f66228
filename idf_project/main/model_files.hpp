// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bundled_model.hpp"
#include "esp_err.h"
#include "listener/model.hpp"
#include "sdkconfig.h"

using lesp::listening::ModelFiles;

// Finds the files where menuconfig says that they are ("Streaming model" -> "Where the model is"): in the app, in
// partitions, or on an SD card. Outside the app it checks that each is there and the one of this bundle, by size and
// CRC32; else the console says what is wrong and what to do.
//
// ESP_ERR_NOT_FOUND: no such partition or file. ESP_ERR_INVALID_SIZE: the partition is too small, or the file has
// another size. ESP_ERR_INVALID_CRC: it holds something else, a model for another chip say. ESP_ERR_NO_MEM: ESP-DL
// cannot map the partitions. Else the errors of lesp::audio::mount_card and of reading flash.
esp_err_t find_model(ModelFiles *files);

// The model that runs: that of the bundle, wherever menuconfig says that it is. With updates it is the newest that
// passes its test, or that of the app where there is none; the console says which.
#if CONFIG_STREAMING_MODEL_UPDATE
const lesp_model &choose_model();

// The model that runs has started: a new one counts for good.
void confirm_model();

// The model that runs did not start: a new one is left, and the chip restarts with the one before it. Else nothing.
void leave_new_model();
#else
inline void confirm_model() {}
inline void leave_new_model() {}
inline const lesp_model &choose_model()
{
    static const lesp_model the_model = LESP_MODEL(lesp::bundled, find_model);
    return the_model;
}
#endif
