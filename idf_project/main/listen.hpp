// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "esp_err.h"
#include "lesp_listener.h"

#ifdef __cplusplus
extern "C" {
#endif

// Called for every event, in the models' task. The one that comes with the project does nothing, since the event is
// printed anyway. Define your own, without `weak`, in a file of C or C++ that you add to `sources` in
// main/CMakeLists.txt; examples/ has one that switches an LED and one that tells an MQTT broker.
void streaming_on_event(const lesp_event_t *event);

#ifdef __cplusplus
}

// Listens with the model of the bundle until the source ends; prints events as they come, and now and then how long
// steps take and what was lost. The errors of lesp_listener_start, or what the source said last.
esp_err_t listen(lesp_listener_config_t config);
#endif
