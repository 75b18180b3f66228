// Every integer under every change of exponent, against the rule and, with HAS_ESP_DL, against TensorBase::assign of
// ESP-DL itself; then the operator as ESP-DL makes and runs it.
#include "streaming/requantize.hpp"

#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <vector>

#include "dl_module_creator.hpp"
#include "dl_module_requantize_linear.hpp"
#include "expect.hpp"
#include "fake_heap.hpp"

// ESP-DL converts floats to int: from 2^31 on the result is the compiler's.
constexpr int kFurthest = 15;

template <typename T>
dl::dtype_t type_of()
{
    return sizeof(T) == 1 ? dl::DATA_TYPE_INT8 : dl::DATA_TYPE_INT16;
}

template <typename T>
std::vector<T> all_values()
{
    std::vector<T> values(std::size_t{1} << (8 * sizeof(T)));
    std::iota(values.begin(), values.end(), std::numeric_limits<T>::min());
    return values;
}

template <typename To, typename From>
To round_half_up(From value, int shift)
{
    const double rounded = std::floor(std::ldexp(value, -shift) + 0.5);
    constexpr std::numeric_limits<To> kLimits;
    return static_cast<To>(std::clamp(rounded, double{kLimits.min()}, double{kLimits.max()}));
}

template <typename To, typename From>
long compare()
{
    const std::vector<From> from = all_values<From>();
    const int count = static_cast<int>(from.size());
    long differing = 0;
    for (int shift = -40; shift <= 40; ++shift) {
        std::vector<To> got(from.size());
        lesp::streaming::requantize(from.data(), got.data(), from.size(), shift);
        for (std::size_t i = 0; i < from.size(); ++i) {
            differing += got[i] != round_half_up<To>(from[i], shift);
        }
#if HAS_ESP_DL
        if (shift < -kFurthest || shift > 2 * kFurthest) {
            continue;
        }
        for (const int exponent : {-15, -7, 0}) { // that of what goes in
            if (exponent + shift > 30 || exponent + shift < -30) {
                continue;
            }
            std::vector<To> expected(from.size());
            dl::TensorBase input({count}, from.data(), exponent, type_of<From>(), false);
            dl::TensorBase output({count}, expected.data(), exponent + shift, type_of<To>(), false);
            EXPECT(output.assign(&input));
            for (std::size_t i = 0; i < from.size(); ++i) {
                differing += got[i] != expected[i];
            }
        }
#else
        static_cast<void>(count);
#endif
    }
    return differing;
}

#if !HAS_ESP_DL // which would read the name of the operator from a file
static void expect_operator()
{
    dl::module::ModuleCreator *const creator = dl::module::ModuleCreator::get_instance();
    creator->clear();
    lesp::streaming::use_integer_requantize();
    fbs::FbsModel model;
    EXPECT(creator->create(&model, "Conv", "conv") == nullptr);
    delete creator->create(&model, "Identity", "others"); // ESP-DL's own are there, too

    std::vector<std::int8_t> in = {-128, -3, -2, -1, 0, 1, 2, 3, 127};
    std::vector<std::int16_t> out(in.size());
    const int count = static_cast<int>(in.size());
    dl::TensorBase input({count}, in.data(), -7, dl::DATA_TYPE_INT8, false);
    dl::TensorBase output({count}, out.data(), -5, dl::DATA_TYPE_INT16, false);
    dl::ModelContext context;
    context.tensors = {&output, &input};
    std::unique_ptr<dl::module::Module> module(creator->create(&model, "RequantizeLinear", "requantize"));
    EXPECT(module != nullptr && module->inplace == dl::MODULE_INPLACE_CHANGED_BUFFER);
    EXPECT(module->quant_type == dl::QUANT_TYPE_SYMM_8BIT);
    module->m_inputs_index = {1};
    module->m_outputs_index = {0};
    module->forward(&context, dl::RUNTIME_MODE_SINGLE_CORE);
    EXPECT((out == std::vector<std::int16_t>{-32, -1, 0, 0, 0, 0, 1, 1, 32}));

    // Where there is nothing to round, ESP-DL's own code copies.
    std::vector<std::int8_t> copy(in.size());
    dl::TensorBase same({count}, copy.data(), -7, dl::DATA_TYPE_INT8, false);
    context.tensors = {&same, &input};
    module->forward(&context, dl::RUNTIME_MODE_SINGLE_CORE);
    EXPECT(copy == in);

    failing_allocation = 1;
    EXPECT(creator->create(&model, "RequantizeLinear", "requantize") == nullptr);
}
#endif

int main()
{
    const long differing = compare<std::int8_t, std::int8_t>() + compare<std::int8_t, std::int16_t>() +
                           compare<std::int16_t, std::int8_t>() + compare<std::int16_t, std::int16_t>();
#if !HAS_ESP_DL
    expect_operator();
#endif
    std::printf("%ld differ\n", differing);
    return differing != 0;
}
