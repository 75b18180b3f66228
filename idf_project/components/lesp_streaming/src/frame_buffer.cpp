// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/frame_buffer.hpp"

#include <cstring>

namespace lesp::streaming {

static std::size_t element_bytes(DataType type)
{
    switch (type) {
    case DataType::kInt8:
        return 1;
    case DataType::kInt16:
        return 2;
    default:
        return 4;
    }
}

FrameGeometry FrameGeometry::of(const TensorConfig &tensor)
{
    FrameGeometry geometry;
    geometry.inner_bytes = element_bytes(tensor.type);
    for (int axis = 0; axis < tensor.rank; ++axis) {
        const auto size = static_cast<std::size_t>(tensor.shape[axis]);
        if (axis < tensor.time_axis) {
            geometry.outer *= size;
        } else if (axis == tensor.time_axis) {
            geometry.frames = size;
        } else {
            geometry.inner_bytes *= size;
        }
    }
    return geometry;
}

void FrameGeometry::scatter(const void *frame, std::size_t index, void *window) const
{
    const auto *from = static_cast<const std::uint8_t *>(frame);
    auto *to = static_cast<std::uint8_t *>(window) + index * inner_bytes;
    for (std::size_t block = 0; block < outer; ++block) {
        std::memcpy(to + block * frames * inner_bytes, from + block * inner_bytes, inner_bytes);
    }
}

void FrameGeometry::gather(const void *window, std::size_t index, void *frame) const
{
    const auto *from = static_cast<const std::uint8_t *>(window) + index * inner_bytes;
    auto *to = static_cast<std::uint8_t *>(frame);
    for (std::size_t block = 0; block < outer; ++block) {
        std::memcpy(to + block * inner_bytes, from + block * frames * inner_bytes, inner_bytes);
    }
}

esp_err_t FrameBuffer::init(const TensorConfig &tensor)
{
    geometry_ = FrameGeometry::of(tensor);
    count_ = 0;
    if (tensor.rank < 1 || tensor.rank > kMaxRank || geometry_.frames * geometry_.frame_bytes() != tensor.bytes) {
        return ESP_ERR_INVALID_ARG;
    }
    return window_.allocate(tensor.bytes) ? ESP_OK : ESP_ERR_NO_MEM;
}

esp_err_t FrameBuffer::push(const void *frame, std::size_t bytes)
{
    if (bytes != frame_bytes()) {
        return ESP_ERR_INVALID_SIZE;
    }
    if (is_full()) {
        return ESP_ERR_INVALID_STATE;
    }
    geometry_.scatter(frame, count_++, window_.data());
    return ESP_OK;
}

} // namespace lesp::streaming
