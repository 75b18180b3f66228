// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "audio/feature_extractor.hpp"
#include "esp_err.h"
#include "lesp_listener.h"
#include "listener/frame_ring.hpp"
#include "listener/model.hpp"
#include "streaming/heap_array.hpp"
#include "streaming/listener.hpp"
#include "streaming/pipeline.hpp"

namespace lesp::listening {

class Track;

// Where the events and scores of tracks go.
class TrackSink {
public:
    virtual ~TrackSink() = default;
    virtual void on_event(const lesp_event_t &event) = 0;
    virtual void on_scores(std::uint32_t model, std::span<const float> scores) = 0;
};

// One model on the stream: its front end, the frames that wait for it, pipeline, detector, and the gate before it.
//
// feed(), give(), lose() and restart() are the capture task's, run() and finish() the models' task's; thresholds and
// stats are for any task. Nothing is allocated after init.
class Track : private streaming::EventSink {
public:
    // Loads the model. `gate` is the track that opens this one, or nullptr. `first` is where an earlier track with the
    // same front end may be found, whose features are taken then. `needs_front_end`: it is fed samples.
    // Errors as of lesp_listener_start.
    esp_err_t init(std::uint32_t index,
                   const lesp_listener_model_t &options,
                   std::uint32_t buffer_ms,
                   bool needs_front_end,
                   std::span<Track> earlier,
                   TrackSink &sink);

    // Takes samples and makes frames of them, for itself and for those that share its front end.
    void feed(std::span<const std::int16_t> samples, std::int64_t now_us);

    // Takes a frame.
    void give(std::span<const float> values, std::int64_t now_us);

    // So many samples (frames, where frames are given) are missing here; no frame lies across.
    void lose(std::uint32_t samples);

    // What comes next belongs to another recording.
    void restart();

    // Whether there is work for run(). At the end of the source (`is_over`) for the models' task only.
    bool is_due(bool is_over) const;

    // Whether a writer that can wait should.
    bool is_full() const { return ring_.is_full(); }

    // Runs the model on what waits, a window at most. ESP_OK where there was nothing to do; errors of
    // streaming::Listener::take.
    esp_err_t run(bool is_over);

    // The source has ended: scores what its last frames make; after finish() of the gate, which may open this track.
    esp_err_t finish();

    esp_err_t set_threshold(std::uint32_t label, float value);
    void get_stats(lesp_listener_stats_t *stats) const;

    const streaming::ModelConfig &config() const { return *model_->config; }
    const streaming::FrontEndConfig &front_end() const { return *model_->front_end; }
    std::size_t frame_size() const { return listener_.frame_size(); }

private:
    void on_event(const streaming::Event &event) override;
    void on_scores(std::span<const float> scores) override;

    esp_err_t check(bool needs_front_end) const;
    esp_err_t init_gate(const lesp_listener_model_t &options, std::span<Track> earlier);
    esp_err_t init_detector();
    esp_err_t init_ring(std::uint32_t buffer_ms);
    void push(std::span<const float> values, std::int64_t now_us);
    void follow_gate(float score, std::int64_t position_us);
    void open(std::int64_t position_us);
    void close_where_due();
    void discard();
    void drop_until(std::int64_t position_us);
    std::int64_t next_score_us() const;
    esp_err_t take_frame();
    void start_anew(std::uint32_t lost);
    void apply_thresholds();
    void publish();
    std::int64_t position(std::uint32_t output_frame) const;

    std::uint32_t index_ = 0;
    const lesp_model *model_ = nullptr;
    TrackSink *sink_ = nullptr;
    std::int64_t period_us_ = 0; // from frame to frame; 0: not known

    // Of the capture task.
    audio::FeatureExtractor extractor_;
    Track *next_sharing_ = nullptr; // takes the same features
    bool shares_ = false;           // takes them of an earlier track
    std::int64_t pushed_ = 0;       // frames since `start_us_`
    std::int64_t start_us_ = 0;     // position of the last start
    FrameStamp next_stamp_ = {.is_first = true};

    FrameRing ring_;

    // Of the models' task.
    streaming::Pipeline pipeline_;
    streaming::Listener listener_;
    streaming::DetectorConfig detector_;
    streaming::HeapArray<float> thresholds_;
    bool is_spread_ = false;                // one stage runs per frame, so that each frame is work
    std::atomic<std::uint32_t> wanted_ = 1; // frames that wait before there is work; seq_cst, as FrameRing::used
    std::size_t in_window_ = 0;             // frames of the window that is being filled
    FrameStamp now_ = {};                   // of the last frame
    std::int64_t base_us_ = 0;              // position of the first output frame's start
    std::uint32_t scored_ = 0;              // output frames since then
    bool starts_anew_ = true;

    // The gate: what opens this track, and which ones this track opens.
    Track *opens_first_ = nullptr;
    Track *opens_next_ = nullptr;
    Track *gate_ = nullptr;
    bool is_open_ = true;
    bool is_closing_ = false; // once it has evaluated what came up to `closes_us_`
    std::uint32_t gate_label_ = 0;
    float gate_threshold_ = 0;
    std::int64_t gate_hold_us_ = 0;
    std::int64_t closes_us_ = 0; // position
    std::int64_t preroll_us_ = 0;
    std::size_t kept_ = 0; // frames that wait behind the closed gate

    // For any task.
    streaming::HeapArray<std::atomic<float>> chosen_;
    std::atomic<bool> has_chosen_ = false;
    std::atomic<std::uint32_t> steps_ = 0;
    std::atomic<std::uint32_t> late_ = 0;
    std::atomic<std::uint32_t> average_us_ = 0;
    std::atomic<std::uint32_t> longest_us_ = 0;
    std::atomic<std::uint32_t> opened_ = 0;
    std::atomic<std::uint32_t> dropped_ = 0;
};

} // namespace lesp::listening
