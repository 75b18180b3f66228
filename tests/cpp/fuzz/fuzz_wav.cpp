// libFuzzer target: any bytes as a WAV file, read from memory in pieces whose size the first byte gives. Whatever they
// are, the reader ends, gives no more samples than there are bytes for, and gives the same ones in pieces of any size.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "audio/wav_reader.hpp"

static std::vector<std::int16_t> read_all(const std::uint8_t *data, std::size_t size, std::size_t at_once)
{
    lesp::audio::MemoryBytes bytes(data, size);
    lesp::audio::WavReader reader;
    const esp_err_t error = reader.init(bytes);
    std::vector<std::int16_t> found;
    std::vector<std::int16_t> part(at_once);
    while (const std::size_t count = reader.read(part)) {
        found.insert(found.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(count));
    }
    if ((error != ESP_OK && !found.empty()) || 2 * found.size() > size) {
        std::abort();
    }
    if (error == ESP_OK && (reader.channels() < 1 || reader.sample_rate() < 1)) {
        std::abort();
    }
    return found;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (read_all(data + 1, size - 1, data[0] + 1u) != read_all(data + 1, size - 1, 1)) {
        std::abort();
    }
    return 0;
}
