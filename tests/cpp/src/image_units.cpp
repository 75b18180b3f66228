// A container of a model against the constants of model_config.hpp, and what is refused:  image_units FILE
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include "allocations.hpp"
#include "bundled_model.hpp"
#include "expect.hpp"
#include "fake_heap.hpp"
#include "streaming/golden.hpp"
#include "streaming/model_image.hpp"

using lesp::streaming::ModelImage;

static bool is_counting = false;

static bool is_counted()
{
    return is_counting;
}

// Bytes that begin at a multiple of 16 and end where the memory ends, so that the sanitizer sees a byte too far.
class Flash {
public:
    explicit Flash(const std::vector<std::uint8_t> &bytes)
        : memory_(
              static_cast<std::uint8_t *>(std::aligned_alloc(16, std::max<std::size_t>(bytes.size() / 16, 1) * 16))),
          size_(bytes.size() / 16 * 16)
    {
        std::copy_n(bytes.begin(), size_, memory_);
    }
    ~Flash() { std::free(memory_); }
    Flash(const Flash &) = delete;
    Flash &operator=(const Flash &) = delete;
    std::span<const std::uint8_t> bytes() const { return {memory_, size_}; }

private:
    std::uint8_t *memory_;
    std::size_t size_;
};

static std::uint32_t word_at(const std::vector<std::uint8_t> &bytes, std::size_t position)
{
    std::uint32_t word = 0;
    std::memcpy(&word, bytes.data() + position, sizeof(word));
    return word;
}

static void set_word(std::vector<std::uint8_t> &bytes, std::size_t position, std::uint32_t word)
{
    std::memcpy(bytes.data() + position, &word, sizeof(word));
}

static void seal(std::vector<std::uint8_t> &bytes)
{
    set_word(bytes, 12, lesp::streaming::crc32(bytes.data() + 16, bytes.size() - 16));
}

static esp_err_t open(const std::vector<std::uint8_t> &bytes)
{
    const Flash flash(bytes);
    ModelImage image;
    return image.open(flash.bytes());
}

// The number of names to the left is the number of fields; one more, and this compiles no longer: then the container
// lacks it.
static void expect_same(const lesp::streaming::TensorConfig &a, const lesp::streaming::TensorConfig &b)
{
    const auto &[name, type, exponent, rank, shape, layout, time_axis, bytes] = a;
    EXPECT(name == b.name && type == b.type && exponent == b.exponent && rank == b.rank);
    EXPECT(std::equal(std::begin(shape), std::end(shape), b.shape));
    EXPECT(std::equal(std::begin(layout), std::end(layout), b.layout));
    EXPECT(time_axis == b.time_axis && bytes == b.bytes);
}

static void expect_same(std::span<const lesp::streaming::TensorConfig> a,
                        std::span<const lesp::streaming::TensorConfig> b)
{
    EXPECT(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        expect_same(a[i], b[i]);
    }
}

static void expect_same(const lesp::streaming::StageConfig &a, const lesp::streaming::StageConfig &b)
{
    const auto &[name, inputs, outputs, caches] = a;
    EXPECT(name == b.name && caches.size() == b.caches.size());
    expect_same(inputs, b.inputs);
    expect_same(outputs, b.outputs);
    for (std::size_t i = 0; i < caches.size(); ++i) {
        const auto &[tensor, next, initial] = caches[i];
        expect_same(tensor, b.caches[i].tensor);
        EXPECT(next == b.caches[i].next && initial == b.caches[i].initial);
    }
}

static void expect_same(const lesp::streaming::ModelConfig &a, const lesp::streaming::ModelConfig &b)
{
    const auto &[name, target, window, stride, delay, period, rounding, inputs, outputs, stages, labels, normal] = a;
    EXPECT(name == b.name && target == b.target && window == b.window && stride == b.stride && delay == b.delay);
    EXPECT(period == b.frame_period_us && rounding == b.rounding);
    expect_same(inputs, b.inputs);
    expect_same(outputs, b.outputs);
    EXPECT(stages.size() == b.stages.size());
    for (std::size_t i = 0; i < stages.size(); ++i) {
        expect_same(stages[i], b.stages[i]);
    }
    EXPECT(std::equal(labels.begin(), labels.end(), b.labels.begin(), b.labels.end()));
    const auto &[mean, factor] = normal;
    EXPECT(std::equal(mean.begin(), mean.end(), b.normalization.mean.begin(), b.normalization.mean.end()));
    EXPECT(std::equal(factor.begin(), factor.end(), b.normalization.factor.begin(), b.normalization.factor.end()));
}

static void expect_same(const lesp::streaming::FrontEndConfig &a, const lesp::streaming::FrontEndConfig &b)
{
    const auto &[kind,
                 sample_rate,
                 frame_length,
                 frame_shift,
                 num_mel_bins,
                 num_ceps,
                 preemphasis,
                 cepstral_lifter,
                 window_type,
                 low_freq,
                 high_freq,
                 log_epsilon,
                 use_log_fbank,
                 raw_energy,
                 use_power,
                 use_energy,
                 remove_dc_offset,
                 arithmetic,
                 bands,
                 frame_samples,
                 hop_samples,
                 mean,
                 scale] = a;
    EXPECT(kind == b.kind && sample_rate == b.sample_rate && frame_length == b.frame_length);
    EXPECT(frame_shift == b.frame_shift && num_mel_bins == b.num_mel_bins && num_ceps == b.num_ceps);
    EXPECT(preemphasis == b.preemphasis && cepstral_lifter == b.cepstral_lifter && window_type == b.window_type);
    EXPECT(low_freq == b.low_freq && high_freq == b.high_freq && log_epsilon == b.log_epsilon);
    EXPECT(use_log_fbank == b.use_log_fbank && raw_energy == b.raw_energy && use_power == b.use_power);
    EXPECT(arithmetic == b.arithmetic && use_energy == b.use_energy && remove_dc_offset == b.remove_dc_offset &&
           bands == b.bands);
    EXPECT(frame_samples == b.frame_samples && hop_samples == b.hop_samples);
    EXPECT(std::equal(mean.begin(), mean.end(), b.mean.begin(), b.mean.end()));
    EXPECT(std::equal(scale.begin(), scale.end(), b.scale.begin(), b.scale.end()));
}

static void expect_same(const lesp::streaming::DetectorConfig &a, const lesp::streaming::DetectorConfig &b)
{
    const auto &[thresholds, average, minimum, refractory, activation, retrigger] = a;
    EXPECT(std::equal(thresholds.begin(), thresholds.end(), b.thresholds.begin(), b.thresholds.end()));
    EXPECT(average == b.average && minimum == b.minimum && refractory == b.refractory);
    EXPECT(activation == b.activation && retrigger == b.retrigger);
}

static void test_it_holds_what_the_header_holds(std::span<const std::uint8_t> bytes)
{
    ModelImage image;
    EXPECT(image.open(bytes) == ESP_OK);
    const lesp::streaming::Model &model = image.model();
    expect_same(lesp::bundled::kConfig, model.config);
    expect_same(lesp::bundled::kFrontEnd, model.front_end);
    expect_same(lesp::bundled::kDetector, model.detector);
    EXPECT(model.model_files.size() == std::size(lesp::bundled::kModelFiles));
    EXPECT(model.files.size() == model.model_files.size());
    for (std::size_t i = 0; i < model.files.size(); ++i) {
        const auto &[name, partition, size, crc] = lesp::bundled::kModelFiles[i];
        EXPECT(std::string_view(name) == model.model_files[i].name);
        EXPECT(std::string_view(partition) == model.model_files[i].partition);
        EXPECT(size == model.model_files[i].bytes && crc == model.model_files[i].crc);
        EXPECT(lesp::streaming::crc32(model.files[i], size) == crc);
        EXPECT(reinterpret_cast<std::uintptr_t>(model.files[i]) % 16 == 0);
    }
    EXPECT(model.estimated_ram == lesp::bundled::kEstimatedRam);
    EXPECT(model.estimated_parameters == lesp::bundled::kEstimatedParameters);
    lesp::streaming::Golden golden;
    EXPECT(golden.init(model.config, model.golden) == ESP_OK);
    EXPECT(golden.windows() == 16 && golden.starts_recording(0));
    EXPECT(image.bytes() == bytes.size());
}

// Every allocation that fails is reported, and the object can be used again; nothing is allocated after open.
static void test_memory(std::span<const std::uint8_t> bytes)
{
    ModelImage image;
    long allocations_in_all = 0;
    for (long n = 1;; ++n) {
        failing_allocation = n;
        const esp_err_t error = image.open(bytes);
        const bool has_failed = failing_allocation == 0;
        failing_allocation = 0;
        EXPECT(error == (has_failed ? ESP_ERR_NO_MEM : ESP_OK));
        EXPECT(image.model().config.stages.empty() == has_failed && (image.bytes() == 0) == has_failed);
        if (!has_failed) {
            allocations_in_all = n - 1;
            break;
        }
    }
    EXPECT(allocations_in_all >= 5);
    is_counting = true;
    const long before = allocations;
    expect_same(lesp::bundled::kConfig, image.model().config);
    EXPECT(allocations == before);
    is_counting = false;
}

static void test_what_was_changed_is_refused(const std::vector<std::uint8_t> &good)
{
    for (std::size_t size = 0; size < good.size(); size += 16) {
        EXPECT(open({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}) != ESP_OK);
    }
    for (std::size_t position = 16; position < good.size(); ++position) {
        std::vector<std::uint8_t> bytes = good;
        bytes[position] ^= 1U << position % 8;
        EXPECT(open(bytes) == ESP_ERR_INVALID_CRC);
    }
    std::vector<std::uint8_t> bytes = good;
    bytes.resize(bytes.size() + 64, 0xff);
    EXPECT(open(bytes) == ESP_OK);
    bytes[0] ^= 1;
    EXPECT(open(bytes) == ESP_ERR_NOT_FOUND);
    bytes = good;
    set_word(bytes, 4, 2);
    EXPECT(open(bytes) == ESP_ERR_INVALID_VERSION);
    bytes.insert(bytes.begin(), 4, 0);
    const Flash flash(bytes);
    ModelImage image;
    EXPECT(image.open(flash.bytes().subspan(4)) == ESP_ERR_INVALID_ARG);
}

// With a CRC32 that is right: the files' own, sections outside, kinds that nobody knows.
static void test_sections_are_checked(const std::vector<std::uint8_t> &good)
{
    std::vector<std::uint8_t> bytes = good;
    const std::uint32_t sections = word_at(bytes, 16);
    const std::size_t last = 20 + 12 * (sections - 1);
    EXPECT(word_at(bytes, last) == 16 + lesp::bundled::kConfig.stages.size() - 1);
    bytes[word_at(bytes, last + 4)] ^= 1;
    seal(bytes);
    EXPECT(open(bytes) == ESP_ERR_INVALID_CRC);
    for (const std::size_t field : {last + 4, last + 8}) {
        for (const std::uint32_t value : {0xFFFFFFF0u, 0x80000000u, 8u, static_cast<std::uint32_t>(good.size())}) {
            bytes = good;
            set_word(bytes, field, value);
            seal(bytes);
            EXPECT(open(bytes) == ESP_ERR_INVALID_SIZE || open(bytes) == ESP_ERR_INVALID_CRC);
        }
    }
    bytes = good;
    set_word(bytes, 16, 0xFFFFFFFF);
    seal(bytes);
    EXPECT(open(bytes) == ESP_ERR_INVALID_SIZE);
    bytes = good;
    set_word(bytes, 20, 9); // the configuration
    seal(bytes);
    EXPECT(open(bytes) == ESP_ERR_NOT_SUPPORTED);
    bytes = good;
    set_word(bytes, 20 + 12, 9); // the golden windows, without which it is a model all the same
    seal(bytes);
    EXPECT(open(bytes) == ESP_OK);
}

int main(int, char **arguments)
{
    std::ifstream file(arguments[1], std::ios::binary);
    const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    EXPECT(bytes.size() % 16 == 0);
    const Flash flash(bytes);
    test_it_holds_what_the_header_holds(flash.bytes());
    test_memory(flash.bytes());
    test_what_was_changed_is_refused(bytes);
    test_sections_are_checked(bytes);
    std::printf("PASS image\n");
}
