# SPDX-FileCopyrightText: The lightning_esp maintainers
# SPDX-License-Identifier: Apache-2.0
#
# What this component changes in how ESP-DL is built: no file of ESP-DL is touched.
set_property(GLOBAL PROPERTY STREAMING_HEADERS_FOR_ESP_DL ${CMAKE_CURRENT_LIST_DIR})

# The name of ESP-DL's component: as a managed one it has its namespace in it; dropped into `components/` it has not.
function(streaming_find_esp_dl name)
    idf_build_get_property(component_targets __COMPONENT_TARGETS)
    if("___idf_espressif__esp-dl" IN_LIST component_targets)
        set(${name} espressif__esp-dl PARENT_SCOPE)
    else()
        set(${name} esp-dl PARENT_SCOPE)
    endif()
endfunction()

# Links only those operators of ESP-DL that are named here, by any model of the firmware, or in menuconfig.
#
# ESP-DL registers all its operators in a header, dl_module_creator.hpp, and so links all of them. Here that header is
# written anew into the build directory with each registration behind a macro of its operator, and found first. So it
# follows whatever else that version of ESP-DL has in it.
function(streaming_link_operators)
    if(NOT CONFIG_STREAMING_ONLY_MODEL_OPERATORS)
        return()
    endif()
    streaming_find_esp_dl(esp_dl)
    idf_component_get_property(esp_dl_lib ${esp_dl} COMPONENT_LIB)
    idf_component_get_property(esp_dl_dir ${esp_dl} COMPONENT_DIR)
    string(REGEX MATCHALL "[A-Za-z0-9_]+" operators "${ARGN};${CONFIG_STREAMING_MORE_OPERATORS}")
    set(header ${esp_dl_dir}/dl/module/include/dl_module_creator.hpp)
    file(READ ${header} text)
    foreach(operator ${operators})
        if(NOT text MATCHES "register_module\\(\"${operator}\",")
            message(FATAL_ERROR "ESP-DL at ${esp_dl_dir} registers no operator ${operator} in dl_module_creator.hpp. Is it "
                                "another version than the model is for, or CONFIG_STREAMING_MORE_OPERATORS misspelt? "
                                "Without CONFIG_STREAMING_ONLY_MODEL_OPERATORS all its operators are linked.")
        endif()
    endforeach()
    set_property(TARGET ${esp_dl_lib} APPEND PROPERTY STREAMING_OPERATORS ${operators})
    get_property(is_done GLOBAL PROPERTY STREAMING_ESP_DL_IS_FILTERED)
    if(is_done)
        return()
    endif()
    set_property(GLOBAL PROPERTY STREAMING_ESP_DL_IS_FILTERED TRUE)

    string(REGEX REPLACE "[^\n]*register_module\\(\"([A-Za-z0-9_]+)\",[^\n]*;"
                         "#if defined(STREAMING_LINKS_\\1)\n\\0\n#endif" text "${text}")
    string(REGEX REPLACE "#include <iostream>\n" "" text "${text}")
    string(REPLACE "#pragma once\n" "#pragma once\n#include \"streaming_operators.h\"\n" text "${text}")
    set(folder ${CMAKE_BINARY_DIR}/streaming_esp_dl)
    file(GENERATE OUTPUT ${folder}/dl_module_creator.hpp CONTENT "${text}") # kept where it is the same
    # Of all models, whose components may come after this one.
    set(all "$<REMOVE_DUPLICATES:$<TARGET_PROPERTY:${esp_dl_lib},STREAMING_OPERATORS>>")
    file(GENERATE OUTPUT ${folder}/streaming_operators.h
         CONTENT "#pragma once\n#define STREAMING_LINKS_$<JOIN:${all},\n#define STREAMING_LINKS_>\n")
    # For whoever else includes it, too: the class must be one and the same everywhere.
    target_include_directories(${esp_dl_lib} BEFORE PUBLIC ${folder})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
endfunction()

# Compiles ESP-DL, and the library given, without <iostream>; where a version of ESP-DL uses it, nothing is done.
function(streaming_leave_out_iostream library)
    streaming_find_esp_dl(esp_dl)
    idf_component_get_property(esp_dl_lib ${esp_dl} COMPONENT_LIB)
    idf_component_get_property(esp_dl_dir ${esp_dl} COMPONENT_DIR)
    file(GLOB_RECURSE sources ${esp_dl_dir}/*.cpp ${esp_dl_dir}/*.hpp ${esp_dl_dir}/*.h)
    foreach(source ${sources})
        file(STRINGS ${source} uses REGEX "std::w?(cout|cerr|clog|cin)")
        if(uses)
            message(STATUS "ESP-DL uses <iostream> in ${source}, which so goes into the firmware.")
            return()
        endif()
    endforeach()
    get_property(folder GLOBAL PROPERTY STREAMING_HEADERS_FOR_ESP_DL)
    target_include_directories(${esp_dl_lib} BEFORE PRIVATE ${folder})
    target_include_directories(${library} BEFORE PRIVATE ${folder})
endfunction()

# Unrolls the loops of ESP-DL's convolutions in C++, on chips that run these for want of vector instructions.
function(streaming_unroll_convolutions)
    if(CMAKE_VERSION VERSION_LESS 3.18) # options of a source in another directory
        message(STATUS "CMake ${CMAKE_VERSION} cannot unroll the loops of ESP-DL's convolutions; 3.18 can.")
        return()
    endif()
    streaming_find_esp_dl(esp_dl)
    idf_component_get_property(esp_dl_lib ${esp_dl} COMPONENT_LIB)
    get_target_property(sources ${esp_dl_lib} SOURCES)
    list(FILTER sources INCLUDE REGEX "/dl_base_(depthwise_)?conv2d\\.cpp$")
    if(NOT sources)
        message(WARNING "ESP-DL has no dl_base_conv2d.cpp any more; CONFIG_STREAMING_UNROLL_CONVOLUTIONS does nothing.")
        return()
    endif()
    # What a compiler warns of in unrolled loops, ESP-DL was never built to pass.
    set_property(SOURCE ${sources} TARGET_DIRECTORY ${esp_dl_lib} APPEND PROPERTY COMPILE_OPTIONS -funroll-loops -Wno-error)
endfunction()
