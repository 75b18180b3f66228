// The listening component: models that are too slow, gates, and several models.
#include <cmath>
#include <cstdio>

#include "fake_services.hpp"
#include "listener_units.hpp"

// It loses a buffer at once, again and again.
void test_a_model_that_is_too_slow()
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
void test_a_source_that_can_wait()
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
void test_a_gate()
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
void test_a_gate_that_is_late()
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
void test_several_models()
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
