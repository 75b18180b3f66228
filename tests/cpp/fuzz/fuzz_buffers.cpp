// libFuzzer target: bytes as commands to a sample ring and to a frame buffer, each beside a plain model of itself.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "audio/sample_ring.hpp"
#include "streaming/frame_buffer.hpp"

static void require(bool statement)
{
    if (!statement) {
        std::abort();
    }
}

// A queue of limited length that drops, counts, and takes nothing behind a gap until it was seen.
static void run_ring(const std::uint8_t *data, std::size_t size)
{
    audio::SampleRing ring;
    require(ring.init(data[0] % 40u + 1) == ESP_OK);
    std::deque<std::int16_t> queue;
    std::uint32_t gap = 0;
    std::uint32_t dropped = 0;
    std::int16_t next = 0;
    for (std::size_t i = 1; i < size; ++i) {
        std::vector<std::int16_t> samples(data[i] % 64u);
        if (data[i] < 128) {
            for (std::int16_t &sample : samples) {
                sample = next++;
            }
            const std::size_t room = gap > 0 ? 0 : ring.capacity() - queue.size();
            const std::size_t taken = std::min(room, samples.size());
            require(ring.write(samples) == taken);
            queue.insert(queue.end(), samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(taken));
            gap += static_cast<std::uint32_t>(samples.size() - taken);
            dropped += static_cast<std::uint32_t>(samples.size() - taken);
        } else if (data[i] < 250) {
            const std::size_t count = ring.read(samples);
            require(count == std::min(samples.size(), queue.size()));
            for (std::size_t k = 0; k < count; ++k) {
                require(samples[k] == queue.front());
                queue.pop_front();
            }
        } else {
            const std::uint32_t seen = queue.empty() ? gap : 0;
            require(ring.take_gap() == seen);
            gap -= seen;
        }
        require(ring.dropped() == dropped);
    }
}

// Frames into a window of any shape, and out of it again.
static void run_frames(const std::uint8_t *data, std::size_t size)
{
    streaming::TensorConfig tensor;
    tensor.rank = data[0] % 4 + 1;
    tensor.time_axis = data[1] % (tensor.rank + 1) - 1;
    std::size_t bytes = 1;
    for (int axis = 0; axis < tensor.rank; ++axis) {
        tensor.shape[axis] = axis == 0 ? 1 : (data[2] >> (2 * axis - 2)) % 4 + 1;
        bytes *= static_cast<std::size_t>(tensor.shape[axis]);
    }
    tensor.bytes = bytes + (data[3] == 0 ? 1 : 0);
    streaming::FrameBuffer buffer;
    const esp_err_t error = buffer.init(tensor);
    require((error == ESP_OK) == (tensor.bytes == bytes));
    if (error != ESP_OK) {
        return;
    }
    const auto geometry = streaming::FrameGeometry::of(tensor);
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
