#pragma once

// The allocation of heap_caps_calloc that fails, counted from 1 on; 0: none. It counts down, so that 0 afterwards tells
// that it came.
extern long failing_allocation;

// Bytes that were asked for in PSRAM alone.
extern unsigned long psram_bytes;
