// The pipeline with one bundle: resets in mid-window, what is refused, and no allocation after start-up.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "allocations.hpp"
#include "bundled_model.hpp"
#include "expect.hpp"
#include "fake_heap.hpp"
#include "readme_block.hpp"
#include "streaming/golden.hpp"
#include "streaming/pipeline.hpp"
#include "streaming/replay.hpp"

using lesp::streaming::Pipeline;
using lesp::streaming::SourceEvent;
using lesp::streaming::StepResult;

static bool is_counted()
{
    return true;
}

static constexpr const lesp::streaming::ModelConfig &kConfig = lesp::bundled::kConfig;
static const auto kStages = static_cast<int>(kConfig.stages.size());

// Writes one frame of every input, as far as this step has one.
static void write_frame(Pipeline &pipeline, const lesp::streaming::Golden &golden, std::size_t window, int step)
{
    for (std::size_t input = 0; input < kConfig.inputs.size(); ++input) {
        const auto geometry = lesp::streaming::FrameGeometry::of(kConfig.inputs[input]);
        const std::size_t first = step * geometry.frames / kConfig.window;
        const std::size_t last = (step + 1) * geometry.frames / kConfig.window;
        std::vector<std::uint8_t> frame(geometry.frame_bytes());
        for (std::size_t index = first; index < last; ++index) {
            geometry.gather(golden.input(window, input), index, frame.data());
            EXPECT(pipeline.write(input, frame.data(), frame.size()) == ESP_OK);
        }
    }
}

// Stage k runs k frame steps after its window, and the output is then the golden one.
static void test_stages_run_on_their_steps()
{
    Pipeline pipeline;
    lesp::streaming::Golden golden;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_OK);
    EXPECT(golden.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    const auto &output = kConfig.stages.back().outputs[0];
    const int index = pipeline.find_output(output.name);
    EXPECT(index >= 0);
    int outputs = 0;
    for (int frame = 0; frame < 5 * kConfig.window; ++frame) {
        StepResult result;
        write_frame(pipeline, golden, frame / kConfig.window, frame % kConfig.window);
        EXPECT(pipeline.step(&result) == ESP_OK);
        const int since_window = (frame + 1) % kConfig.window;
        const bool should_run = frame + 1 >= kConfig.window && since_window < kStages;
        EXPECT(result.stage == (should_run ? since_window : -1));
        EXPECT(result.output_ready == (should_run && since_window == kStages - 1));
        if (result.output_ready) {
            const std::uint8_t *expected = golden.output(outputs++, kStages - 1, 0);
            EXPECT(pipeline.output(index).size() == output.bytes);
            EXPECT(std::memcmp(pipeline.output(index).data(), expected, output.bytes) == 0);
        }
    }
    EXPECT(outputs == 5 || (kStages > 1 && outputs == 4));
}

// ESP-DL's own cut of each file: the golden values come out all the same, each stage takes `segments` steps, and
// nothing is written to the model in between (the stand-in looks).
static void test_segments(int segments)
{
    Pipeline pipeline;
    lesp::streaming::GoldenSource source;
    lesp::streaming::GoldenSink sink;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles, {.segments = segments}) == ESP_OK);
    EXPECT(source.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    EXPECT(sink.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    EXPECT(lesp::streaming::stream(source, pipeline, sink, nullptr) == ESP_OK);
    EXPECT(sink.has_passed());

    lesp::streaming::Golden golden;
    EXPECT(golden.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    for (int frame = 0; frame < 3 * kConfig.window; ++frame) {
        StepResult result;
        write_frame(pipeline, golden, frame / kConfig.window, frame % kConfig.window);
        EXPECT(pipeline.step(&result) == ESP_OK);
        const int since_window = (frame + 1) % kConfig.window;
        const bool should_run = frame + 1 >= kConfig.window && since_window < kStages * segments;
        EXPECT(result.stage == (should_run ? since_window / segments : -1));
        EXPECT(result.segment == (should_run ? since_window % segments : 0));
        EXPECT(result.stage_done == (should_run && (since_window + 1) % segments == 0));
        EXPECT(result.output_ready == (should_run && since_window + 1 == kStages * segments));
    }
}

// A window must last as long as all segments of all stages.
static void test_too_many_segments()
{
    Pipeline pipeline;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles, {.segments = kConfig.window / kStages + 1}) ==
           ESP_ERR_INVALID_ARG);
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles, {.segments = 0}) == ESP_ERR_INVALID_ARG);
}

// The next recording starts clean wherever the one before was left: in mid-window, and with stages pending.
static void test_reset_anywhere(int frames, int segments)
{
    Pipeline pipeline;
    lesp::streaming::Golden golden;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles, {.segments = segments}) == ESP_OK);
    EXPECT(golden.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    for (int frame = 0; frame < frames; ++frame) {
        write_frame(pipeline, golden, frame / kConfig.window, frame % kConfig.window);
        EXPECT(pipeline.step() == ESP_OK);
    }
    pipeline.reset();
    EXPECT(!pipeline.is_pending());
    std::size_t second = 1;
    while (!golden.starts_recording(second)) {
        ++second;
    }
    for (std::size_t window = second; window < second + 2; ++window) {
        StepResult result;
        for (int step = 0; step < kConfig.window; ++step) {
            write_frame(pipeline, golden, window, step);
            EXPECT(pipeline.step(&result) == ESP_OK);
        }
        while (pipeline.is_pending()) {
            EXPECT(pipeline.step_pending(&result) == ESP_OK);
        }
        EXPECT(result.output_ready);
        const auto &outputs = kConfig.stages.back().outputs;
        const std::uint8_t *expected = golden.output(window, kStages - 1, 0);
        EXPECT(std::memcmp(pipeline.stage(kStages - 1).output(0).data(), expected, outputs[0].bytes) == 0);
    }
}

static void test_refused_writes_and_steps()
{
    Pipeline pipeline;
    lesp::streaming::Golden golden;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_OK);
    EXPECT(golden.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    EXPECT(pipeline.find_input("no such input") == -1 && pipeline.find_output("no such output") == -1);
    EXPECT(pipeline.write(99, "x", 1) == ESP_ERR_INVALID_ARG);
    EXPECT(pipeline.write(0, nullptr, 1) == ESP_ERR_INVALID_ARG);
    EXPECT(pipeline.write(0, "x", 0) == ESP_ERR_INVALID_SIZE);
    EXPECT(pipeline.step_pending() == ESP_ERR_INVALID_STATE);
    // Steps without frames do no harm until the window must be complete.
    for (int step = 0; step + 1 < kConfig.window; ++step) {
        EXPECT(pipeline.step() == ESP_OK);
    }
    EXPECT(pipeline.step() == ESP_ERR_INVALID_STATE);
    for (int step = 0; step < kConfig.window; ++step) {
        write_frame(pipeline, golden, 0, step);
    }
    // One frame too many is not taken.
    std::vector<std::uint8_t> frame(lesp::streaming::FrameGeometry::of(kConfig.inputs[0]).frame_bytes());
    EXPECT(pipeline.write(0, frame.data(), frame.size()) == ESP_ERR_INVALID_STATE);
    StepResult result;
    EXPECT(pipeline.step(&result) == ESP_OK);
    EXPECT(result.stage == 0);
}

// A copy of the configuration that a test may spoil.
struct Spoilt {
    std::vector<lesp::streaming::TensorConfig> inputs{kConfig.inputs.begin(), kConfig.inputs.end()};
    std::vector<lesp::streaming::StageConfig> stages{kConfig.stages.begin(), kConfig.stages.end()};
    std::vector<lesp::streaming::TensorConfig> outputs{stages.back().outputs.begin(), stages.back().outputs.end()};
    std::vector<lesp::streaming::CacheConfig> caches{stages[0].caches.begin(), stages[0].caches.end()};
    lesp::streaming::ModelConfig config = kConfig;

    esp_err_t init()
    {
        Pipeline pipeline;
        config.inputs = inputs;
        config.stages = stages;
        stages[0].caches = caches;
        stages.back().outputs = outputs;
        return pipeline.init(config, lesp::bundled::kFiles);
    }
};

template <typename Change>
static esp_err_t init_spoilt(Change change)
{
    Spoilt spoilt;
    change(spoilt);
    return spoilt.init();
}

// What stands in the configuration must be what ESP-DL finds in the file.
static void test_configuration_of_another_model()
{
    EXPECT(init_spoilt([](Spoilt &) {}) == ESP_OK);
    EXPECT(init_spoilt(
               [](Spoilt &s) { s.outputs[0].exponent += s.outputs[0].type != lesp::streaming::DataType::kFloat32; }) ==
           (kConfig.stages.back().outputs[0].type == lesp::streaming::DataType::kFloat32 ? ESP_OK
                                                                                         : ESP_ERR_INVALID_VERSION));
    EXPECT(init_spoilt([](Spoilt &s) {
               s.outputs[0].type = s.outputs[0].type == lesp::streaming::DataType::kInt8
                                       ? lesp::streaming::DataType::kInt16
                                       : lesp::streaming::DataType::kInt8;
           }) == ESP_ERR_INVALID_VERSION);
    EXPECT(init_spoilt([](Spoilt &s) { s.outputs[0].shape[1] += 1; }) == ESP_ERR_INVALID_SIZE);
    EXPECT(init_spoilt([](Spoilt &s) { s.outputs[0].rank -= 1; }) == ESP_ERR_INVALID_SIZE);
    EXPECT(init_spoilt([](Spoilt &s) { s.outputs[0].name = "renamed"; }) == ESP_ERR_NOT_FOUND);
    EXPECT(init_spoilt([](Spoilt &s) { s.outputs.push_back(s.outputs[0]); }) == ESP_ERR_NOT_FOUND);
    EXPECT(init_spoilt([](Spoilt &s) { s.inputs[0].exponent += 1; }) == ESP_ERR_INVALID_ARG);
    EXPECT(init_spoilt([](Spoilt &s) { s.inputs[0].name = "renamed"; }) == ESP_ERR_INVALID_ARG);
    EXPECT(init_spoilt([](Spoilt &s) { s.config.window = kStages - 1; }) == ESP_ERR_INVALID_ARG);
    if (!kConfig.stages[0].caches.empty()) {
        EXPECT(init_spoilt([](Spoilt &s) { s.caches[0].tensor.exponent += 1; }) == ESP_ERR_INVALID_VERSION);
        EXPECT(init_spoilt([](Spoilt &s) { s.caches[0].next = "renamed"; }) == ESP_ERR_NOT_FOUND);
        EXPECT(init_spoilt([](Spoilt &s) { s.caches.pop_back(); }) == ESP_ERR_NOT_FOUND);
    }
}

// A file that is no model, and a location that holds none, end in an error and not in a crash.
static void test_files_that_do_not_load()
{
    std::vector<const char *> files(lesp::bundled::kFiles, lesp::bundled::kFiles + kStages);
    files.back() = "EDL2 and then nothing of use";
    Pipeline pipeline;
    EXPECT(pipeline.init(kConfig, files) == ESP_FAIL);
    EXPECT(pipeline.step() == ESP_ERR_INVALID_STATE);
    files.pop_back();
    EXPECT(pipeline.init(kConfig, files) == ESP_ERR_INVALID_ARG);
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles, {.location = lesp::streaming::Location::kSdCard}) == ESP_FAIL);
    // What failed can be tried again.
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_OK);
}

// Whichever allocation fails, init says so, and what failed can be tried again.
static void test_every_failed_allocation()
{
    static Pipeline failed;
    long failures = 0;
    for (long place = 1;; ++place) {
        lesp::streaming::GoldenSource source;
        lesp::streaming::GoldenSink sink;
        failing_allocation = place;
        esp_err_t error = failed.init(kConfig, lesp::bundled::kFiles);
        EXPECT(error == ESP_OK || failed.step() == ESP_ERR_INVALID_STATE);
        error = error == ESP_OK ? source.init(kConfig, lesp::bundled::kGolden) : error;
        error = error == ESP_OK ? sink.init(kConfig, lesp::bundled::kGolden) : error;
        const bool has_failed = failing_allocation == 0;
        failing_allocation = 0;
        EXPECT(error == (has_failed ? ESP_ERR_NO_MEM : ESP_OK));
        if (!has_failed) {
            break;
        }
        ++failures;
    }
    // Model, its copies, windows and outputs at least.
    EXPECT(failures > 6 + 2 * kStages);
    lesp::streaming::GoldenSource source;
    lesp::streaming::GoldenSink sink;
    EXPECT(source.init(kConfig, lesp::bundled::kGolden) == ESP_OK &&
           sink.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    EXPECT(lesp::streaming::stream(source, failed, sink) == ESP_OK && sink.has_passed());
}

// ESP-DL wants whole blocks of internal memory; the stand-in stops at anything else.
static void test_any_amount_of_internal_memory()
{
    for (const int bytes : {-1, 0, 7, 16, 1000, 4096}) {
        Pipeline pipeline;
        EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles, {.max_internal_bytes = bytes}) == ESP_OK);
    }
}

// State and copies are where the options say.
static void test_the_state_is_in_psram()
{
    std::size_t expected = 0;
    for (const lesp::streaming::StageConfig &stage : kConfig.stages) {
        for (const lesp::streaming::TensorConfig &output : stage.outputs) {
            expected += output.bytes;
        }
        for (const lesp::streaming::CacheConfig &cache : stage.caches) {
            expected += cache.tensor.bytes;
        }
    }
    Pipeline pipeline;
    psram_bytes = 0;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_OK && psram_bytes == 0);
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles, {.memory = lesp::streaming::Memory::kPsram}) == ESP_OK);
    EXPECT(psram_bytes == expected);
}

// A firmware for PSRAM on a board without: ESP-DL would write through null pointers.
static void test_psram_that_is_not_there()
{
    setenv("FAKE_PSRAM", "0", 1);
    Pipeline pipeline;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_ERR_NOT_SUPPORTED);
    unsetenv("FAKE_PSRAM");
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_OK);
}

static void test_nothing_is_allocated_after_start()
{
    Pipeline pipeline;
    lesp::streaming::GoldenSource source;
    lesp::streaming::GoldenSink sink;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_OK);
    EXPECT(source.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    EXPECT(sink.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    const long before = allocations;
    EXPECT(lesp::streaming::stream(source, pipeline, sink) == ESP_OK);
    EXPECT(allocations == before);
    EXPECT(sink.has_passed());
}

// The function of the README, on a model with one input and one output, gives what the pipeline gives.
static void test_readme_block()
{
    const auto &input = lesp::bundled::kInputs[0];
    if (kConfig.inputs.size() != 1 || kConfig.outputs.size() != 1) {
        return;
    }
    lesp::streaming::Golden golden;
    EXPECT(golden.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_OK);
    const auto geometry = lesp::streaming::FrameGeometry::of(input);
    std::vector<std::uint8_t> frame(geometry.frame_bytes());
    const std::size_t element = input.type == lesp::streaming::DataType::kInt8 ? 1 : 2;
    const std::size_t output_element = kConfig.outputs[0].type == lesp::streaming::DataType::kFloat32 ? 4 : element;
    std::vector<float> features(frame.size() / element);
    std::vector<float> scores(kConfig.outputs[0].bytes / output_element);
    std::vector<float> expected(scores.size());
    bool has_output = false;
    for (int step = 0; step < kConfig.window + kStages - 1; ++step) {
        geometry.gather(golden.input(step / kConfig.window, 0), step % kConfig.window, frame.data());
        lesp::streaming::dequantize(frame.data(), input, features);
        has_output = on_frame(features, scores);
        EXPECT(has_output == (step == kConfig.window + kStages - 2));
    }
    lesp::streaming::dequantize(golden.output(0, kStages - 1, 0), kConfig.outputs[0], expected);
    EXPECT(scores == expected);
}

// The sink tells a wrong value and a missing window.
static void test_a_difference_is_seen()
{
    std::vector<char> data(lesp::bundled::kGolden.data, lesp::bundled::kGolden.data + lesp::bundled::kGolden.bytes);
    lesp::streaming::GoldenSink sink;
    lesp::streaming::Golden golden;
    EXPECT(golden.init(kConfig, {data.data(), data.size()}) == ESP_OK);
    auto *value = const_cast<std::uint8_t *>(golden.output(3, kStages - 1, 0)) + 1;
    *value = static_cast<std::uint8_t>(*value ^ 0x40); // beyond what int16 and float32 may be off
    Pipeline pipeline;
    lesp::streaming::GoldenSource source;
    EXPECT(pipeline.init(kConfig, lesp::bundled::kFiles) == ESP_OK);
    EXPECT(source.init(kConfig, lesp::bundled::kGolden) == ESP_OK);
    EXPECT(sink.init(kConfig, {data.data(), data.size()}) == ESP_OK);
    EXPECT(!sink.has_passed());
    EXPECT(lesp::streaming::stream(source, pipeline, sink) == ESP_OK);
    EXPECT(!sink.has_passed() && sink.windows() == golden.windows());
    sink.print();
}

int main()
{
    test_stages_run_on_their_steps();
    for (int frames = 0; frames <= 3 * kConfig.window; ++frames) {
        test_reset_anywhere(frames, 1);
        test_reset_anywhere(frames, kConfig.window / kStages);
    }
    for (int segments = 1; segments * kStages <= kConfig.window; ++segments) {
        test_segments(segments);
    }
    test_too_many_segments();
    test_refused_writes_and_steps();
    test_configuration_of_another_model();
    test_files_that_do_not_load();
    test_every_failed_allocation();
    test_any_amount_of_internal_memory();
    test_the_state_is_in_psram();
    test_psram_that_is_not_there();
    test_nothing_is_allocated_after_start();
    test_readme_block();
    test_a_difference_is_seen();
    std::printf("PASS checks\n");
}
