// SPDX-FileCopyrightText: The lightning_esp maintainers
// SPDX-License-Identifier: Apache-2.0
#include "streaming/requantize.hpp"

#include <string>

#include "dl_module_creator.hpp"
#include "dl_module_requantize_linear.hpp"
#include "esp_heap_caps.h"

namespace lesp::streaming {
namespace {

template <typename To>
bool requantize_to(dl::TensorBase &to, dl::TensorBase &from, int shift)
{
    const auto count = static_cast<std::size_t>(from.get_size());
    auto *const values = static_cast<To *>(to.data);
    if (from.dtype == dl::DATA_TYPE_INT8) {
        requantize(static_cast<const std::int8_t *>(from.data), values, count, shift);
        return true;
    }
    if (from.dtype == dl::DATA_TYPE_INT16) {
        requantize(static_cast<const std::int16_t *>(from.data), values, count, shift);
        return true;
    }
    return false;
}

// False: there is a float, an exponent per channel, or nothing to do but copy.
bool requantize_tensor(dl::TensorBase &to, dl::TensorBase &from)
{
    if (to.exponent.is_per_channel() || from.exponent.is_per_channel() || to.get_size() != from.get_size()) {
        return false;
    }
    const int shift = static_cast<int>(to.exponent) - static_cast<int>(from.exponent);
    if (shift == 0 && to.dtype == from.dtype) {
        return false;
    }
    if (to.dtype == dl::DATA_TYPE_INT8) {
        return requantize_to<std::int8_t>(to, from, shift);
    }
    return to.dtype == dl::DATA_TYPE_INT16 && requantize_to<std::int16_t>(to, from, shift);
}

class IntegerRequantize : public dl::module::RequantizeLinear {
public:
    using dl::module::RequantizeLinear::RequantizeLinear;

    // ESP-DL deletes its operators. Null where there is no memory, and ESP-DL then does not load the model.
    static void *operator new(std::size_t bytes) noexcept { return heap_caps_calloc(1, bytes, MALLOC_CAP_DEFAULT); }
    static void operator delete(void *memory) { heap_caps_free(memory); }

    void forward(dl::ModelContext *context, dl::runtime_mode_t mode) override
    {
        dl::TensorBase *const input = context->get_tensor(m_inputs_index[0]);
        dl::TensorBase *const output = context->get_tensor(m_outputs_index[0]);
        if (!requantize_tensor(*output, *input)) {
            RequantizeLinear::forward(context, mode);
        }
    }

    static dl::module::Module *deserialize(fbs::FbsModel *model, const std::string &name)
    {
        dl::quant_type_t type = dl::QUANT_TYPE_NONE;
        model->get_operation_attribute(name, "quant_type", type);
        return new IntegerRequantize(name.c_str(), dl::MODULE_INPLACE_CHANGED_BUFFER, type);
    }
};

} // namespace

void use_integer_requantize()
{
    dl::module::ModuleCreator *const creator = dl::module::ModuleCreator::get_instance();
    creator->register_dl_modules(); // ESP-DL registers its own only where the table is empty
    creator->register_module("RequantizeLinear", IntegerRequantize::deserialize);
}

} // namespace lesp::streaming
