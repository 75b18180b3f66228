#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "esp_err.h"
#include "streaming/heap_array.hpp"

namespace audio {

// Samples on their way from one task to another, in a buffer of fixed size and without a lock.
//
// One task writes and one task reads. Where the reader is too slow and the ring is full, what comes is dropped until a
// quarter of it is free again, and counted: the reader sees how many are missing, and between which of its samples they
// would have been.
class SampleRing {
public:
    // Makes room for `capacity` samples. ESP_ERR_INVALID_ARG: 0. ESP_ERR_NO_MEM: no memory for them.
    esp_err_t init(std::size_t capacity);

    // Takes samples, of the writer's task; returns how many fitted. The rest is dropped, and so is what comes then
    // until a quarter of the ring is free: few long gaps disturb a model less than many short ones.
    std::size_t write(std::span<const std::int16_t> samples);

    // Counts samples that never came, of the writer's task, as dropped here; the reader sees them once others follow.
    void lose(std::uint32_t samples);

    // Gives up to `samples.size()` samples, to the reader's task; returns how many there were. It never gives samples
    // from both sides of a gap at once; take_gap() is called between them.
    std::size_t read(std::span<std::int16_t> samples);

    // How many samples are missing before the next one, 0 mostly; for the reader's task. The gap counts as seen.
    std::uint32_t take_gap();

    // Samples dropped since init.
    std::uint32_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

    std::size_t capacity() const { return samples_.size(); }

private:
    // Samples missing before the one at `position`.
    struct Gap {
        std::uint32_t position;
        std::uint32_t samples;
    };
    // Between two gaps lies a quarter of the ring at least, or a call of `lose`.
    static constexpr std::uint32_t kMostGaps = 8;

    bool has_room(std::uint32_t used) const;

    streaming::HeapArray<std::int16_t> samples_;
    // Positions grow and wrap around at 2^32; what lies between them is in the buffer.
    std::atomic<std::uint32_t> written_ = 0;
    std::atomic<std::uint32_t> read_ = 0;
    // Gaps in the buffer, between these numbers; the writer adds one before what follows it, the reader takes it.
    Gap gaps_[kMostGaps] = {};
    std::atomic<std::uint32_t> gaps_written_ = 0;
    std::atomic<std::uint32_t> gaps_read_ = 0;
    std::uint32_t missing_ = 0; // of the writer: samples of the gap after `written_`, which has no end yet
    std::atomic<std::uint32_t> dropped_ = 0;
};

} // namespace audio
