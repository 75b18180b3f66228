// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Each event as a message of an MQTT broker: topic "detected/<label>", data {"score": 0.912, "ms": 12340}.
#include <stdio.h>

#include "listen.hpp"
#include "mqtt_client.h"

#define BROKER "mqtt://192.168.0.10"

void streaming_on_event(const lesp_event_t *event)
{
    static esp_mqtt_client_handle_t client = NULL;
    char topic[sizeof("detected/") + LESP_NAME_BYTES];
    char data[64];
    if (event->id != LESP_EVENT_DETECTED) {
        return;
    }
    if (client == NULL) {
        const esp_mqtt_client_config_t config = {.broker.address.uri = BROKER};
        client = esp_mqtt_client_init(&config);
        ESP_ERROR_CHECK(esp_mqtt_client_start(client));
    }
    snprintf(topic, sizeof(topic), "detected/%s", event->name);
    snprintf(
        data, sizeof(data), "{\"score\": %.3f, \"ms\": %lld}", event->score, (long long)(event->position_us / 1000));
    // It does not wait for the network: the client's own task sends what is in its outbox.
    esp_mqtt_client_enqueue(client, topic, data, 0, 1, 0, true);
}
