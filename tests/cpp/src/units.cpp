// Frame buffer, golden data and number formats, without a model.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "expect.hpp"
#include "streaming/frame_buffer.hpp"
#include "streaming/golden.hpp"
#include "streaming/pipeline.hpp"
#include "streaming/quantization.hpp"

using lesp::streaming::DataType;
using lesp::streaming::FrameBuffer;
using lesp::streaming::TensorConfig;

// [1, 3 frames, 2]: frames follow each other.
static void test_frames_in_a_row()
{
    FrameBuffer buffer;
    EXPECT(buffer.init({.rank = 3, .shape = {1, 3, 2}, .time_axis = 1, .bytes = 6}) == ESP_OK);
    EXPECT(buffer.frame_bytes() == 2);
    const std::int8_t frames[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    for (const auto &frame : frames) {
        EXPECT(!buffer.is_full());
        EXPECT(buffer.push(frame, 2) == ESP_OK);
    }
    EXPECT(buffer.is_full());
    EXPECT(std::memcmp(buffer.window(), frames, 6) == 0);
    EXPECT(buffer.push(frames[0], 2) == ESP_ERR_INVALID_STATE);
    EXPECT(std::memcmp(buffer.window(), frames, 6) == 0);
    buffer.clear();
    EXPECT(buffer.frames() == 0);
    EXPECT(buffer.push(frames[2], 2) == ESP_OK);
    const std::int8_t mixed[] = {5, 6, 3, 4, 5, 6};
    EXPECT(std::memcmp(buffer.window(), mixed, 6) == 0);
}

// [1, 2, 3 frames] of int16: frames are interleaved.
static void test_interleaved_frames()
{
    FrameBuffer buffer;
    const TensorConfig tensor = {.type = DataType::kInt16, .rank = 3, .shape = {1, 2, 3}, .time_axis = 2, .bytes = 12};
    EXPECT(buffer.init(tensor) == ESP_OK);
    EXPECT(buffer.frame_bytes() == 4);
    const std::int16_t frames[3][2] = {{1, 2}, {3, 4}, {5, 600}};
    for (const auto &frame : frames) {
        EXPECT(buffer.push(frame, 4) == ESP_OK);
    }
    const std::int16_t window[] = {1, 3, 5, 2, 4, 600};
    EXPECT(std::memcmp(buffer.window(), window, 12) == 0);
}

// [1, 2, 2 frames, 3]: time in the middle; and taking a frame out again.
static void test_time_in_the_middle()
{
    const TensorConfig tensor = {.rank = 4, .shape = {1, 2, 2, 3}, .time_axis = 2, .bytes = 12};
    const auto geometry = lesp::streaming::FrameGeometry::of(tensor);
    EXPECT(geometry.outer == 2 && geometry.frames == 2 && geometry.inner_bytes == 3);
    std::uint8_t window[12] = {};
    const std::uint8_t frames[2][6] = {{1, 2, 3, 4, 5, 6}, {7, 8, 9, 10, 11, 12}};
    geometry.scatter(frames[1], 1, window);
    geometry.scatter(frames[0], 0, window);
    const std::uint8_t expected[] = {1, 2, 3, 7, 8, 9, 4, 5, 6, 10, 11, 12};
    EXPECT(std::memcmp(window, expected, 12) == 0);
    for (std::size_t index = 0; index < 2; ++index) {
        std::uint8_t frame[6] = {};
        geometry.gather(window, index, frame);
        EXPECT(std::memcmp(frame, frames[index], 6) == 0);
    }
}

static void test_wrong_sizes()
{
    FrameBuffer buffer;
    EXPECT(buffer.init({.rank = 2, .shape = {1, 3}, .time_axis = 1, .bytes = 4}) == ESP_ERR_INVALID_ARG);
    EXPECT(buffer.init({.rank = 0, .time_axis = -1, .bytes = 1}) == ESP_ERR_INVALID_ARG);
    EXPECT(buffer.init({.rank = 2, .shape = {1, 3}, .time_axis = -1, .bytes = 3}) == ESP_OK);
    EXPECT(buffer.push("abcd", 4) == ESP_ERR_INVALID_SIZE);
    EXPECT(buffer.push("abc", 3) == ESP_OK);
    EXPECT(buffer.is_full());
}

// The chips' own rounding; a half is where they differ.
static void test_quantization()
{
    const float values[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 1000.f, -1000.f, NAN, INFINITY, 0.49f};
    const std::int8_t half_up[] = {1, 2, 3, 0, -1, 127, -128, 0, 127, 0};
    const std::int8_t half_to_even[] = {0, 2, 2, 0, -2, 127, -128, 0, 127, 0};
    std::int8_t got[10];
    const TensorConfig tensor = {.type = DataType::kInt8, .exponent = 0};
    lesp::streaming::quantize(values, tensor, lesp::streaming::Rounding::kHalfUp, got);
    EXPECT(std::memcmp(got, half_up, 10) == 0);
    lesp::streaming::quantize(values, tensor, lesp::streaming::Rounding::kHalfToEven, got);
    EXPECT(std::memcmp(got, half_to_even, 10) == 0);

    const TensorConfig fine = {.type = DataType::kInt16, .exponent = -10};
    std::int16_t integers[2];
    const float pair[] = {1.5f, -40.f};
    lesp::streaming::quantize(pair, fine, lesp::streaming::Rounding::kHalfUp, integers);
    EXPECT(integers[0] == 1536 && integers[1] == -32768);
    float back[2];
    lesp::streaming::dequantize(integers, fine, back);
    EXPECT(back[0] == 1.5f && back[1] == -32.f);
}

static void test_crc32()
{
    EXPECT(lesp::streaming::crc32("123456789", 9) == 0xCBF43926);
    EXPECT(lesp::streaming::crc32("", 0) == 0);
}

static void test_golden_data_of_another_model()
{
    static constexpr TensorConfig inputs[] = {{.rank = 2, .shape = {1, 3}, .time_axis = 1, .bytes = 3}};
    const lesp::streaming::ModelConfig config = {.window = 3, .inputs = inputs};
    lesp::streaming::Golden golden;
    const char right[] = "LEG1\1\0\0\0\10\0\0\0\1\0\0\0abc";
    EXPECT(golden.init(config, {right, 20}) == ESP_OK);
    EXPECT(golden.windows() == 1 && golden.starts_recording(0) && std::memcmp(golden.input(0, 0), "abc", 3) == 0);
    EXPECT(golden.init(config, {}) == ESP_ERR_NOT_FOUND);
    EXPECT(golden.init(config, {right, 19}) == ESP_ERR_INVALID_SIZE);
    EXPECT(golden.init(config, {"LEG3\1\0\0\0\10\0\0\0\1\0\0\0abc", 20}) == ESP_ERR_INVALID_SIZE);
    EXPECT(golden.init(config, {"LEG1\1\0\0\0\14\0\0\0\1\0\0\0abc", 20}) == ESP_ERR_INVALID_SIZE);
    EXPECT(golden.init(config, {"LEG1", 4}) == ESP_ERR_INVALID_SIZE);
    EXPECT(golden.init(config, {"LEG1\0\0\0\0\10\0\0\0", 12}) == ESP_ERR_NOT_FOUND && golden.windows() == 0);
}

// A pipeline that was never initialised refuses to work.
static void test_empty_pipeline()
{
    lesp::streaming::Pipeline pipeline;
    EXPECT(pipeline.step() == ESP_ERR_INVALID_STATE);
    EXPECT(pipeline.step_pending() == ESP_ERR_INVALID_STATE);
    EXPECT(pipeline.write(0, "x", 1) == ESP_ERR_INVALID_ARG);
    pipeline.reset();
    EXPECT(pipeline.init({}, {}) == ESP_ERR_INVALID_ARG);
}

int main()
{
    test_frames_in_a_row();
    test_interleaved_frames();
    test_time_in_the_middle();
    test_wrong_sizes();
    test_quantization();
    test_crc32();
    test_golden_data_of_another_model();
    test_empty_pipeline();
    std::printf("PASS units\n");
}
