// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// Listening as a component, in C: a microphone in, events out.
//
//     lesp_listener_config_t config = LESP_LISTENER_CONFIG_DEFAULT();
//     ESP_ERROR_CHECK(lesp_listener_start(&config, on_event, NULL));
//
// Two tasks do the work, and both sleep when there is none: one captures samples and makes features of them, the other
// runs the models and the detector. Nothing of this is allocated after lesp_listener_start has returned.
//
// Every function may be called from any task, one listener at a time. From a callback, which runs in the models' task,
// and from `read_samples` and `read_frame`, which run in the capture task, lesp_listener_start, _stop and _wait are
// refused with ESP_ERR_INVALID_STATE. While one task starts the listener the calls of others wait, but _wait; while one
// stops it there is none for others any more. In C++ `lesp::listening::Session` (listener/session.hpp) is the same
// without the limit to one.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"
#include "esp_event_base.h"
#include "sdkconfig.h"

#ifdef __cplusplus
extern "C" {
#endif

// Base of the events that are posted to the default event loop, where there is one; their data is a lesp_event_t.
ESP_EVENT_DECLARE_BASE(LESP_EVENT);

typedef enum {
    LESP_EVENT_DETECTED, // a class fired
    LESP_EVENT_OVERRUN,  // samples were lost: the model starts anew behind them
    LESP_EVENT_ENDED,    // the source has ended or failed; the listener waits to be stopped
} lesp_event_id_t;

#define LESP_NAME_BYTES 32

typedef struct {
    lesp_event_id_t id;
    uint32_t model;             // position in lesp_listener_config_t.models
    uint32_t label;             // DETECTED: index of the class
    char name[LESP_NAME_BYTES]; // DETECTED: its label, cut where it is longer; empty where it has none
    float score;                // DETECTED: mean of its scores at that moment
    int64_t time_us;            // when that was detected, as esp_timer_get_time counts
    int64_t position_us;        // the same as a position in all that came since the start, what was lost included
    uint32_t lost;              // OVERRUN: samples; frames where the source gives frames
    esp_err_t error;            // ENDED: ESP_OK at the end of a file, else what the source or the model said
} lesp_event_t;

// Called in the models' task, which listens on when it returns: hand long work to a task of your own.
typedef void (*lesp_event_callback_t)(const lesp_event_t *event, void *ctx);

// Scores of one output frame, before the detector.
typedef void (*lesp_scores_callback_t)(uint32_t model, const float *scores, size_t count, void *ctx);

// Gives 1 to `count` samples of 16 bits at the rate of the front end and says how many in `got`; waits for them at most
// a second. ESP_ERR_NOT_FINISHED: none will come any more. Any other error ends the listener.
typedef esp_err_t (*lesp_read_samples_t)(void *source, int16_t *samples, size_t count, size_t *got);

// Gives the next frame of the model's input, `count` values. ESP_ERR_TIMEOUT: none has come within a second; it is
// asked again. ESP_ERR_NOT_FINISHED: none will come any more. Any other error ends the listener.
typedef esp_err_t (*lesp_read_frame_t)(void *source, float *values, size_t count);

// A model with what belongs to it; listener/model.hpp makes one of a model_config.hpp.
typedef struct lesp_model lesp_model_t;

// The model of the bundle (components/lesp_model).
const lesp_model_t *lesp_bundled_model(void);

#define LESP_NO_GATE (-1)

typedef struct {
    const lesp_model_t *model; // NULL: lesp_bundled_model()
    // Position in `models`, before this one, of the model that opens this one, a voice activity detector say;
    // LESP_NO_GATE: it always listens. While the gate is closed this model does not run. Where the score of
    // `gate_label` reaches `gate_threshold` the gate opens: the model starts anew `preroll_ms` before, so that the
    // start of a word is evaluated. It closes when no score has reached the threshold for `gate_hold_ms`.
    int gate;
    uint32_t gate_label;
    float gate_threshold;
    uint32_t gate_hold_ms;
    uint32_t preroll_ms;
} lesp_listener_model_t;

#define LESP_LISTENER_MODEL_DEFAULT()                                                                                  \
    {.model = NULL,                                                                                                    \
     .gate = LESP_NO_GATE,                                                                                             \
     .gate_label = 0,                                                                                                  \
     .gate_threshold = 0.5f,                                                                                           \
     .gate_hold_ms = 1000,                                                                                             \
     .preroll_ms = 300}

typedef struct {
    int core; // -1: any
    uint32_t priority;
    uint32_t stack_bytes;
} lesp_task_config_t;

typedef struct {
    const lesp_listener_model_t *models; // copied at the start; NULL: the model of the bundle alone
    size_t model_count;
    // Where samples or frames come from; none of both: the microphone of the board.
    lesp_read_samples_t read_samples;
    lesp_read_frame_t read_frame;
    void *source;       // handed to both
    bool is_live;       // `read_samples` cannot wait: what comes while the buffer is full is lost, and reported
    uint32_t buffer_ms; // of features, between the two tasks
    lesp_scores_callback_t on_scores;
    bool post_events; // to the default event loop as well; esp_event allocates for each
    lesp_task_config_t capture_task;
    lesp_task_config_t model_task;
    bool stack_in_psram; // of both tasks; then no callback may write to flash
} lesp_listener_config_t;

#if CONFIG_LISTENER_STACK_PSRAM
#define LESP_STACK_IN_PSRAM true
#else
#define LESP_STACK_IN_PSRAM false
#endif

// What menuconfig says under "Component config" -> "Listener".
#define LESP_LISTENER_CONFIG_DEFAULT()                                                                                 \
    {.models = NULL,                                                                                                   \
     .model_count = 0,                                                                                                 \
     .read_samples = NULL,                                                                                             \
     .read_frame = NULL,                                                                                               \
     .source = NULL,                                                                                                   \
     .is_live = true,                                                                                                  \
     .buffer_ms = CONFIG_LISTENER_BUFFER_MS,                                                                           \
     .on_scores = NULL,                                                                                                \
     .post_events = true,                                                                                              \
     .capture_task = {.core = CONFIG_LISTENER_CAPTURE_CORE,                                                            \
                      .priority = CONFIG_LISTENER_CAPTURE_PRIORITY,                                                    \
                      .stack_bytes = CONFIG_LISTENER_CAPTURE_STACK},                                                   \
     .model_task = {.core = CONFIG_LISTENER_MODEL_CORE,                                                                \
                    .priority = CONFIG_LISTENER_MODEL_PRIORITY,                                                        \
                    .stack_bytes = CONFIG_LISTENER_MODEL_STACK},                                                       \
     .stack_in_psram = LESP_STACK_IN_PSRAM}

// Since the start, of one model where it says so. Shares are in thousandths of the time since then.
typedef struct {
    uint32_t steps;              // of the model: one a frame
    uint32_t late;               // of these, longer than a frame
    uint32_t average_us;         // of a step
    uint32_t longest_us;         // of a step
    uint32_t opened;             // times that the model's gate has opened
    uint32_t dropped;            // samples that the model missed; frames where the source gives frames
    uint32_t missed_events;      // that could not be posted to the event loop
    uint32_t front_end_permille; // the capture task at work, waiting for samples left out
    uint32_t models_permille;    // the models' task at work, all models together
    uint32_t awake_permille;     // both; on two cores they may overlap, and this is the most that it can be
} lesp_listener_stats_t;

// Loads the models, opens the microphone and starts both tasks; returns when all memory is there. On an error
// nothing is left of it, and the console says more:
// ESP_ERR_INVALID_ARG: `config` is NULL, or `on_event` where nothing is posted either, or a gate is no earlier model,
// or its label does not exist. ESP_ERR_INVALID_STATE: a listener has been started and not stopped yet.
// ESP_ERR_NOT_SUPPORTED: a model cannot listen to this source. ESP_ERR_NO_MEM: no memory. Else the errors of loading
// the model and of the microphone.
esp_err_t lesp_listener_start(const lesp_listener_config_t *config, lesp_event_callback_t on_event, void *ctx);

// Ends both tasks, closes the microphone and gives all memory back; waits for the source, a second at most. No callback
// comes after it. ESP_ERR_INVALID_STATE: there is no listener, or another task is stopping it.
esp_err_t lesp_listener_stop(void);

// Closes the microphone and lets both tasks sleep, until resume opens it again; the models then start anew. It returns
// at once. ESP_ERR_INVALID_STATE: there is no listener.
esp_err_t lesp_listener_pause(void);
esp_err_t lesp_listener_resume(void);

// Waits until LESP_EVENT_ENDED has come and gives its `error`. ESP_ERR_TIMEOUT: the source still gives samples.
// ESP_ERR_INVALID_STATE: there is no listener, or its start has not returned yet. Do not stop it meanwhile.
esp_err_t lesp_listener_wait(uint32_t milliseconds, esp_err_t *error);

// Position of a label of a model; -1: it has none of that name, or there is no listener.
int lesp_listener_find_label(uint32_t model, const char *name);

// Sets the threshold of a class from the model's next frame on; INFINITY: it makes no events.
// ESP_ERR_INVALID_ARG: no such model or class, or NaN. ESP_ERR_NOT_SUPPORTED: the model has no detector.
// ESP_ERR_INVALID_STATE: there is no listener.
esp_err_t lesp_listener_set_threshold(uint32_t model, uint32_t label, float value);

// ESP_ERR_INVALID_ARG: no such model. ESP_ERR_INVALID_STATE: there is no listener.
esp_err_t lesp_listener_get_stats(uint32_t model, lesp_listener_stats_t *stats);

#ifdef __cplusplus
}
#endif
