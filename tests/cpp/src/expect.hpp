#pragma once

#include <cstdio>
#include <cstdlib>

// Ends the program where a statement does not hold.
#define EXPECT(statement)                                                                                              \
    do {                                                                                                               \
        if (!(statement)) {                                                                                            \
            std::printf("%s:%d: %s\n", __FILE__, __LINE__, #statement);                                                \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (false)
