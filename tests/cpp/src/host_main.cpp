// Runs app_main as ESP-IDF's main task does.
extern "C" void app_main(void);

int main()
{
    app_main();
}
