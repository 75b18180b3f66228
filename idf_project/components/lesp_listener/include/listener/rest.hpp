// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lesp::listening {

// Says when a loop that may find work without end should wait for a tick, so that the idle task runs and feeds its
// watchdog: once a second.
class Rest {
public:
    explicit Rest(std::int64_t now_us) : last_us_(now_us) {}

    bool is_due(std::int64_t now_us)
    {
        constexpr std::int64_t kIntervalUs = 1000000;
        if (now_us - last_us_ < kIntervalUs) {
            return false;
        }
        last_us_ = now_us;
        return true;
    }

private:
    std::int64_t last_us_;
};

} // namespace lesp::listening
