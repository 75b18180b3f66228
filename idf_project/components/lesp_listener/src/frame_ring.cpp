// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "listener/frame_ring.hpp"

#include <algorithm>
#include <bit>

namespace lesp::listening {

esp_err_t FrameRing::init(std::size_t frame_size, std::size_t capacity, std::uint32_t samples)
{
    constexpr std::size_t kMost = 1u << 24;
    if (frame_size == 0 || frame_size > kMost || capacity == 0 || capacity > kMost / frame_size) {
        return ESP_ERR_INVALID_ARG;
    }
    // A power of two, so that positions may wrap around at 2^32.
    const std::size_t rounded = std::bit_ceil(capacity);
    if (!values_.allocate(rounded * frame_size) || !stamps_.allocate(rounded)) {
        return ESP_ERR_NO_MEM;
    }
    frame_size_ = frame_size;
    samples_ = samples;
    written_ = 0;
    read_ = 0;
    missed_ = 0;
    return ESP_OK;
}

bool FrameRing::push(std::span<const float> values, const FrameStamp &stamp)
{
    // While the reader has not seen a loss nothing is written, so that it drops a known amount.
    if (values.size() != frame_size_ || has_overrun() || is_full()) {
        missed_.fetch_add(samples_ + stamp.lost, std::memory_order_release);
        return false;
    }
    const std::uint32_t written = written_.load(std::memory_order_relaxed);
    std::copy(values.begin(), values.end(), values_.begin() + place(written) * frame_size_);
    stamps_[place(written)] = stamp;
    written_.store(written + 1, std::memory_order_seq_cst);
    return true;
}

std::span<const float> FrameRing::values() const
{
    return {values_.data() + place(read_.load(std::memory_order_relaxed)) * frame_size_, frame_size_};
}

const FrameStamp &FrameRing::stamp() const
{
    return stamps_[place(read_.load(std::memory_order_relaxed))];
}

void FrameRing::pop()
{
    read_.fetch_add(1, std::memory_order_release);
}

std::uint32_t FrameRing::take_overrun()
{
    if (!has_overrun()) {
        return 0;
    }
    std::uint32_t dropped = 0;
    while (used() > 0) {
        dropped += samples_ + stamp().lost;
        pop();
    }
    return dropped + missed_.exchange(0, std::memory_order_acq_rel);
}

} // namespace lesp::listening
