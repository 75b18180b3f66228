// Two partitions and NVS in memory, whose power can fail at any of their operations.
#pragma once

#include <cstddef>
#include <cstdint>

// What it takes until the power fails, counted from 1 on; 0: it never does. The operation in which it fails is done by
// half, and none after it is done; an entry of NVS is written as a whole, or not at all.
extern long operations_until_cut;
extern bool is_powered;

// Whether the entry of NVS in whose writing the power fails is there afterwards.
extern bool does_cut_entry_stay;

// Operations that changed something, in all.
extern long operations;

// Mappings that are open.
extern int open_mappings;

constexpr std::size_t kPartitionBytes = 32 * 1024;

// A partition's bytes: 0 for model_a, 1 for model_b.
std::uint8_t *flash_of(int partition);

// Empty flash and NVS, with power.
void clear_flash();

// Keeps what is in flash and NVS, and puts it back.
void keep_flash();
void put_back_flash();

// Power again; what is in flash and in NVS is still there.
void restore_power();

// Whether there are partitions at all.
extern bool has_partitions;
