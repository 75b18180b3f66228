// An HTTP client that gets a file, in pieces as a network makes them:  http_update FILE STATUS STOP
//
// After STOP bytes the connection breaks. What the update is told is printed.
#include <stdio.h>
#include <stdlib.h>

#include "esp_crt_bundle.h"
#include "esp_http_client.h"
#include "lesp_model_update.h"

esp_err_t update_model(const char *url);

struct esp_http_client {
    FILE *file;
    int status;
    long left;
    int opened;
};

static struct esp_http_client the_client;
static size_t written;

esp_err_t esp_crt_bundle_attach(void *conf)
{
    (void)conf;
    return ESP_OK;
}

esp_http_client_handle_t esp_http_client_init(const esp_http_client_config_t *config)
{
    the_client.file = fopen(config->url, "rb");
    ++the_client.opened;
    return &the_client;
}

esp_err_t esp_http_client_open(esp_http_client_handle_t client, int write_len)
{
    return client->file != NULL && write_len == 0 ? ESP_OK : ESP_FAIL;
}

int64_t esp_http_client_fetch_headers(esp_http_client_handle_t client)
{
    return client->status == 0 ? -1 : 0;
}

int esp_http_client_get_status_code(esp_http_client_handle_t client)
{
    return client->status;
}

int esp_http_client_read(esp_http_client_handle_t client, char *buffer, int len)
{
    const int piece = len < 700 ? len : 700;
    if (client->left <= 0) {
        return -1;
    }
    client->left -= piece;
    return (int)fread(buffer, 1, (size_t)piece, client->file);
}

esp_err_t esp_http_client_cleanup(esp_http_client_handle_t client)
{
    --client->opened;
    return client->file != NULL && fclose(client->file) == 0 ? ESP_OK : ESP_FAIL;
}

esp_err_t lesp_model_update_begin(void)
{
    printf("begin ");
    return ESP_OK;
}

esp_err_t lesp_model_update_write(const void *data, size_t bytes)
{
    (void)data;
    written += bytes;
    return ESP_OK;
}

esp_err_t lesp_model_update_end(void)
{
    printf("end %zu ", written);
    return ESP_OK;
}

void lesp_model_update_abort(void)
{
    printf("abort ");
}

int main(int count, char **arguments)
{
    the_client.status = atoi(arguments[2]);
    the_client.left = atol(arguments[count - 1]);
    const esp_err_t error = update_model(arguments[1]);
    printf("%#x, %d open\n", (unsigned)error, the_client.opened);
    return 0;
}
