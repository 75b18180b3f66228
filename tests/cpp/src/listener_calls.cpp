// The listening component: calls from callbacks and from the source, and pauses.
#include <cmath>
#include <cstdio>

#include "fake_services.hpp"
#include "listener_units.hpp"

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
void test_calls_from_a_callback()
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

void test_calls_from_a_source()
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
void test_a_call_during_a_start()
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
void test_pause()
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
