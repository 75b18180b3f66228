// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "audio/card.hpp"
#include "audio/wav_reader.hpp"
#include "listen.hpp"
#include "model_files.hpp"
#include "sdkconfig.h"
#include "source.hpp"

#if EMBEDDED_RECORDING
extern const char recording_start[] asm("_binary_recording_wav_start");
extern const char recording_end[] asm("_binary_recording_wav_end");
#endif

static esp_err_t read_samples(void *reader, std::int16_t *samples, std::size_t count, std::size_t *got)
{
    *got = static_cast<lesp::audio::WavReader *>(reader)->read({samples, count});
    return *got > 0 ? ESP_OK : ESP_ERR_NOT_FINISHED;
}

static esp_err_t evaluate_wav(lesp::audio::ByteSource &bytes)
{
    lesp::audio::WavReader reader;
    if (const esp_err_t error = reader.init(bytes); error != ESP_OK) {
        std::printf("The recording cannot be read: %s. Convert it to 16-bit PCM.\n", reader.problem());
        return error;
    }
    if (choose_model().front_end->kind != lesp::streaming::FrontEndKind::kNone &&
        reader.sample_rate() != choose_model().front_end->sample_rate) {
        std::printf("The recording has %d samples a second, the model takes %d. Convert it.\n",
                    reader.sample_rate(),
                    choose_model().front_end->sample_rate);
        return ESP_ERR_INVALID_ARG;
    }
    lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
    config.read_samples = read_samples;
    config.source = &reader;
    config.is_live = false;
    return listen(config);
}

static esp_err_t hear_file(const char *path)
{
    lesp::audio::FileBytes file;
#if CONFIG_STREAMING_MODEL_SDCARD
    esp_err_t error = ESP_OK; // the card is mounted, for the model is on it
#else
    esp_err_t error = lesp::audio::mount_card();
#endif
    if (error == ESP_OK) {
        error = file.open(path);
    }
    if (error != ESP_OK) {
        std::printf("There is no file %s (%s); is its file system mounted?\n", path, esp_err_to_name(error));
        return error;
    }
    return evaluate_wav(file);
}

esp_err_t run_source()
{
    if (CONFIG_STREAMING_WAV_PATH[0] != '\0') {
        return hear_file(CONFIG_STREAMING_WAV_PATH);
    }
#if EMBEDDED_RECORDING
    lesp::audio::MemoryBytes bytes(recording_start, static_cast<std::size_t>(recording_end - recording_start));
    return evaluate_wav(bytes);
#else
    std::printf("There is no recording: put main/recording.wav there and build again, or set a path in menuconfig.\n");
    return ESP_ERR_NOT_FOUND;
#endif
}
