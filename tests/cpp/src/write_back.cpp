// Three ways to run a model with two caches. `write-back` copies each new state into its input straight after the run;
// `requantize` hands over a tensor of another exponent; `copy` does it right. The stand-in must stop the first two.
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "dl_model_base.hpp"
#include "expect.hpp"
#include "kws.hpp"
#include "streaming/golden.hpp"

static const lesp::streaming::StageConfig &stage = lesp::model_kws::kConfig.stages[0];

typedef std::map<std::string, std::vector<char>> States;

static void fill_inputs(dl::Model &model, const lesp::streaming::Golden &golden, std::size_t window)
{
    dl::TensorBase *input = model.get_inputs()[std::string(stage.inputs[0].name)];
    std::memcpy(input->get_element_ptr(), golden.input(window, 0), stage.inputs[0].bytes);
}

static void write_back(dl::Model &model)
{
    for (const lesp::streaming::CacheConfig &cache : stage.caches) {
        model.get_inputs()[std::string(cache.tensor.name)]->assign(model.get_outputs()[std::string(cache.next)]);
    }
}

static void copy_out(dl::Model &model, States &states)
{
    for (const lesp::streaming::CacheConfig &cache : stage.caches) {
        const auto *value = static_cast<const char *>(model.get_outputs()[std::string(cache.next)]->get_element_ptr());
        states[std::string(cache.tensor.name)].assign(value, value + cache.tensor.bytes);
    }
}

static void copy_in(dl::Model &model, const States &states)
{
    for (const auto &[name, state] : states) {
        std::memcpy(model.get_inputs()[name]->get_element_ptr(), state.data(), state.size());
    }
}

int main(int count, char **arguments)
{
    const std::string way = count > 1 ? arguments[1] : "";
    lesp::streaming::Golden golden;
    EXPECT(golden.init(lesp::model_kws::kConfig, lesp::model_kws::kGolden) == ESP_OK);
    dl::Model model(lesp::model_kws::kFiles[0]);
    for (const lesp::streaming::CacheConfig &cache : stage.caches) {
        std::memset(model.get_inputs()[std::string(cache.tensor.name)]->get_element_ptr(), 0, cache.tensor.bytes);
    }
    if (way == "requantize") {
        std::vector<char> values(stage.inputs[0].bytes);
        dl::TensorBase *input = model.get_inputs()[std::string(stage.inputs[0].name)];
        dl::TensorBase other(input->shape, values.data(), input->get_exponent() + 1, input->dtype, false);
        input->assign(&other);
    }
    States states;
    for (std::size_t window = 0; window < 5; ++window) {
        copy_in(model, states);
        fill_inputs(model, golden, window);
        model.run();
        if (way == "write-back") {
            write_back(model);
        } else {
            copy_out(model, states);
        }
    }
    std::printf("PASS %s\n", way.c_str());
}
