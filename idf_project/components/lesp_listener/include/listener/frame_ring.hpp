// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"
#include "streaming/heap_array.hpp"

namespace lesp::listening {

// What belongs to a frame.
struct FrameStamp {
    std::int64_t position_us = 0; // of its end, in all that came since the start
    std::int64_t time_us = 0;     // when it was complete
    std::uint32_t lost = 0;       // samples that are missing before it
    bool is_first = false;        // nothing before it belongs to it
};

// Frames of features on their way from one task to another, in a buffer of fixed size and without a lock.
//
// One task writes and one task reads. When the buffer is full the reader is too slow: before its next frame it drops
// all that waits, one buffer, and with it what came since it began the frame before, and goes on with what comes next.
// So a loss is as large as the buffer and what one step takes, what is evaluated then is new, and each loss is told
// once.
class FrameRing {
public:
    // Makes room for at least `capacity` frames. `samples` is what a lost frame counts.
    // ESP_ERR_INVALID_ARG: a size is 0 or too large. ESP_ERR_NO_MEM: no memory.
    esp_err_t init(std::size_t frame_size, std::size_t capacity, std::uint32_t samples);

    // Takes a frame, of the writer's task. False: it is lost, since the buffer is full or was and the reader has not
    // seen it yet.
    bool push(std::span<const float> values, const FrameStamp &stamp);
    bool is_full() const { return used() == stamps_.size(); }

    // Frames that wait. Of two tasks of which one writes and then looks at what the other wants, and the other says
    // what it wants and then looks here, one at least sees the other's: hence memory_order_seq_cst on all four.
    std::size_t used() const
    {
        // What was read first: the positions of the reader never pass those of the writer.
        const std::uint32_t read = read_.load(std::memory_order_acquire);
        return written_.load(std::memory_order_seq_cst) - read;
    }

    // The oldest frame that waits; it stays until pop(). For the reader's task, where used() is not 0.
    std::span<const float> values() const;
    const FrameStamp &stamp() const;
    void pop();

    // Whether frames were lost, and dropping what waits: how many samples are missing then, 0 mostly. For the reader's
    // task.
    bool has_overrun() const { return missed_.load(std::memory_order_acquire) > 0; }
    std::uint32_t take_overrun();

    std::size_t capacity() const { return stamps_.size(); }
    std::size_t frame_size() const { return frame_size_; }

private:
    std::size_t place(std::uint32_t position) const { return position & (stamps_.size() - 1); }

    streaming::HeapArray<float> values_;
    streaming::HeapArray<FrameStamp> stamps_;
    std::size_t frame_size_ = 0;
    std::uint32_t samples_ = 1;
    // Positions grow and wrap around at 2^32; what lies between them waits.
    std::atomic<std::uint32_t> written_ = 0;
    std::atomic<std::uint32_t> read_ = 0;
    std::atomic<std::uint32_t> missed_ = 0; // samples lost after `written_`; the writer adds, the reader clears
};

} // namespace lesp::listening
