// libFuzzer target: bytes as commands to the ring of frames and to a frame buffer, each beside a plain model of itself.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "listener/frame_ring.hpp"
#include "streaming/frame_buffer.hpp"

static void require(bool statement)
{
    if (!statement) {
        std::abort();
    }
}

// A queue of limited length that takes nothing behind a loss until that was seen, and then drops all that waits.
static void run_ring(const std::uint8_t *data, std::size_t size)
{
    lesp::listening::FrameRing ring;
    constexpr std::uint32_t kSamples = 3;
    require(ring.init(1, data[0] % 40u + 1, kSamples) == ESP_OK);
    std::deque<float> queue;
    std::uint32_t missing = 0;
    float next = 0;
    for (std::size_t i = 1; i < size; ++i) {
        if (data[i] < 128) {
            for (int k = data[i] % 32; k >= 0; --k, ++next) {
                const bool has_room = missing == 0 && queue.size() < ring.capacity();
                require(ring.push({&next, 1}, {.position_us = static_cast<std::int64_t>(next)}) == has_room);
                if (has_room) {
                    queue.push_back(next);
                } else {
                    missing += kSamples;
                }
            }
        } else if (data[i] < 250) {
            for (int k = data[i] % 32; k >= 0 && !queue.empty(); --k) {
                require(ring.values()[0] == queue.front() &&
                        ring.stamp().position_us == static_cast<std::int64_t>(queue.front()));
                ring.pop();
                queue.pop_front();
            }
        } else {
            const std::uint32_t waiting = missing > 0 ? static_cast<std::uint32_t>(queue.size()) * kSamples : 0;
            require(ring.take_overrun() == missing + waiting);
            if (missing > 0) {
                queue.clear();
            }
            missing = 0;
        }
        require(ring.used() == queue.size() && ring.has_overrun() == (missing > 0));
    }
}

// Frames into a window of any shape, and out of it again.
static void run_frames(const std::uint8_t *data, std::size_t size)
{
    lesp::streaming::TensorConfig tensor;
    tensor.rank = data[0] % 4 + 1;
    tensor.time_axis = data[1] % (tensor.rank + 1) - 1;
    std::size_t bytes = 1;
    for (int axis = 0; axis < tensor.rank; ++axis) {
        tensor.shape[axis] = axis == 0 ? 1 : (data[2] >> (2 * axis - 2)) % 4 + 1;
        bytes *= static_cast<std::size_t>(tensor.shape[axis]);
    }
    tensor.bytes = bytes + (data[3] == 0 ? 1 : 0);
    lesp::streaming::FrameBuffer buffer;
    const esp_err_t error = buffer.init(tensor);
    require((error == ESP_OK) == (tensor.bytes == bytes));
    if (error != ESP_OK) {
        return;
    }
    const auto geometry = lesp::streaming::FrameGeometry::of(tensor);
    require(geometry.frame_bytes() * geometry.frames == bytes);
    std::vector<std::vector<std::uint8_t>> frames;
    for (std::size_t start = 4; start + geometry.frame_bytes() <= size; start += geometry.frame_bytes()) {
        if (data[start] == 255) {
            buffer.clear();
            frames.clear();
        }
        const bool is_full = frames.size() == geometry.frames;
        require(buffer.is_full() == is_full);
        require(buffer.push(data + start, geometry.frame_bytes() + 1) == ESP_ERR_INVALID_SIZE);
        require(buffer.push(data + start, geometry.frame_bytes()) == (is_full ? ESP_ERR_INVALID_STATE : ESP_OK));
        if (!is_full) {
            frames.emplace_back(data + start, data + start + geometry.frame_bytes());
        }
        std::vector<std::uint8_t> found(geometry.frame_bytes());
        for (std::size_t index = 0; index < frames.size(); ++index) {
            geometry.gather(buffer.window(), index, found.data());
            require(found == frames[index]);
        }
    }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    if (size < 6) {
        return 0;
    }
    if (data[0] < 128) {
        run_ring(data + 1, size - 1);
    } else {
        run_frames(data + 1, size - 1);
    }
    return 0;
}
