// Stands for mqtt_client.h of esp-mqtt, in ESP-IDF 5 and as the component espressif/mqtt.
#pragma once

#include <stdbool.h>

#include "esp_err.h"

typedef struct esp_mqtt_client *esp_mqtt_client_handle_t;

typedef struct {
    struct {
        struct {
            const char *uri;
        } address;
    } broker;
} esp_mqtt_client_config_t;

#ifdef __cplusplus
extern "C" {
#endif
esp_mqtt_client_handle_t esp_mqtt_client_init(const esp_mqtt_client_config_t *config);
esp_err_t esp_mqtt_client_start(esp_mqtt_client_handle_t client);
int esp_mqtt_client_enqueue(
    esp_mqtt_client_handle_t client, const char *topic, const char *data, int len, int qos, int retain, bool store);
#ifdef __cplusplus
}
#endif
