// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "streaming/model_image.hpp"

namespace lesp::streaming {

inline constexpr std::size_t kWordBytes = 4;
// More than any model has, so that sums and products of such numbers overflow nothing.
inline constexpr int kMostFrames = 1 << 20;

inline std::uint32_t read_word(const std::uint8_t *bytes)
{
    std::uint32_t word = 0;
    std::memcpy(&word, bytes, sizeof(word));
    return word;
}

inline std::size_t padded(std::size_t bytes)
{
    return (bytes + kWordBytes - 1) / kWordBytes * kWordBytes;
}

// Field after field of the configuration. The first one that is wrong makes it fail, and all further ones are the least
// that they can be.
class ModelImage::Reader {
public:
    explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

    bool has_failed() const { return has_failed_; }
    bool is_complete() const { return !has_failed_ && position_ == bytes_.size(); }
    std::size_t position() const { return position_; }
    std::size_t left() const { return bytes_.size() - position_; }

    void require(bool statement) { has_failed_ = has_failed_ || !statement; }

    std::uint32_t word()
    {
        const std::uint8_t *const found = take_bytes(kWordBytes);
        return found == nullptr ? 0 : read_word(found);
    }

    int number(int least, int most)
    {
        const auto value = static_cast<std::int32_t>(word());
        const bool is_inside = value >= least && value <= most;
        require(is_inside);
        return is_inside ? value : least;
    }

    template <typename Enumeration>
    Enumeration choice(Enumeration last)
    {
        return static_cast<Enumeration>(number(0, static_cast<int>(last)));
    }

    bool flag() { return number(0, 1) == 1; }

    // How many elements follow, each of at least `bytes`.
    std::size_t count(std::size_t bytes)
    {
        const std::size_t value = word();
        require(value <= left() / bytes);
        return has_failed_ ? 0 : value;
    }

    float real()
    {
        const auto value = std::bit_cast<float>(word());
        require(std::isfinite(value));
        return has_failed_ ? 0 : value;
    }

    std::span<const float> reals()
    {
        const std::size_t size = count(sizeof(float));
        const std::uint8_t *const found = take_bytes(size * sizeof(float));
        return found == nullptr ? std::span<const float>() : std::span(reinterpret_cast<const float *>(found), size);
    }

    // A zero byte follows it, so that it is a C string as well.
    std::string_view text()
    {
        const std::size_t size = count(1);
        const std::uint8_t *const found = take_bytes(padded(size + 1));
        if (found == nullptr) {
            return {};
        }
        const auto *const characters = reinterpret_cast<const char *>(found);
        require(std::memchr(characters, 0, size + 1) == characters + size);
        return has_failed_ ? std::string_view() : std::string_view(characters, size);
    }

    TensorConfig tensor();
    void read(std::span<TensorConfig> tensors)
    {
        for (TensorConfig &each : tensors) {
            each = tensor();
        }
    }
    // Of raw readings it is the normalisation, and no front end.
    FrontEndConfig front_end(Normalization *normalization);
    DetectorConfig detector();

private:
    const std::uint8_t *take_bytes(std::size_t count)
    {
        require(count <= left());
        if (has_failed_) {
            return nullptr;
        }
        position_ += count;
        return bytes_.data() + (position_ - count);
    }

    std::span<const std::uint8_t> bytes_;
    std::size_t position_ = 0;
    std::int64_t tensor_bytes_ = 0; // of all tensors so far
    bool has_failed_ = false;
};

} // namespace lesp::streaming
