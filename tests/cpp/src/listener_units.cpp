// The listening component with models that say what they evaluate: losses, gates, thresholds, pauses, power and memory.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "allocations.hpp"
#include "dl_speech_features.hpp"
#include "echo.hpp"
#include "esp_event.h"
#include "expect.hpp"
#include "fake_heap.hpp"
#include "fake_services.hpp"
#include "lesp_listener.h"
#include "listener/frame_ring.hpp"
#include "listener/rest.hpp"
#include "listener/session.hpp"

using lesp::listening::FrameRing;
using lesp::listening::FrameStamp;

// The stand-ins of ESP-DL allocate in a run; what is counted is ours, on the tasks' way around them.
static std::atomic<bool> is_counting = false;
static bool is_counted()
{
    return is_counting && dl::audio::computing == 0;
}

extern "C" const lesp_model_t *lesp_bundled_model(void)
{
    return &echo::Model<1>::kModel;
}

namespace {

constexpr auto kBriefly = std::chrono::milliseconds(2);

// Frames, or samples, from the test: what is there is given, and then nothing until more comes or the end is said.
struct Source {
    std::vector<float> frames; // of kBands values
    std::atomic<std::size_t> given = 0;
    std::atomic<std::size_t> available = 0; // frames that may be given
    std::atomic<bool> has_ended = false;

    // Adds frames whose band `band` is `value`.
    void add(int count, int band, float value)
    {
        for (int i = 0; i < count; ++i) {
            for (int j = 0; j < echo::kBands; ++j) {
                frames.push_back(j == band ? value : 0);
            }
        }
    }

    void release(std::size_t count) { available += count; }

    static esp_err_t read(void *source, float *values, std::size_t count)
    {
        auto *self = static_cast<Source *>(source);
        const bool has_ended = self->has_ended; // before what it says is looked at
        EXPECT(count == echo::kBands);
        if (self->given == self->available) {
            std::this_thread::sleep_for(std::chrono::microseconds(200));
            return has_ended ? ESP_ERR_NOT_FINISHED : ESP_ERR_TIMEOUT;
        }
        std::memcpy(values, self->frames.data() + self->given++ * count, count * sizeof(float));
        return ESP_OK;
    }
};

// What came.
struct Log {
    std::mutex mutex;
    std::vector<lesp_event_t> events;
    std::vector<std::vector<float>> scores[3];

    static void on_event(const lesp_event_t *event, void *ctx)
    {
        auto *log = static_cast<Log *>(ctx);
        const std::lock_guard lock(log->mutex);
        log->events.push_back(*event);
    }
    static void on_scores(std::uint32_t model, const float *scores, std::size_t count, void *ctx)
    {
        auto *log = static_cast<Log *>(ctx);
        const std::lock_guard lock(log->mutex);
        log->scores[model].emplace_back(scores, scores + count);
    }
    std::size_t count(lesp_event_id_t id)
    {
        const std::lock_guard lock(mutex);
        std::size_t found = 0;
        for (const lesp_event_t &event : events) {
            found += event.id == id ? 1 : 0;
        }
        return found;
    }
    std::size_t evaluated(std::uint32_t model)
    {
        const std::lock_guard lock(mutex);
        return scores[model].size();
    }
};

template <typename Condition>
void wait_until(Condition condition)
{
    while (!condition()) {
        std::this_thread::sleep_for(kBriefly);
    }
}

lesp_listener_config_t configure(Source &source)
{
    lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
    config.read_frame = Source::read;
    config.source = &source;
    config.on_scores = Log::on_scores;
    return config;
}

} // namespace

// Lost is one buffer and what came until the reader saw it; what comes next is in one piece again.
static void test_the_ring_drops_one_buffer()
{
    FrameRing ring;
    EXPECT(ring.init(0, 4, 1) == ESP_ERR_INVALID_ARG && ring.init(2, 0, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(ring.init(2, std::size_t{1} << 40, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(ring.init(2, 3, 160) == ESP_OK && ring.capacity() == 4);
    const float values[2] = {1, 2};
    for (int i = 0; i < 4; ++i) {
        EXPECT(ring.push(values, {.position_us = i, .lost = i == 2 ? 7u : 0u}));
    }
    EXPECT(ring.is_full() && !ring.has_overrun() && ring.take_overrun() == 0 && ring.used() == 4);
    EXPECT(ring.values()[1] == 2 && ring.stamp().position_us == 0);
    EXPECT(!ring.push(values, {}) && !ring.push(values, {.lost = 5}));
    ring.pop();
    // There is room again, but a loss that nobody has seen yet keeps it empty.
    EXPECT(!ring.push(values, {}) && ring.used() == 3);
    EXPECT(ring.take_overrun() == 3 * 160 + 7 + 3 * 160 + 5 && ring.used() == 0 && ring.take_overrun() == 0);
    EXPECT(ring.push(values, {.position_us = 9}) && ring.stamp().position_us == 9 && ring.stamp().lost == 0);
    EXPECT(!ring.push(std::span(values).first(1), {}) && ring.has_overrun());
}

// Two tasks at full speed: each frame is evaluated once and in order, or is counted.
static void test_the_ring_between_tasks()
{
    static FrameRing ring;
    constexpr std::uint32_t kFrames = 200000;
    EXPECT(ring.init(1, 16, 1) == ESP_OK);
    std::atomic<bool> has_ended = false;
    std::thread writer([&has_ended] {
        for (std::uint32_t i = 0; i < kFrames; ++i) {
            const auto value = static_cast<float>(i);
            ring.push({&value, 1}, {.position_us = i});
            if (i % 64 == 0) {
                std::this_thread::yield();
            }
        }
        has_ended = true;
    });
    std::uint32_t next = 0;
    std::uint32_t lost = 0;
    while (!has_ended || ring.used() > 0 || ring.has_overrun()) {
        if (const std::uint32_t dropped = ring.take_overrun(); dropped > 0) {
            next += dropped;
            lost += dropped;
        } else if (ring.used() > 0) {
            EXPECT(ring.stamp().position_us == next && ring.values()[0] == static_cast<float>(next));
            ring.pop();
            ++next;
        }
    }
    writer.join();
    EXPECT(next == kFrames && lost < kFrames);
}

// Once a second, however often it is asked, and from the last rest on.
static void test_rest()
{
    lesp::listening::Rest rest(500);
    EXPECT(!rest.is_due(500) && !rest.is_due(1000499));
    EXPECT(rest.is_due(1000500));
    EXPECT(!rest.is_due(1000501) && !rest.is_due(2000499));
    EXPECT(rest.is_due(7000000) && !rest.is_due(7999999));
}

// Label, name, score and times of an event; the end, in order; and everything given back.
static void test_events()
{
    Source source;
    source.add(3, 0, 0);
    source.add(1, 1, 3.5f);
    source.add(2, 0, 0);
    source.add(1, 2, 5);
    source.release(7);
    Log log;
    EXPECT(lesp_listener_stop() == ESP_ERR_INVALID_STATE && lesp_listener_pause() == ESP_ERR_INVALID_STATE);
    const lesp_listener_config_t config = configure(source);
    EXPECT(lesp_listener_start(nullptr, Log::on_event, &log) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_ERR_INVALID_STATE);
    esp_err_t error = ESP_FAIL;
    EXPECT(lesp_listener_wait(20, &error) == ESP_ERR_TIMEOUT);
    source.has_ended = true;
    EXPECT(lesp_listener_wait(10000, &error) == ESP_OK && error == ESP_OK);
    lesp_listener_stats_t stats = {};
    EXPECT(lesp_listener_get_stats(0, &stats) == ESP_OK && stats.steps == 7 && stats.dropped == 0);
    EXPECT(stats.awake_permille <= 1000 && stats.models_permille <= 1000);
    EXPECT(lesp_listener_get_stats(1, &stats) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_find_label(0, "middle") == 1 && lesp_listener_find_label(0, "none") == -1);
    EXPECT(lesp_listener_stop() == ESP_OK && lesp_listener_get_stats(0, &stats) == ESP_ERR_INVALID_STATE);
    EXPECT(log.events.size() == 3 && log.scores[0].size() == 7);
    EXPECT(log.events[0].id == LESP_EVENT_DETECTED && log.events[0].label == 1 && log.events[0].score == 3.5f);
    EXPECT(std::strcmp(log.events[0].name, "middle") == 0 && log.events[0].position_us == 16000);
    EXPECT(std::string(log.events[1].name) == "a label that is longer than the" && log.events[1].position_us == 28000);
    EXPECT(log.events[1].time_us - log.events[0].time_us < 10000000 && log.events[0].time_us > 0);
    EXPECT(log.events[2].id == LESP_EVENT_ENDED && log.events[2].error == ESP_OK);
}

static void count_event(void *count, esp_event_base_t base, std::int32_t id, void *data)
{
    EXPECT(base == LESP_EVENT && static_cast<lesp_event_t *>(data)->id == static_cast<lesp_event_id_t>(id));
    ++*static_cast<std::atomic<int> *>(count);
}

// Events also go to the default event loop, and that alone is enough.
static void test_the_event_loop()
{
    std::atomic<int> detected = 0;
    std::atomic<int> all = 0;
    EXPECT(esp_event_loop_create_default() == ESP_OK);
    EXPECT(esp_event_handler_register(LESP_EVENT, LESP_EVENT_DETECTED, count_event, &detected) == ESP_OK);
    EXPECT(esp_event_handler_register(LESP_EVENT, ESP_EVENT_ANY_ID, count_event, &all) == ESP_OK);
    Source source;
    source.add(1, 0, 4);
    source.release(1);
    source.has_ended = true;
    lesp_listener_config_t config = configure(source);
    config.on_scores = nullptr;
    EXPECT(lesp_listener_start(&config, nullptr, nullptr) == ESP_OK);
    EXPECT(lesp_listener_wait(10000, nullptr) == ESP_OK);
    EXPECT(lesp_listener_stop() == ESP_OK && detected == 1 && all == 2);
    EXPECT(esp_event_loop_delete_default() == ESP_OK);
    config.post_events = false;
    EXPECT(lesp_listener_start(&config, nullptr, nullptr) == ESP_ERR_INVALID_ARG);
}

// A threshold counts from the next frame on, set from outside or from a callback.
static void test_thresholds()
{
    Source source;
    for (int i = 0; i < 4; ++i) {
        source.add(1, 0, 2.5f);
        source.add(1, 0, 0);
    }
    Log log;
    const lesp_listener_config_t config = configure(source);
    EXPECT(lesp_listener_set_threshold(0, 0, 1) == ESP_ERR_INVALID_STATE);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    EXPECT(lesp_listener_set_threshold(0, 4, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_set_threshold(1, 0, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_set_threshold(0, 0, NAN) == ESP_ERR_INVALID_ARG);
    source.release(2);
    wait_until([&log] { return log.evaluated(0) == 2; });
    EXPECT(log.count(LESP_EVENT_DETECTED) == 1);
    EXPECT(lesp_listener_set_threshold(0, 0, 3) == ESP_OK);
    source.release(2);
    wait_until([&log] { return log.evaluated(0) == 4; });
    EXPECT(log.count(LESP_EVENT_DETECTED) == 1);
    EXPECT(lesp_listener_set_threshold(0, 0, 2) == ESP_OK);
    source.release(4);
    source.has_ended = true;
    EXPECT(lesp_listener_wait(10000, nullptr) == ESP_OK);
    EXPECT(log.count(LESP_EVENT_DETECTED) == 3);
    EXPECT(lesp_listener_stop() == ESP_OK);
}

static std::atomic<int> answers = 0;

static void answer(const lesp_event_t *event, void *)
{
    if (event->id != LESP_EVENT_DETECTED) {
        return;
    }
    lesp_listener_stats_t stats = {};
    EXPECT(lesp_listener_stop() == ESP_ERR_INVALID_STATE && lesp_listener_wait(1, nullptr) == ESP_ERR_INVALID_STATE);
    EXPECT(lesp_listener_start(nullptr, answer, nullptr) == ESP_ERR_INVALID_ARG);
    EXPECT(lesp_listener_get_stats(0, &stats) == ESP_OK && lesp_listener_set_threshold(0, 0, 2) == ESP_OK);
    EXPECT(lesp_listener_find_label(0, "low") == 0);
    ++answers;
}

// A callback may ask and change what it likes, also while somebody waits for it to end.
static void test_calls_from_a_callback()
{
    for (int i = 0; i < 20; ++i) {
        Source source;
        for (int j = 0; j < 100; ++j) {
            source.add(1, 0, 2.5f);
            source.add(1, 0, 0);
        }
        source.release(200);
        lesp_listener_config_t config = configure(source);
        config.on_scores = nullptr;
        EXPECT(lesp_listener_start(&config, answer, nullptr) == ESP_OK);
        wait_until([] { return answers > 0; });
        EXPECT(lesp_listener_stop() == ESP_OK);
        answers = 0;
    }
}

// A source that makes calls, and once waits for a task that finds no listener any more.
struct Caller {
    std::atomic<int> reads = 0;
    std::atomic<bool> shall_wait = false;
    std::atomic<bool> is_refused = false;

    void call()
    {
        lesp_listener_stats_t stats = {};
        EXPECT(lesp_listener_stop() == ESP_ERR_INVALID_STATE);
        EXPECT(lesp_listener_wait(1, nullptr) == ESP_ERR_INVALID_STATE);
        lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
        EXPECT(lesp_listener_start(&config, answer, nullptr) == ESP_ERR_INVALID_STATE);
        EXPECT(lesp_listener_get_stats(0, &stats) == ESP_OK && lesp_listener_set_threshold(0, 0, 2) == ESP_OK);
        EXPECT(lesp_listener_pause() == ESP_OK && lesp_listener_resume() == ESP_OK);
        ++reads;
        if (shall_wait) {
            wait_until([this] { return is_refused.load(); });
        }
    }
    static esp_err_t read_frame(void *source, float *, std::size_t)
    {
        static_cast<Caller *>(source)->call();
        return ESP_ERR_TIMEOUT;
    }
    static esp_err_t read_samples(void *source, std::int16_t *samples, std::size_t, std::size_t *got)
    {
        static_cast<Caller *>(source)->call();
        samples[0] = 0;
        *got = 1;
        return ESP_OK;
    }
};

static void test_calls_from_a_source()
{
    for (int i = 0; i < 20; ++i) {
        Caller caller;
        lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
        config.read_frame = i % 2 == 0 ? Caller::read_frame : nullptr;
        config.read_samples = i % 2 == 0 ? nullptr : Caller::read_samples;
        config.source = &caller;
        EXPECT(lesp_listener_start(&config, answer, nullptr) == ESP_OK);
        wait_until([&caller] { return caller.reads > 0; });
        caller.shall_wait = true;
        std::thread other([&caller] {
            lesp_listener_stats_t stats = {};
            wait_until([&stats] { return lesp_listener_get_stats(0, &stats) == ESP_ERR_INVALID_STATE; });
            caller.is_refused = true;
        });
        EXPECT(lesp_listener_stop() == ESP_OK);
        other.join();
    }
}

static std::atomic<esp_err_t> said_during_start = ESP_OK;

// There is nothing to wait for until the start has succeeded.
static void test_a_call_during_a_start()
{
    Source source;
    lesp_model model = echo::Model<1>::kModel;
    model.find = [](lesp::listening::ModelFiles *) {
        said_during_start = lesp_listener_wait(0, nullptr);
        return ESP_ERR_NOT_FOUND;
    };
    lesp_listener_model_t only = LESP_LISTENER_MODEL_DEFAULT();
    only.model = &model;
    lesp_listener_config_t config = configure(source);
    config.models = &only;
    config.model_count = 1;
    EXPECT(lesp_listener_start(&config, answer, nullptr) == ESP_ERR_NOT_FOUND);
    EXPECT(said_during_start == ESP_ERR_INVALID_STATE);
}

// While it is paused nothing is asked of the source, and afterwards the model starts anew.
static void test_pause()
{
    Source source;
    source.add(12, 0, 1);
    Log log;
    const lesp_listener_config_t config = configure(source);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    source.release(3);
    wait_until([&log] { return log.evaluated(0) == 3; });
    EXPECT(lesp_listener_pause() == ESP_OK);
    std::this_thread::sleep_for(10 * kBriefly); // it is being asked until then
    source.release(3);
    std::this_thread::sleep_for(10 * kBriefly);
    EXPECT(source.given == 3 && log.evaluated(0) == 3);
    EXPECT(lesp_listener_resume() == ESP_OK);
    source.has_ended = true;
    EXPECT(lesp_listener_wait(10000, nullptr) == ESP_OK && log.evaluated(0) == 6);
    // The last class counts windows since the start.
    const float counts[] = {0, 1, 2, 0, 1, 2};
    for (std::size_t i = 0; i < 6; ++i) {
        EXPECT(log.scores[0][i][3] == std::ldexp(counts[i], -4));
    }
    EXPECT(lesp_listener_stop() == ESP_OK);
    // A listener that is paused can be stopped.
    source.has_ended = false;
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK && lesp_listener_pause() == ESP_OK);
    std::this_thread::sleep_for(10 * kBriefly);
    EXPECT(lesp_listener_stop() == ESP_OK);
}

// With windows of five frames the model's task works once for five of them, and holds the clock up only then.
static void test_sleep_between_windows()
{
    Source source;
    source.add(52, 0, 1);
    Log log;
    lesp_listener_model_t model = LESP_LISTENER_MODEL_DEFAULT();
    model.model = &echo::Model<5>::kModel;
    lesp_listener_config_t config = configure(source);
    config.models = &model;
    config.model_count = 1;
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    source.release(4);
    wait_until([&source] { return source.given == 4; });
    std::this_thread::sleep_for(10 * kBriefly);
    const long before = power_acquired;
    EXPECT(log.evaluated(0) == 0 && power_held == 0 && power_locks == 2);
    source.release(1);
    wait_until([&log] { return log.evaluated(0) == 5; });
    wait_until([] { return power_held == 0; });
    // Once for the frame, once for the window.
    EXPECT(power_acquired == before + 2);
    source.release(47);
    source.has_ended = true;
    EXPECT(lesp_listener_wait(10000, nullptr) == ESP_OK && log.evaluated(0) == 52);
    EXPECT(lesp_listener_stop() == ESP_OK && power_held == 0 && power_locks == 0);
}

// Samples that change their sign, four at a time.
struct Samples {
    std::atomic<std::uint32_t> given = 0;
    std::uint32_t most = 0;
    int pause_us = 0;

    static esp_err_t read(void *source, std::int16_t *samples, std::size_t count, std::size_t *got)
    {
        auto *self = static_cast<Samples *>(source);
        if (self->given >= self->most) {
            return ESP_ERR_NOT_FINISHED;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(self->pause_us));
        *got = std::min<std::size_t>(count, 4);
        for (std::size_t i = 0; i < *got; ++i) {
            samples[i] = static_cast<std::int16_t>(self->given++ % 2 == 0 ? 9000 : -9000);
        }
        return ESP_OK;
    }
};

static lesp_listener_config_t configure(Samples &samples, bool is_live)
{
    lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
    config.read_samples = Samples::read;
    config.source = &samples;
    config.is_live = is_live;
    config.on_scores = Log::on_scores;
    config.buffer_ms = 64; // 16 frames
    return config;
}

// It loses a buffer at once, again and again.
static void test_a_model_that_is_too_slow()
{
    Samples samples;
    samples.most = 4 * 400;
    samples.pause_us = 300;
    echo_us = 3000;
    Log log;
    const lesp_listener_config_t config = configure(samples, true);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    EXPECT(lesp_listener_wait(60000, nullptr) == ESP_OK);
    lesp_listener_stats_t stats = {};
    EXPECT(lesp_listener_get_stats(0, &stats) == ESP_OK);
    EXPECT(lesp_listener_stop() == ESP_OK);
    echo_us = 0;
    std::uint32_t lost = 0;
    for (const lesp_event_t &event : log.events) {
        if (event.id == LESP_EVENT_OVERRUN) {
            // The buffer of 16 frames, one of which was being evaluated, and what came until that was over.
            EXPECT(event.lost >= 16 * 4);
            lost += event.lost;
        }
    }
    // Each frame of four samples was evaluated or is counted; the first one takes eight samples.
    EXPECT(log.count(LESP_EVENT_OVERRUN) >= 2 && lost == stats.dropped && lost % 4 == 0);
    EXPECT(log.scores[0].size() + lost / 4 == 400 - 1);
    // Behind each loss the model starts from its initial state, and between two it evaluates all.
    std::size_t starts = 0;
    int run = 0;
    for (const std::vector<float> &scores : log.scores[0]) {
        if (scores[3] == 0) {
            ++starts;
            run = 0;
        }
        EXPECT(scores[3] == std::ldexp(static_cast<float>(std::min(run++, 100)), -4));
    }
    EXPECT(starts >= 2 && starts <= log.count(LESP_EVENT_OVERRUN) + 1);
}

// A file waits for a slow model: nothing is lost.
static void test_a_source_that_can_wait()
{
    Samples samples;
    samples.most = 4 * 200;
    echo_us = 300;
    Log log;
    const lesp_listener_config_t config = configure(samples, false);
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    EXPECT(lesp_listener_wait(60000, nullptr) == ESP_OK);
    EXPECT(lesp_listener_stop() == ESP_OK && log.evaluated(0) == 199 && log.count(LESP_EVENT_OVERRUN) == 0);
    echo_us = 0;
}

// A detector of speech opens the second model, which sleeps else: it starts anew, some frames before.
static void test_a_gate()
{
    Source source;
    source.add(20, 0, 0);
    source.add(4, 0, 5); // speech
    source.add(3, 1, 1);
    source.add(40, 0, 0);
    source.add(1, 0, 5);
    source.add(30, 0, 0);
    Log log;
    lesp_listener_model_t models[2] = {LESP_LISTENER_MODEL_DEFAULT(), LESP_LISTENER_MODEL_DEFAULT()};
    models[1].model = &echo::Model<2>::kModel;
    models[1].gate = 0;
    models[1].gate_label = 0;
    models[1].gate_threshold = 4;
    models[1].gate_hold_ms = 40; // 10 frames
    models[1].preroll_ms = 24;   // 6 frames
    lesp_listener_config_t config = configure(source);
    config.models = models;
    config.model_count = 2;
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    // Frame by frame, as they come from a microphone.
    for (std::size_t i = 1; i <= 98; ++i) {
        source.release(1);
        wait_until([&log, i] { return log.evaluated(0) == i; });
    }
    source.has_ended = true;
    EXPECT(lesp_listener_wait(10000, nullptr) == ESP_OK);
    lesp_listener_stats_t gate = {};
    lesp_listener_stats_t gated = {};
    EXPECT(lesp_listener_get_stats(0, &gate) == ESP_OK && lesp_listener_get_stats(1, &gated) == ESP_OK);
    EXPECT(lesp_listener_stop() == ESP_OK);
    EXPECT(gate.steps == 98 && gated.opened == 2 && gated.dropped == 0);
    // Twice 6 frames before, the 4 or 1 of speech and the 10 after it; one that lies in a window with the next, which
    // comes too late, is left out.
    EXPECT(gated.steps >= 6 + 4 + 9 + 6 + 1 + 9 && gated.steps <= 6 + 4 + 10 + 6 + 1 + 10);
    // The speech itself was evaluated whole: its first frame comes after the pre-roll.
    const auto &scores = log.scores[1];
    EXPECT(scores[5][0] == 0 && scores[6][0] == 5 && scores[9][0] == 5 && scores[10][1] == 1);
    EXPECT(scores[0][3] == 0 && scores[2][3] == 1.0f / 16);

    models[1].gate = 1;
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_ERR_INVALID_ARG);
    models[1].gate = 0;
    models[1].gate_label = 4;
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_ERR_INVALID_ARG);
}

// Evaluates `source`, all of which is there from the start, with a model behind the gate `gate`.
static lesp_listener_stats_t evaluate_behind(const lesp_model &gate, Source &source, Log &log)
{
    lesp_listener_model_t models[2] = {LESP_LISTENER_MODEL_DEFAULT(), LESP_LISTENER_MODEL_DEFAULT()};
    models[0].model = &gate;
    models[1].gate = 0;
    models[1].gate_threshold = 4;
    models[1].gate_hold_ms = 40; // 10 frames
    models[1].preroll_ms = 24;   // 6 frames
    lesp_listener_config_t config = configure(source);
    config.models = models;
    config.model_count = 2;
    config.buffer_ms = 256; // 64 frames
    source.release(source.frames.size() / echo::kBands);
    source.has_ended = true;
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    EXPECT(lesp_listener_wait(60000, nullptr) == ESP_OK);
    lesp_listener_stats_t stats = {};
    EXPECT(lesp_listener_get_stats(1, &stats) == ESP_OK && stats.dropped == 0);
    EXPECT(lesp_listener_stop() == ESP_OK && log.count(LESP_EVENT_OVERRUN) == 0);
    return stats;
}

// Frames wait for the gate however far it is behind them, and for its last word at the end.
static void test_a_gate_that_is_late()
{
    echo_us = 300;
    // A source that does not wait for time to pass fills the buffers before the gate has evaluated them.
    Source file;
    file.add(150, 0, 0);
    file.add(4, 0, 5); // speech
    file.add(100, 0, 0);
    Log file_log;
    EXPECT(evaluate_behind(echo::Model<1>::kModel, file, file_log).opened == 1);
    const auto &scores = file_log.scores[1];
    EXPECT(scores.size() == 6 + 4 + 10 && scores[5][0] == 0 && scores[6][0] == 5 && scores[9][0] == 5 &&
           scores[10][0] == 0);

    // Speech in the last frames.
    Source word;
    word.add(40, 0, 0);
    word.add(3, 0, 5);
    Log word_log;
    EXPECT(evaluate_behind(echo::Model<1>::kModel, word, word_log).opened == 1);
    EXPECT(word_log.evaluated(1) == 6 + 3 && word_log.scores[1][6][0] == 5 && word_log.scores[1][8][0] == 5);

    // Speech in a window that only the end fills.
    Source rest;
    rest.add(41, 0, 0);
    rest.add(2, 0, 5);
    Log rest_log;
    EXPECT(evaluate_behind(echo::Model<5>::kModel, rest, rest_log).opened == 1);
    EXPECT(rest_log.evaluated(1) == 6 + 2 && rest_log.scores[1][6][0] == 5 && rest_log.scores[1][7][0] == 5);
    echo_us = 0;
}

// Two models on one microphone with one front end and one of its own: all evaluate the same.
static void test_several_models()
{
    Samples samples;
    samples.most = 4 * 100;
    Log log;
    lesp::streaming::FrontEndConfig other = echo::kFrontEnd;
    static constexpr float kScale[echo::kBands] = {2, 2, 2, 2};
    other.scale = kScale;
    lesp_model louder = echo::Model<3>::kModel;
    louder.front_end = &other;
    lesp_listener_model_t models[3] = {
        LESP_LISTENER_MODEL_DEFAULT(), LESP_LISTENER_MODEL_DEFAULT(), LESP_LISTENER_MODEL_DEFAULT()};
    models[1].model = &echo::Model<4>::kModel;
    models[2].model = &louder;
    lesp_listener_config_t config = configure(samples, false);
    config.models = models;
    config.model_count = 3;
    EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
    EXPECT(lesp_listener_wait(60000, nullptr) == ESP_OK);
    EXPECT(lesp_listener_stop() == ESP_OK);
    EXPECT(log.evaluated(0) == 99 && log.evaluated(1) == 99 && log.evaluated(2) == 99);
    for (std::size_t i = 0; i < 99; ++i) {
        for (std::size_t band = 0; band < 3; ++band) {
            EXPECT(log.scores[0][i][band] == log.scores[1][i][band]);
            EXPECT(std::fabs(log.scores[2][i][band] - std::max(2 * log.scores[0][i][band], -8.0f)) < 0.13f);
        }
    }
}

// Whichever allocation of the start fails, it says so, and nothing is left.
static void test_every_failed_allocation()
{
    Source source;
    Log log;
    lesp_listener_model_t models[2] = {LESP_LISTENER_MODEL_DEFAULT(), LESP_LISTENER_MODEL_DEFAULT()};
    models[1].gate = 0;
    lesp_listener_config_t config = configure(source);
    config.models = models;
    config.model_count = 2;
    Samples samples;
    samples.most = 1u << 30;
    samples.pause_us = 500;
    lesp_listener_config_t listening = configure(samples, true);
    for (const lesp_listener_config_t &each : {config, listening}) {
        long failures = 0;
        for (long place = 1;; ++place) {
            failing_allocation = place;
            const esp_err_t error = lesp_listener_start(&each, Log::on_event, &log);
            const bool has_failed = failing_allocation == 0;
            failing_allocation = 0;
            EXPECT(error == (has_failed ? ESP_ERR_NO_MEM : ESP_OK));
            EXPECT(power_locks == (has_failed ? 0 : 2));
            if (!has_failed) {
                break;
            }
            ++failures;
        }
        EXPECT(lesp_listener_stop() == ESP_OK && failures > 20);
    }
    EXPECT(log.count(LESP_EVENT_ENDED) == 0);
}

// A thousand times; the sanitizer tells what is left over.
static void test_starting_and_stopping()
{
    Source source;
    source.add(1, 0, 0);
    Log log;
    const lesp_listener_config_t config = configure(source);
    for (int i = 0; i < 1000; ++i) {
        source.given = 0;
        source.available = i % 2;
        EXPECT(lesp_listener_start(&config, Log::on_event, &log) == ESP_OK);
        EXPECT(lesp_listener_stop() == ESP_OK);
    }
    EXPECT(log.count(LESP_EVENT_ENDED) == 0 && power_locks == 0 && power_held == 0);
}

static std::atomic<int> quiet_events = 0;
static std::atomic<int> quiet_scores = 0;

static void test_nothing_is_allocated_after_the_start()
{
    Samples samples;
    samples.most = 4 * 300;
    samples.pause_us = 100;
    lesp_listener_config_t config = configure(samples, true);
    lesp_listener_model_t models[2] = {LESP_LISTENER_MODEL_DEFAULT(), LESP_LISTENER_MODEL_DEFAULT()};
    models[1].gate = 0;
    models[1].gate_threshold = -100;
    config.models = models;
    config.model_count = 2;
    config.on_scores = [](std::uint32_t, const float *, std::size_t, void *) { ++quiet_scores; };
    EXPECT(lesp_listener_start(&config, [](const lesp_event_t *, void *) { ++quiet_events; }, nullptr) == ESP_OK);
    wait_until([] { return quiet_scores > 10; });
    allocations = 0;
    is_counting = true;
    EXPECT(lesp_listener_set_threshold(0, 0, -7.9f) == ESP_OK);
    lesp_listener_pause();
    lesp_listener_resume();
    EXPECT(lesp_listener_wait(60000, nullptr) == ESP_OK);
    is_counting = false;
    EXPECT(allocations == 0 && quiet_events > 1 && quiet_scores > 400);
    EXPECT(lesp_listener_stop() == ESP_OK);
}

// In C++, two at once.
static void test_sessions()
{
    Source sources[2];
    Log logs[2];
    lesp::listening::Session sessions[2];
    for (int i = 0; i < 2; ++i) {
        sources[i].add(10 + i, i, 4);
        sources[i].release(static_cast<std::size_t>(10 + i));
        sources[i].has_ended = true;
        EXPECT(sessions[i].start(configure(sources[i]), Log::on_event, &logs[i]) == ESP_OK);
    }
    for (int i = 0; i < 2; ++i) {
        EXPECT(sessions[i].wait(10000, nullptr) && logs[i].evaluated(0) == static_cast<std::size_t>(10 + i));
        EXPECT(logs[i].count(LESP_EVENT_DETECTED) == 1);
    }
}

int main()
{
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    test_the_ring_drops_one_buffer();
    test_the_ring_between_tasks();
    test_rest();
    test_events();
    test_the_event_loop();
    test_thresholds();
    test_calls_from_a_callback();
    test_calls_from_a_source();
    test_a_call_during_a_start();
    test_pause();
    test_sleep_between_windows();
    test_a_model_that_is_too_slow();
    test_a_source_that_can_wait();
    test_a_gate();
    test_a_gate_that_is_late();
    test_several_models();
    test_every_failed_allocation();
    test_starting_and_stopping();
    test_nothing_is_allocated_after_the_start();
    test_sessions();
    std::printf("PASS listener\n");
}
