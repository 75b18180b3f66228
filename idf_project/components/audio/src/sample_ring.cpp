#include "audio/sample_ring.hpp"

#include <algorithm>

namespace audio {

esp_err_t SampleRing::init(std::size_t capacity)
{
    constexpr std::size_t kMost = 1u << 30;
    if (capacity == 0 || capacity > kMost) {
        return ESP_ERR_INVALID_ARG;
    }
    // A power of two, so that positions may wrap around at 2^32.
    std::size_t rounded = 1;
    while (rounded < capacity) {
        rounded *= 2;
    }
    if (!samples_.allocate(rounded)) {
        return ESP_ERR_NO_MEM;
    }
    written_ = 0;
    read_ = 0;
    gaps_written_ = 0;
    gaps_read_ = 0;
    missing_ = 0;
    dropped_ = 0;
    return ESP_OK;
}

// Whether writing may go on behind a gap.
bool SampleRing::has_room(std::uint32_t used) const
{
    const std::uint32_t gaps =
        gaps_written_.load(std::memory_order_relaxed) - gaps_read_.load(std::memory_order_acquire);
    return 4 * (capacity() - used) >= capacity() && gaps < kMostGaps;
}

std::size_t SampleRing::write(std::span<const std::int16_t> samples)
{
    if (samples.empty()) {
        return 0;
    }
    const std::uint32_t written = written_.load(std::memory_order_relaxed);
    const std::uint32_t used = written - read_.load(std::memory_order_acquire);
    if (missing_ > 0) {
        if (!has_room(used)) {
            lose(static_cast<std::uint32_t>(samples.size()));
            return 0;
        }
        const std::uint32_t gap = gaps_written_.load(std::memory_order_relaxed);
        gaps_[gap % kMostGaps] = {.position = written, .samples = missing_};
        gaps_written_.store(gap + 1, std::memory_order_release);
        missing_ = 0;
    }
    const auto taken = std::min<std::size_t>(samples.size(), capacity() - used);
    for (std::size_t i = 0; i < taken; ++i) {
        samples_[(written + i) & (capacity() - 1)] = samples[i];
    }
    written_.store(written + static_cast<std::uint32_t>(taken), std::memory_order_release);
    if (taken < samples.size()) {
        lose(static_cast<std::uint32_t>(samples.size() - taken));
    }
    return taken;
}

void SampleRing::lose(std::uint32_t samples)
{
    dropped_.fetch_add(samples, std::memory_order_relaxed);
    missing_ += samples;
}

std::size_t SampleRing::read(std::span<std::int16_t> samples)
{
    const std::uint32_t read = read_.load(std::memory_order_relaxed);
    // First what was written, then the gaps: so those in between are seen.
    std::uint32_t readable = written_.load(std::memory_order_acquire) - read;
    const std::uint32_t gap = gaps_read_.load(std::memory_order_relaxed);
    if (gaps_written_.load(std::memory_order_acquire) != gap) {
        readable = std::min(readable, gaps_[gap % kMostGaps].position - read);
    }
    const std::size_t taken = std::min<std::size_t>(samples.size(), readable);
    for (std::size_t i = 0; i < taken; ++i) {
        samples[i] = samples_[(read + i) & (capacity() - 1)];
    }
    read_.store(read + static_cast<std::uint32_t>(taken), std::memory_order_release);
    return taken;
}

std::uint32_t SampleRing::take_gap()
{
    const std::uint32_t gap = gaps_read_.load(std::memory_order_relaxed);
    if (gaps_written_.load(std::memory_order_acquire) == gap ||
        gaps_[gap % kMostGaps].position != read_.load(std::memory_order_relaxed)) {
        return 0;
    }
    const std::uint32_t samples = gaps_[gap % kMostGaps].samples;
    gaps_read_.store(gap + 1, std::memory_order_release);
    return samples;
}

} // namespace audio
