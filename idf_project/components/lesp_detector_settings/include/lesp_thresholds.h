// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Thresholds that a user chose, from C: kept in NVS, and taken by the detector from the next frame on.
//
// Every function prints in words what is wrong, since it may stand behind a command. Call them from one task at a time.
// What is set after the listener has stopped is kept as well, and counts from the next start on; words say so, and the
// function returns ESP_OK.
#pragma once

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

// Sets the threshold of a class by its label; INFINITY: the class makes no events.
// ESP_ERR_INVALID_STATE: thresholds have not been started. ESP_ERR_NOT_FOUND: no class has this label.
// ESP_ERR_INVALID_ARG: NaN, or outside 0 to 1 where scores are. Else the errors of NVS.
esp_err_t lesp_threshold_set(const char *label, float value);

// Gives the threshold that counts now. Errors as above.
esp_err_t lesp_threshold_get(const char *label, float *value);

// Forgets what was set for a class, or for all of them where `label` is NULL. Errors as above.
esp_err_t lesp_threshold_reset(const char *label);

// Chooses "low", "normal" or "high" for all classes whose threshold was not set. Normal is as the model was exported;
// low moves each threshold half of its way to 1, high takes a quarter of it away. These are steps, not rates: how many
// false and missed events they give was measured nowhere. ESP_ERR_NOT_FOUND: no such word. ESP_ERR_NOT_SUPPORTED:
// scores are no shares of 1, so there is nothing to move in.
esp_err_t lesp_sensitivity_set(const char *name);

// "low", "normal" or "high"; NULL: not started.
const char *lesp_sensitivity_get(void);

// Adds the commands `threshold` and `sensitivity` to esp_console:
//
//     threshold                    every class with its threshold
//     threshold stop 0.8           a number, `never`, or `default`
//     sensitivity high             low, normal, high; without a word: which one counts
//
// Errors of esp_console_cmd_register.
esp_err_t lesp_register_threshold_commands(void);

#ifdef __cplusplus
}
#endif
