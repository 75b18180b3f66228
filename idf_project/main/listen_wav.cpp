#include "listen.hpp"

#include <cstdio>

#include "audio/card.hpp"
#include "audio/wav_reader.hpp"
#include "bundled_model.hpp"
#include "ear.hpp"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "report.hpp"
#include "rest.hpp"
#include "sdkconfig.h"

#if EMBEDDED_RECORDING
extern const char recording_start[] asm("_binary_recording_wav_start");
extern const char recording_end[] asm("_binary_recording_wav_end");
#endif

static esp_err_t hear_wav(audio::ByteSource &bytes, Ear &ear)
{
    audio::WavReader reader;
    if (const esp_err_t error = reader.init(bytes); error != ESP_OK) {
        std::printf("The recording cannot be read: %s. Convert it to 16-bit PCM.\n", reader.problem());
        return error;
    }
    if (reader.sample_rate() != bundled::kFrontEnd.sample_rate) {
        std::printf("The recording has %d samples a second, the model hears %d. Convert it.\n",
                    reader.sample_rate(),
                    bundled::kFrontEnd.sample_rate);
        return ESP_ERR_INVALID_ARG;
    }
    Rest rest(esp_timer_get_time());
    std::int16_t chunk[512];
    while (const std::size_t count = reader.read(chunk)) {
        if (const esp_err_t error = ear.hear(std::span(chunk).first(count)); error != ESP_OK) {
            return error;
        }
        if (rest.is_due(esp_timer_get_time())) {
            vTaskDelay(1); // lets the idle task feed its watchdog
        }
    }
    const esp_err_t error = ear.finish();
    print_times(ear.times(), 0);
    return error;
}

static esp_err_t hear_file(const char *path, Ear &ear)
{
    audio::FileBytes file;
#if CONFIG_STREAMING_MODEL_SDCARD
    esp_err_t error = ESP_OK; // the card is mounted, for the model is on it
#else
    esp_err_t error = audio::mount_card();
#endif
    if (error == ESP_OK) {
        error = file.open(path);
    }
    if (error != ESP_OK) {
        std::printf("There is no file %s (%s); is its file system mounted?\n", path, esp_err_to_name(error));
        return error;
    }
    return hear_wav(file, ear);
}

esp_err_t listen_to_wav()
{
    static Ear ear;
    if (const esp_err_t error = ear.init(); error != ESP_OK) {
        return error;
    }
    if (CONFIG_STREAMING_WAV_PATH[0] != '\0') {
        return hear_file(CONFIG_STREAMING_WAV_PATH, ear);
    }
#if EMBEDDED_RECORDING
    audio::MemoryBytes bytes(recording_start, static_cast<std::size_t>(recording_end - recording_start));
    return hear_wav(bytes, ear);
#else
    std::printf("There is no recording: put main/recording.wav there and build again, or set a path in menuconfig.\n");
    return ESP_ERR_NOT_FOUND;
#endif
}
