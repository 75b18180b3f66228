// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// An LED that is on for a second after each event.
#include "driver/gpio.h"
#include "esp_timer.h"
#include "listen.hpp"

#define LED_PIN GPIO_NUM_5
#define ON_US 1000000

static void switch_off(void *unused)
{
    gpio_set_level(LED_PIN, 0);
}

void streaming_on_event(const lesp_event_t *event)
{
    static esp_timer_handle_t timer = NULL;
    if (event->id != LESP_EVENT_DETECTED) {
        return;
    }
    if (timer == NULL) {
        const esp_timer_create_args_t once = {.callback = switch_off, .name = "led"};
        ESP_ERROR_CHECK(gpio_set_direction(LED_PIN, GPIO_MODE_OUTPUT));
        ESP_ERROR_CHECK(esp_timer_create(&once, &timer));
    }
    gpio_set_level(LED_PIN, 1);
    esp_timer_stop(timer); // an error where it does not run
    ESP_ERROR_CHECK(esp_timer_start_once(timer, ON_US));
}
