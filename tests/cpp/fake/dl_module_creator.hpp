// Stands for dl/module/include/dl_module_creator.hpp of ESP-DL 3.3.9: the table from the type of an operator to the
// function that makes it.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "dl_module_requantize_linear.hpp"

namespace dl {
namespace module {

class ModuleCreator {
public:
    using Creator = std::function<Module *(fbs::FbsModel *, std::string)>;

    static ModuleCreator *get_instance()
    {
        static ModuleCreator instance;
        return &instance;
    }
    void register_module(const std::string &op_type, Creator creator) { creators[op_type] = creator; }
    Module *create(fbs::FbsModel *fbs_model, const std::string &op_type, const std::string name)
    {
        register_dl_modules();
        const auto found = creators.find(op_type);
        return found == creators.end() ? nullptr : found->second(fbs_model, name);
    }
    void register_dl_modules()
    {
        if (creators.empty()) {
            register_module("Identity", RequantizeLinear::deserialize);
            register_module("RequantizeLinear", RequantizeLinear::deserialize);
        }
    }
    void clear() { creators.clear(); }

private:
    std::map<std::string, Creator> creators;
};

} // namespace module
} // namespace dl
