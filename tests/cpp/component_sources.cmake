# Prints the sources that a component of idf_project registers, a line of paths for each of its configurations:
#
#   cmake -DCOMPONENT=idf_project/main "-DCHOICES=esp32s3,CONFIG_STREAMING_SOURCE_WAV;esp32c3" -P component_sources.cmake
function(idf_component_register)
    cmake_parse_arguments(_ "WHOLE_ARCHIVE" "" "SRCS;INCLUDE_DIRS;REQUIRES;PRIV_REQUIRES;EMBED_FILES" ${ARGN})
    set(paths)
    foreach(source ${__SRCS})
        get_filename_component(path ${source} ABSOLUTE BASE_DIR ${COMPONENT})
        list(APPEND paths ${path})
    endforeach()
    set_property(GLOBAL APPEND_STRING PROPERTY lines "${paths}\n")
endfunction()

# What a script cannot do, and what does not matter here.
function(target_compile_options)
endfunction()
function(target_compile_definitions)
endfunction()
function(idf_component_optional_requires)
endfunction()

function(register choice)
    string(REPLACE "," ";" options ${choice})
    list(POP_FRONT options IDF_TARGET)
    foreach(option ${options})
        set(${option} 1)
    endforeach()
    set(CMAKE_BUILD_EARLY_EXPANSION 1) # globs that are watched are no part of a script
    include(${COMPONENT}/CMakeLists.txt)
endfunction()

foreach(choice ${CHOICES})
    register(${choice})
endforeach()
get_property(lines GLOBAL PROPERTY lines)
execute_process(COMMAND ${CMAKE_COMMAND} -E echo_append "${lines}")
