// Runs app_main as ESP-IDF's main task does.
#include <cstdio>
#include <cstdlib>

extern "C" void app_main(void);

int main()
{
    app_main();
    std::fflush(stdout);
    // Other tasks may still run, as they do on a chip.
    std::_Exit(0);
}
