// Stands for dl/module/include/dl_module_requantize_linear.hpp of ESP-DL 3.3.9, and for what it includes.
#pragma once

#include <string>
#include <vector>

#include "dl_model_base.hpp"

namespace dl {

typedef enum { MODULE_NON_INPLACE = 0, MODULE_INPLACE_CHANGED_BUFFER = 2 } module_inplace_t;
typedef enum { QUANT_TYPE_NONE, QUANT_TYPE_SYMM_8BIT } quant_type_t;

class ModelContext {
public:
    TensorBase *get_tensor(int index) { return tensors[static_cast<std::size_t>(index)]; }
    std::vector<TensorBase *> tensors;
};

} // namespace dl

namespace fbs {

class FbsModel {
public:
    int get_operation_attribute(std::string, std::string, dl::quant_type_t &ret_value)
    {
        ret_value = dl::QUANT_TYPE_SYMM_8BIT;
        return 0;
    }
};

} // namespace fbs

namespace dl {
namespace module {

class Module {
public:
    explicit Module(const char *, module_inplace_t new_inplace, quant_type_t new_type)
        : inplace(new_inplace), quant_type(new_type)
    {
    }
    virtual ~Module() = default;
    virtual void forward(ModelContext *context, runtime_mode_t mode) = 0;

    module_inplace_t inplace;
    quant_type_t quant_type;
    std::vector<int> m_inputs_index;
    std::vector<int> m_outputs_index;
};

class RequantizeLinear : public Module {
public:
    explicit RequantizeLinear(const char *name = nullptr,
                              module_inplace_t inplace = MODULE_NON_INPLACE,
                              quant_type_t quant_type = QUANT_TYPE_NONE)
        : Module(name, inplace, quant_type)
    {
    }
    void forward(ModelContext *context, runtime_mode_t) override
    {
        context->get_tensor(m_outputs_index[0])->assign(context->get_tensor(m_inputs_index[0]));
    }
    static Module *deserialize(fbs::FbsModel *, std::string name)
    {
        return new RequantizeLinear(name.c_str(), MODULE_INPLACE_CHANGED_BUFFER, QUANT_TYPE_NONE);
    }
};

} // namespace module
} // namespace dl
