#include "listen.hpp"
#include "source.hpp"

esp_err_t run_source()
{
    return listen(LESP_LISTENER_CONFIG_DEFAULT());
}
