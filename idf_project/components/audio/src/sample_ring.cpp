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
    gap_ = 0;
    dropped_ = 0;
    return ESP_OK;
}

std::size_t SampleRing::write(std::span<const std::int16_t> samples)
{
    const std::uint32_t written = written_.load(std::memory_order_relaxed);
    const std::uint32_t used = written - read_.load(std::memory_order_acquire);
    const std::size_t room = gap_.load(std::memory_order_acquire) > 0 ? 0 : capacity() - used;
    const std::size_t taken = std::min(samples.size(), room);
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
    gap_.fetch_add(samples, std::memory_order_release);
}

std::size_t SampleRing::read(std::span<std::int16_t> samples)
{
    const std::uint32_t read = read_.load(std::memory_order_relaxed);
    const std::uint32_t used = written_.load(std::memory_order_acquire) - read;
    const std::size_t taken = std::min<std::size_t>(samples.size(), used);
    for (std::size_t i = 0; i < taken; ++i) {
        samples[i] = samples_[(read + i) & (capacity() - 1)];
    }
    read_.store(read + static_cast<std::uint32_t>(taken), std::memory_order_release);
    return taken;
}

std::uint32_t SampleRing::take_gap()
{
    // The gap lies behind all that was written; nothing is added while it is there.
    if (gap_.load(std::memory_order_acquire) == 0 ||
        written_.load(std::memory_order_acquire) != read_.load(std::memory_order_relaxed)) {
        return 0;
    }
    return gap_.exchange(0, std::memory_order_acq_rel);
}

} // namespace audio
