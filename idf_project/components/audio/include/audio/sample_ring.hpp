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
// One task writes and one task reads. What does not fit is dropped, sample by sample at the end of what was written,
// and counted: the reader sees how many are missing, and between which of its samples they would have been.
class SampleRing {
public:
    // Makes room for `capacity` samples. ESP_ERR_INVALID_ARG: 0. ESP_ERR_NO_MEM: no memory for them.
    esp_err_t init(std::size_t capacity);

    // Takes samples, of the writer's task; returns how many fitted. While samples are missing and their place has not
    // been read, everything is dropped, so that each gap is reported before what follows it.
    std::size_t write(std::span<const std::int16_t> samples);

    // Counts samples that never came, of the writer's task, as dropped here.
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
    streaming::HeapArray<std::int16_t> samples_;
    // Positions grow and wrap around at 2^32; what lies between them is in the buffer.
    std::atomic<std::uint32_t> written_ = 0;
    std::atomic<std::uint32_t> read_ = 0;
    std::atomic<std::uint32_t> gap_ = 0; // samples missing after `written_`; the writer adds, the reader clears
    std::atomic<std::uint32_t> dropped_ = 0;
};

} // namespace audio
