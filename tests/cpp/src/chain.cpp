// From samples to events with one bundle that listens, as `main` does it: nothing is allocated after start-up, and the
// longest step and those that are too long are told.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "allocations.hpp"
#include "audio/feature_extractor.hpp"
#include "audio/wav_reader.hpp"
#include "bundled_model.hpp"
#include "dl_speech_features.hpp"
#include "expect.hpp"
#include "fake_heap.hpp"
#include "streaming/decision_replay.hpp"
#include "streaming/listener.hpp"

// The stand-in of ESP-DL may allocate while it computes features; ESP-DL does not.
static bool is_counted()
{
    return dl::audio::computing == 0;
}

// Every call of the clock comes so much later.
static std::int64_t step_us = 0;

static std::int64_t tick()
{
    static std::int64_t now = 0;
    return now += step_us;
}

struct Counter : lesp::streaming::EventSink {
    void on_event(const lesp::streaming::Event &) override { ++events; }
    void on_scores(std::span<const float>) override { ++frames; }
    unsigned events = 0;
    unsigned frames = 0;
};

// The golden samples as a WAV file that never ends before its samples do.
static std::size_t copy_recording(std::uint8_t *wav, std::size_t room)
{
    static constexpr std::uint8_t kHeader[44] = {
        'R', 'I', 'F',  'F',  0, 0, 0, 0,    'W', 'A', 'V', 'E', 'f', 'm', 't', ' ', 16,  0,   0,    0,    1,    0,
        1,   0,   0x80, 0x3e, 0, 0, 0, 0x7d, 0,   0,   2,   0,   16,  0,   'd', 'a', 't', 'a', 0xff, 0xff, 0xff, 0xff};
    const char *data = lesp::bundled::kGoldenAudio.data;
    std::uint32_t samples = 0;
    std::memcpy(&samples, data + 8, sizeof(samples));
    EXPECT(sizeof(kHeader) + 2 * samples <= room);
    std::memcpy(wav, kHeader, sizeof(kHeader));
    std::memcpy(wav + sizeof(kHeader), data + 20, 2 * samples);
    return sizeof(kHeader) + 2 * samples;
}

// Whichever allocation of front end, listener or detector fails, init says so.
static void test_every_failed_allocation(lesp::streaming::Pipeline &pipeline)
{
    long failures = 0;
    for (long place = 1;; ++place) {
        lesp::audio::FeatureExtractor extractor;
        lesp::streaming::Listener listener;
        lesp::streaming::DecisionSink sink;
        failing_allocation = place;
        esp_err_t error = extractor.init(lesp::bundled::kFrontEnd);
        error = error == ESP_OK ? listener.init(pipeline, lesp::bundled::kDetector) : error;
        error = error == ESP_OK ? sink.init(lesp::bundled::kConfig,
                                            lesp::bundled::kGolden,
                                            lesp::bundled::kDetector,
                                            lesp::bundled::kGoldenEvents)
                                : error;
        const bool has_failed = failing_allocation == 0;
        failing_allocation = 0;
        EXPECT(error == (has_failed ? ESP_ERR_NO_MEM : ESP_OK));
        if (!has_failed) {
            break;
        }
        ++failures;
    }
    EXPECT(failures > 10);
}

int main()
{
    static std::uint8_t wav[1 << 20];
    lesp::audio::MemoryBytes bytes(wav, copy_recording(wav, sizeof(wav)));
    lesp::audio::WavReader reader;
    lesp::audio::FeatureExtractor extractor;
    lesp::streaming::Pipeline pipeline;
    lesp::streaming::Listener listener;
    Counter counter;
    EXPECT(reader.init(bytes) == ESP_OK);
    EXPECT(extractor.init(lesp::bundled::kFrontEnd) == ESP_OK);
    EXPECT(pipeline.init(lesp::bundled::kConfig, lesp::bundled::kFiles) == ESP_OK);
    test_every_failed_allocation(pipeline);
    EXPECT(listener.init(pipeline, lesp::bundled::kDetector, tick) == ESP_OK);
    EXPECT(allocations > 0);
    allocations = 0;
    constexpr std::int64_t kShort = 7;
    const std::int64_t too_long = lesp::bundled::kConfig.frame_period_us + 1;
    std::int16_t chunk[160];
    while (const std::size_t count = reader.read(chunk)) {
        std::span<const std::int16_t> samples(chunk, count);
        while (!samples.empty()) {
            step_us = listener.times().steps == 3 ? too_long : kShort;
            if (extractor.take(&samples)) {
                EXPECT(listener.take(extractor.features(), counter) == ESP_OK);
            }
        }
    }
    const lesp::streaming::StepTimes &times = listener.times();
    EXPECT(allocations == 0);
    EXPECT(counter.events > 0 && counter.frames > 10 && times.steps > 10);
    EXPECT(times.late == 1 && times.longest_us == too_long);
    EXPECT(times.total_us == (times.steps - 1) * kShort + too_long);
    // The end of the recording is scored, too: as many output frames as there were frames.
    EXPECT(times.steps % lesp::bundled::kConfig.window != 0 && counter.frames < times.steps);
    EXPECT(listener.finish(counter) == ESP_OK);
    EXPECT(counter.frames == times.steps + lesp::bundled::kConfig.delay);
    EXPECT(listener.finish(counter) == ESP_OK && counter.frames == times.steps + lesp::bundled::kConfig.delay);
    // Frames of another recording are those of a new one.
    extractor.reset();
    listener.reset();
    EXPECT(allocations == 0);
    std::printf("PASS chain\n");
}
