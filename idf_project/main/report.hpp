// What the firmware says while it runs.
#pragma once

#include <cstdint>
#include <cstdio>

#include "bundled_model.hpp"
#include "sdkconfig.h"
#include "streaming/listener.hpp"

// Prints an event with its label and time.
class EventPrinter : public streaming::EventSink {
public:
    void on_event(const streaming::Event &event) override
    {
        const std::int64_t frames = bundled::kConfig.window / bundled::kConfig.outputs[0].frames();
        const std::int64_t milliseconds =
            (event.frame + std::int64_t{1}) * frames * bundled::kConfig.frame_period_us / 1000;
        const bool has_label = event.label < bundled::kConfig.labels.size();
        const std::string_view label = has_label ? bundled::kConfig.labels[event.label] : std::string_view("class");
        std::printf("event %.*s (%u) at %u.%03u s, score %.3f\n",
                    static_cast<int>(label.size()),
                    label.data(),
                    static_cast<unsigned>(event.label),
                    static_cast<unsigned>(milliseconds / 1000),
                    static_cast<unsigned>(milliseconds % 1000),
                    static_cast<double>(event.score));
    }
};

inline void print_times(const streaming::StepTimes &times, std::uint32_t dropped)
{
    const std::int64_t steps = times.steps > 0 ? times.steps : 1;
    std::printf("%u steps, %lld us on average, %lld us at most of %d us, %u too long, %u samples lost\n",
                static_cast<unsigned>(times.steps),
                static_cast<long long>(times.total_us / steps),
                static_cast<long long>(times.longest_us),
                bundled::kConfig.frame_period_us,
                static_cast<unsigned>(times.late),
                static_cast<unsigned>(dropped));
}

// Prints step times and losses now and then.
class Reporter {
public:
    explicit Reporter(std::int64_t now) : last_(now) {}

    void report(std::int64_t now, const streaming::StepTimes &times, std::uint32_t dropped)
    {
        constexpr std::int64_t kInterval = std::int64_t{CONFIG_STREAMING_REPORT_SECONDS} * 1000000;
        if (kInterval > 0 && now - last_ >= kInterval) {
            last_ = now;
            print_times(times, dropped);
        }
    }

private:
    std::int64_t last_;
};
