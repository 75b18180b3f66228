// An LED, a timer that is over at once, and an MQTT broker, which say what comes.
#include <cstdio>

#include "driver/gpio.h"
#include "esp_timer.h"
#include "mqtt_client.h"

struct esp_timer {
    esp_timer_create_args_t arguments;
    bool is_running;
};

extern "C" {

esp_err_t gpio_set_direction(gpio_num_t, gpio_mode_t)
{
    return ESP_OK;
}

esp_err_t gpio_set_level(gpio_num_t pin, uint32_t level)
{
    std::printf("LED %d %s\n", static_cast<int>(pin), level != 0 ? "on" : "off");
    return ESP_OK;
}

esp_err_t esp_timer_create(const esp_timer_create_args_t *arguments, esp_timer_handle_t *handle)
{
    static esp_timer timer;
    timer = {*arguments, false};
    *handle = &timer;
    return ESP_OK;
}

esp_err_t esp_timer_start_once(esp_timer_handle_t timer, uint64_t)
{
    timer->arguments.callback(timer->arguments.arg);
    return ESP_OK;
}

esp_err_t esp_timer_stop(esp_timer_handle_t)
{
    return ESP_ERR_INVALID_STATE;
}

esp_mqtt_client_handle_t esp_mqtt_client_init(const esp_mqtt_client_config_t *config)
{
    static char client;
    std::printf("MQTT %s\n", config->broker.address.uri);
    return reinterpret_cast<esp_mqtt_client_handle_t>(&client);
}

esp_err_t esp_mqtt_client_start(esp_mqtt_client_handle_t client)
{
    return client != nullptr ? ESP_OK : ESP_ERR_INVALID_ARG;
}

int esp_mqtt_client_enqueue(esp_mqtt_client_handle_t, const char *topic, const char *data, int, int, int, bool)
{
    std::printf("MQTT %s %s\n", topic, data);
    return 1;
}

} // extern "C"
