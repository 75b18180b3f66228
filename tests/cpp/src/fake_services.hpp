#pragma once

#include <atomic>

// What the stand-ins of esp_pm and esp_event have seen.
extern long power_locks;                 // created and not deleted
extern std::atomic<long> power_acquired; // in all
extern std::atomic<long> power_held;     // now, of all locks together
