// Runs the model of the bundle on the source that menuconfig chose: "Streaming model" -> "Where the frames come from".
#include <cstdio>

#include "frames.hpp"
#include "listen.hpp"
#include "replay.hpp"
#include "sdkconfig.h"

static esp_err_t run()
{
#if CONFIG_STREAMING_SOURCE_WAV
    return listen_to_wav();
#elif CONFIG_STREAMING_SOURCE_MICROPHONE
    return listen_to_microphone();
#elif CONFIG_STREAMING_SOURCE_FRAMES
    return run_frames();
#else
    return replay();
#endif
}

extern "C" void app_main(void)
{
    if (const esp_err_t error = run(); error != ESP_OK) {
        std::printf("FAIL %s\n", esp_err_to_name(error));
    }
}
