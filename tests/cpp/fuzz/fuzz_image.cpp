// libFuzzer target: any bytes as the configuration of a model's container, or as all of it behind the header. The rest
// is right, the CRC32 too. It is refused, or all that it names can be read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "streaming/golden.hpp"
#include "streaming/model_image.hpp"

typedef std::vector<std::uint8_t> Bytes;

static std::uint32_t checksum = 0;

static void see(const void *data, std::size_t bytes)
{
    checksum = lesp::streaming::crc32(data, bytes, checksum);
}

static void add_words(Bytes &bytes, std::initializer_list<std::uint32_t> words)
{
    for (const std::uint32_t word : words) {
        const auto *const first = reinterpret_cast<const std::uint8_t *>(&word);
        bytes.insert(bytes.end(), first, first + sizeof(word));
    }
}

// One file of 16 zeros, and one golden window of the smallest model.
static Bytes wrap(const std::uint8_t *data, std::size_t size)
{
    constexpr std::uint32_t kConfig = 64;
    const auto file = static_cast<std::uint32_t>(kConfig + (size + 15) / 16 * 16);
    Bytes bytes;
    add_words(bytes, {3, 1, kConfig, static_cast<std::uint32_t>(size), 16, file, 16, 2, file + 16, 28});
    bytes.resize(kConfig - 16);
    bytes.insert(bytes.end(), data, data + size);
    bytes.resize(file);
    bytes.insert(bytes.end(), {'L', 'E', 'G', '1'});
    add_words(bytes, {1, 16, 1, 7, 7, 7});
    return bytes;
}

static void see_tensors(std::span<const lesp::streaming::TensorConfig> tensors)
{
    for (const lesp::streaming::TensorConfig &tensor : tensors) {
        see(tensor.name.data(), tensor.name.size());
        if (tensor.bytes == 0 || tensor.frames() < 0) {
            std::abort();
        }
    }
}

static void see_model(const lesp::streaming::Model &model)
{
    see_tensors(model.config.inputs);
    see_tensors(model.config.outputs);
    for (const lesp::streaming::StageConfig &stage : model.config.stages) {
        see_tensors(stage.inputs);
        see_tensors(stage.outputs);
        for (const lesp::streaming::CacheConfig &cache : stage.caches) {
            see_tensors({&cache.tensor, 1});
            see(cache.next.data(), cache.next.size());
        }
    }
    for (const std::string_view label : model.config.labels) {
        see(label.data(), label.size());
    }
    for (std::size_t i = 0; i < model.files.size(); ++i) {
        see(model.model_files[i].name, std::strlen(model.model_files[i].name));
        see(model.model_files[i].partition, std::strlen(model.model_files[i].partition));
        see(model.files[i], model.model_files[i].bytes);
    }
    for (const std::span<const float> values :
         {model.front_end.mean, model.front_end.scale, model.detector.thresholds}) {
        see(values.data(), values.size_bytes());
    }
}

static void see_golden(const lesp::streaming::Model &model)
{
    lesp::streaming::Golden golden;
    if (golden.init(model.config, model.golden) != ESP_OK) {
        return;
    }
    for (std::size_t window = 0; window < golden.windows(); ++window) {
        for (std::size_t input = 0; input < model.config.inputs.size(); ++input) {
            see(golden.input(window, input), model.config.inputs[input].bytes);
        }
        for (std::size_t stage = 0; stage < model.config.stages.size(); ++stage) {
            const lesp::streaming::StageConfig &config = model.config.stages[stage];
            for (std::size_t output = 0; output < config.outputs.size(); ++output) {
                see(golden.output(window, stage, output), config.outputs[output].bytes);
            }
        }
    }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    if (size == 0) {
        return 0;
    }
    const Bytes body = data[0] % 2 == 0 ? wrap(data + 1, size - 1) : Bytes(data + 1, data + size);
    Bytes bytes;
    add_words(bytes, {0x494d454c, 1, static_cast<std::uint32_t>(16 + body.size())});
    add_words(bytes, {lesp::streaming::crc32(body.data(), body.size())});
    bytes.insert(bytes.end(), body.begin(), body.end());
    // Memory that begins as flash does, and ends with the last byte.
    void *memory = nullptr;
    if (posix_memalign(&memory, lesp::streaming::ModelImage::kAlignment, bytes.size()) != 0) {
        std::abort();
    }
    std::memcpy(memory, bytes.data(), bytes.size());
    lesp::streaming::ModelImage image;
    if (image.open({static_cast<const std::uint8_t *>(memory), bytes.size()}) == ESP_OK) {
        see_model(image.model());
        see_golden(image.model());
    }
    std::free(memory);
    return 0;
}
