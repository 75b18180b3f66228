// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
//
// A track behind a gate: what it keeps while that is closed, and where it begins when that opens.
#include <algorithm>

#include "listener/track.hpp"

namespace lesp::listening {

// Behind the closed gate: what lies too far back for the gate to ask for, however late that is.
void Track::discard()
{
    const std::size_t used = ring_.used(); // before it is asked what the gate has evaluated of this
    drop_until(gate_->next_score_us() - period_us_ - preroll_us_);
    if (gate_->is_due(false)) {
        return;
    }
    for (std::size_t left = std::min(ring_.used(), used); left > kept_; --left) {
        ring_.pop();
    }
}

void Track::drop_until(std::int64_t position_us)
{
    while (ring_.used() > 0 && period_us_ > 0 && ring_.stamp().position_us <= position_us) {
        ring_.pop();
    }
}

// No score is to come for a position before this one.
std::int64_t Track::next_score_us() const
{
    return starts_anew_ ? now_.position_us : position(scored_);
}

void Track::follow_gate(float score, std::int64_t position_us)
{
    if (score >= gate_threshold_) {
        closes_us_ = position_us + gate_hold_us_;
        is_closing_ = false;
        if (!is_open_) {
            open(position_us);
        }
    } else if (is_open_ && position_us > closes_us_) {
        is_closing_ = true;
        close_where_due();
    }
}

// The gate may be ahead: what came before it closed is evaluated first.
void Track::close_where_due()
{
    if (is_closing_ && (ring_.used() == 0 || ring_.stamp().position_us > closes_us_)) {
        is_open_ = false;
        is_closing_ = false;
        start_anew(0);
    }
}

// Somebody speaks in the frame that ends at `position_us`: what lies further back than the pre-roll goes.
void Track::open(std::int64_t position_us)
{
    is_open_ = true;
    opened_.fetch_add(1, std::memory_order_relaxed);
    drop_until(position_us - period_us_ - preroll_us_);
    start_anew(0);
}

} // namespace lesp::listening
