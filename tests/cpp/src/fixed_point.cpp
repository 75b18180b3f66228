// Computes recordings in fixed point: reads a file of cases and writes one of features (tests/cpp/test_fixed_point.py).
#include <cmath>
#include <cstdio>
#include <vector>

#include "allocations.hpp"
#include "audio/feature_extractor.hpp"
#include "audio/feature_replay.hpp"
#include "audio/fixed_point_features.hpp"
#include "expect.hpp"
#include "fake_heap.hpp"

static bool is_counted()
{
    return true;
}

// A case as it lies in the file; mean, scale and samples follow.
struct Case {
    std::int32_t kind, sample_rate, frame_length, frame_shift, num_mel_bins, num_ceps, window_type, use_log_fbank;
    std::int32_t raw_energy, use_power, use_energy, remove_dc_offset, bands, frame_samples, hop_samples, samples;
    float preemphasis, cepstral_lifter, low_freq, high_freq, log_epsilon;
};

template <typename T>
static std::vector<T> read_values(std::FILE *file, std::size_t count)
{
    std::vector<T> values(count);
    EXPECT(std::fread(values.data(), sizeof(T), count, file) == count);
    return values;
}

static lesp::streaming::FrontEndConfig
to_config(const Case &given, std::span<const float> mean, std::span<const float> scale)
{
    return {.kind = static_cast<lesp::streaming::FrontEndKind>(given.kind),
            .sample_rate = given.sample_rate,
            .frame_length = given.frame_length,
            .frame_shift = given.frame_shift,
            .num_mel_bins = given.num_mel_bins,
            .num_ceps = given.num_ceps,
            .preemphasis = given.preemphasis,
            .cepstral_lifter = given.cepstral_lifter,
            .window_type = static_cast<lesp::streaming::WindowFunction>(given.window_type),
            .low_freq = given.low_freq,
            .high_freq = given.high_freq,
            .log_epsilon = given.log_epsilon,
            .use_log_fbank = given.use_log_fbank,
            .raw_energy = given.raw_energy != 0,
            .use_power = given.use_power != 0,
            .use_energy = given.use_energy != 0,
            .remove_dc_offset = given.remove_dc_offset != 0,
            .arithmetic = lesp::streaming::Arithmetic::kFixedPoint,
            .bands = given.bands,
            .frame_samples = given.frame_samples,
            .hop_samples = given.hop_samples,
            .mean = mean,
            .scale = scale};
}

static void run_case(const Case &given, std::FILE *in, std::FILE *out)
{
    const auto bands = static_cast<std::size_t>(given.bands);
    const auto mean = read_values<float>(in, bands);
    const auto scale = read_values<float>(in, bands);
    const auto recording = read_values<std::int16_t>(in, static_cast<std::size_t>(given.samples));
    lesp::audio::FeatureExtractor extractor;
    EXPECT(extractor.init(to_config(given, mean, scale)) == ESP_OK);
    std::vector<float> found;
    found.reserve(bands * (recording.size() / static_cast<std::size_t>(given.hop_samples) + 1));
    const long before = allocations;
    std::span<const std::int16_t> samples = recording;
    while (!samples.empty()) {
        if (extractor.take(&samples)) {
            found.insert(found.end(), extractor.features().begin(), extractor.features().end());
        }
    }
    EXPECT(allocations == before);
    EXPECT(std::fwrite(found.data(), sizeof(float), found.size(), out) == found.size());
}

// Whichever allocation fails, init says so, and what failed can be tried again.
static void test_every_failed_allocation(const lesp::streaming::FrontEndConfig &config)
{
    lesp::audio::FeatureExtractor extractor;
    long place = 1;
    while (true) {
        failing_allocation = place;
        const esp_err_t error = extractor.init(config);
        const bool has_failed = failing_allocation == 0;
        failing_allocation = 0;
        EXPECT(error == (has_failed ? ESP_ERR_NO_MEM : ESP_OK));
        std::span<const std::int16_t> samples;
        EXPECT(!extractor.take(&samples));
        if (!has_failed) {
            break;
        }
        ++place;
    }
    EXPECT(place > 8);
}

static void expect_refusal(lesp::streaming::FrontEndConfig config)
{
    lesp::audio::FixedPointFeatures features;
    EXPECT(features.init(config) == ESP_ERR_INVALID_ARG);
}

// The self-test of a firmware allows no difference, however small.
static void test_replay(const char *path, const lesp::streaming::FrontEndConfig &config)
{
    std::FILE *file = std::fopen(path, "rb");
    EXPECT(file != nullptr && std::fseek(file, 0, SEEK_END) == 0);
    const long bytes = std::ftell(file);
    std::rewind(file);
    auto golden = read_values<char>(file, static_cast<std::size_t>(bytes));
    std::fclose(file);
    static constexpr lesp::streaming::TensorConfig kInputs[] = {
        {.type = lesp::streaming::DataType::kFloat32, .rank = 3, .shape = {1, 1, 40}, .time_axis = 1, .bytes = 160}};
    const lesp::streaming::ModelConfig model = {.window = 1, .inputs = kInputs};
    lesp::audio::FeatureReport report;
    EXPECT(lesp::audio::replay_features(model, config, {golden.data(), golden.size()}, &report) == ESP_OK);
    EXPECT(report.has_passed() && report.frames > 50 && report.largest == 0.0f);
    golden[golden.size() - 4] ^= 1; // the last bit of the last feature
    EXPECT(lesp::audio::replay_features(model, config, {golden.data(), golden.size()}, &report) == ESP_OK);
    EXPECT(!report.has_passed() && report.differing == 1);
}

static void test_refusals(const char *golden)
{
    static std::vector<float> ones(40, 1.0f);
    lesp::streaming::FrontEndConfig good = {
        .kind = lesp::streaming::FrontEndKind::kFbank, .num_mel_bins = 40, .bands = 40};
    good.arithmetic = lesp::streaming::Arithmetic::kFixedPoint;
    good.frame_samples = 400;
    good.hop_samples = 160;
    good.mean = ones;
    good.scale = ones;
    lesp::audio::FixedPointFeatures features;
    EXPECT(features.init(good) == ESP_OK);
    test_every_failed_allocation(good);
    test_replay(golden, good);
    auto cepstral = good;
    cepstral.kind = lesp::streaming::FrontEndKind::kMfcc;
    cepstral.num_ceps = 40;
    test_every_failed_allocation(cepstral);
    for (const int length : {0, -1, 4, 8193}) {
        auto bad = good;
        bad.frame_samples = length;
        expect_refusal(bad);
    }
    auto bad = good;
    bad.use_log_fbank = 0;
    expect_refusal(bad);
    bad = good;
    bad.bands = 41;
    expect_refusal(bad);
    bad = good;
    bad.mean = good.mean.first(39);
    expect_refusal(bad);
    for (const float value : {32768.0f, -4e9f, NAN, INFINITY}) {
        ones[7] = value;
        expect_refusal(good);
    }
    ones[7] = 1.0f;
    static std::vector<float> scale(40, 1.0f);
    for (const float value : {1048576.0f, 1e-10f, NAN}) {
        scale[39] = value;
        bad = good;
        bad.scale = scale;
        expect_refusal(bad);
    }
}

int main(int count, char **arguments)
{
    EXPECT(count == 4);
    test_refusals(arguments[3]);
    std::FILE *in = std::fopen(arguments[1], "rb");
    std::FILE *out = std::fopen(arguments[2], "wb");
    EXPECT(in != nullptr && out != nullptr);
    Case given;
    while (std::fread(&given, sizeof(given), 1, in) == 1) {
        run_case(given, in, out);
    }
    std::fclose(in);
    EXPECT(std::fclose(out) == 0);
    std::printf("PASS fixed point\n");
    return 0;
}
