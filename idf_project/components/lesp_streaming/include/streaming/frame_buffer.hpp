// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "esp_err.h"
#include "streaming/config.hpp"
#include "streaming/heap_array.hpp"

namespace lesp::streaming {

// The axes of a tensor around its time axis: `outer` blocks, each of `frames` runs of `inner_bytes`.
// A frame is one run out of every block, gap-free, in the axis order of the tensor.
struct FrameGeometry {
    std::size_t outer = 1;
    std::size_t frames = 1;
    std::size_t inner_bytes = 0;

    // A tensor without time counts as a single frame.
    static FrameGeometry of(const TensorConfig &tensor);

    std::size_t frame_bytes() const { return outer * inner_bytes; }

    // Copies a frame into its place in a window, and out of it.
    void scatter(const void *frame, std::size_t index, void *window) const;
    void gather(const void *window, std::size_t index, void *frame) const;
};

// Collects single frames into a window of a tensor, wherever its time axis is.
class FrameBuffer {
public:
    // ESP_ERR_NO_MEM: no memory for one window. ESP_ERR_INVALID_ARG: the shape does not make `tensor.bytes`.
    esp_err_t init(const TensorConfig &tensor);

    // Appends one frame. ESP_ERR_INVALID_SIZE: `bytes` is not frame_bytes(). ESP_ERR_INVALID_STATE: the window is full;
    // the frame was not taken.
    esp_err_t push(const void *frame, std::size_t bytes);

    bool is_full() const { return count_ == geometry_.frames; }
    std::size_t frames() const { return count_; }
    std::size_t frame_bytes() const { return geometry_.frame_bytes(); }

    // The window so far; frames that have not come yet hold old values.
    const std::uint8_t *window() const { return window_.data(); }

    // Starts an empty window.
    void clear() { count_ = 0; }

private:
    FrameGeometry geometry_;
    HeapArray<std::uint8_t> window_;
    std::size_t count_ = 0;
};

} // namespace lesp::streaming
