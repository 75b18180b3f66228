// Runs an app that listens until its microphone falls silent: the app of the README, whose app_main returns at once.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "esp_event.h"
#include "lesp_listener.h"

extern "C" void app_main(void);

static std::atomic<bool> has_ended = false;

int main()
{
    ESP_ERROR_CHECK(esp_event_loop_create_default());
    ESP_ERROR_CHECK(esp_event_handler_register(
        LESP_EVENT, LESP_EVENT_ENDED, [](void *, esp_event_base_t, int32_t, void *) { has_ended = true; }, nullptr));
    app_main();
    while (!has_ended) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::fflush(stdout);
    std::_Exit(0);
}
