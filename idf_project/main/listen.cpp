#include "listen.hpp"

#include <cstdio>

#include "audio/card.hpp"
#include "audio/feature_extractor.hpp"
#include "audio/microphone.hpp"
#include "audio/wav_reader.hpp"
#include "bundled_model.hpp"
#include "capture.hpp"
#include "esp_timer.h"
#include "report.hpp"
#include "rest.hpp"
#include "sdkconfig.h"
#include "startup.hpp"
#include "streaming/listener.hpp"

namespace {

// Front end, model and detector, fed with samples.
class Ear {
public:
    esp_err_t init()
    {
        if (bundled::kFrontEnd.kind == streaming::FrontEndKind::kNone) {
            std::printf(
                "This model has no front end, so it cannot listen; choose the source \"Frames of your own\".\n");
            return ESP_ERR_NOT_SUPPORTED;
        }
        if (!has_one_input()) {
            return ESP_ERR_NOT_SUPPORTED;
        }
        esp_err_t error = start(pipeline_);
        if (error == ESP_OK) {
            error = extractor_.init(bundled::kFrontEnd);
        }
        return error == ESP_OK ? listener_.init(pipeline_, bundled::kDetector, esp_timer_get_time) : error;
    }

    esp_err_t hear(std::span<const std::int16_t> samples)
    {
        while (!samples.empty()) {
            if (!extractor_.take(&samples)) {
                continue;
            }
            if (const esp_err_t error = listener_.take(extractor_.features(), printer_); error != ESP_OK) {
                return error;
            }
        }
        return ESP_OK;
    }

    // Samples are missing here: no frame may lie across.
    void skip() { extractor_.reset(); }

    const streaming::StepTimes &times() const { return listener_.times(); }

private:
    streaming::Pipeline pipeline_;
    audio::FeatureExtractor extractor_;
    streaming::Listener listener_;
    EventPrinter printer_;
};

esp_err_t hear_wav(audio::ByteSource &bytes, Ear &ear)
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
    std::int16_t chunk[512];
    while (const std::size_t count = reader.read(chunk)) {
        if (const esp_err_t error = ear.hear(std::span(chunk).first(count)); error != ESP_OK) {
            return error;
        }
        vTaskDelay(1); // lets the idle task feed its watchdog
    }
    print_times(ear.times(), 0);
    return ESP_OK;
}

} // namespace

#if CONFIG_STREAMING_SOURCE_WAV

#if EMBEDDED_RECORDING
extern const char recording_start[] asm("_binary_recording_wav_start");
extern const char recording_end[] asm("_binary_recording_wav_end");
#endif

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

#else

esp_err_t listen_to_wav()
{
    static_cast<void>(hear_wav);
    return ESP_ERR_NOT_SUPPORTED;
}

#endif

#if CONFIG_STREAMING_SOURCE_MICROPHONE

esp_err_t listen_to_microphone()
{
    static Ear ear;
    static Capture capture;
    audio::SampleSource *microphone = nullptr;
    esp_err_t error = ear.init();
    if (error == ESP_OK) {
        error = audio::open_microphone(bundled::kFrontEnd.sample_rate, &microphone);
    }
    if (error == ESP_OK) {
        error = capture.start(*microphone, bundled::kFrontEnd.sample_rate * CONFIG_STREAMING_BUFFER_MS / 1000);
    }
    if (error != ESP_OK) {
        return error;
    }
    print_memory();
    std::printf("listening\n");
    Reporter reporter(esp_timer_get_time());
    Rest rest(esp_timer_get_time());
    std::int16_t chunk[160];
    while (error == ESP_OK) {
        const esp_err_t source_error = capture.error();
        const std::size_t count = capture.read(chunk);
        error = ear.hear(std::span(chunk).first(count));
        if (const std::uint32_t gap = count == 0 ? capture.take_gap() : 0; gap > 0) {
            std::printf("overrun: %u samples lost\n", static_cast<unsigned>(gap));
            ear.skip();
        } else if (count == 0 && error == ESP_OK) {
            error = source_error; // all that came before it was heard
        }
        reporter.report(esp_timer_get_time(), ear.times(), capture.dropped());
        if (rest.is_due(esp_timer_get_time())) {
            vTaskDelay(1); // where steps are too long, samples are always there and nothing else waits
        }
    }
    print_times(ear.times(), capture.dropped());
    return error;
}

#else

esp_err_t listen_to_microphone()
{
    return ESP_ERR_NOT_SUPPORTED;
}

#endif
