// Asks every URL of a list, one a line, at the same time, and answers with the status of each: a CGI program.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wfn_http.h"

#define LINKS_MAX 32
#define LIST_BYTES_MAX (32 * 1024)

struct link {
    const char *url;
    int connection;
    bool is_open;
    // The beginning of the response: "HTTP/1.1 200".
    char head[12];
    size_t head_length;
};

// Sends the request; what is no URL stays closed.
static void ask(struct link *link) {
    static char request[LIST_BYTES_MAX + 128];
    bool tls = strncmp(link->url, "https://", 8) == 0;
    if (!tls && strncmp(link->url, "http://", 7) != 0) return;
    const char *host = link->url + (tls ? 8 : 7);
    int host_length = (int)strcspn(host, "/");
    const char *path = host[host_length] ? host + host_length : "/";
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %.*s\r\nConnection: close\r\n\r\n", path,
                          host_length, host);
    link->connection = wfn_http_connect(tls);
    link->is_open = link->connection >= 0 && wfn_http_send(link->connection, request, (size_t)length) == 0;
}

// Reads what has come; false if nothing has.
static bool take(struct link *link) {
    char bytes[4096];
    int count = wfn_http_read(link->connection, bytes, sizeof bytes);
    if (count == WFN_HTTP_AGAIN) return false;
    if (count <= 0) {
        wfn_http_close(link->connection);
        link->is_open = false;
        return true;
    }
    size_t wanted = sizeof link->head - link->head_length;
    if ((size_t)count < wanted) wanted = (size_t)count;
    memcpy(link->head + link->head_length, bytes, wanted);
    link->head_length += wanted;
    return true;
}

int main(void) {
    static char list[LIST_BYTES_MAX + 1];
    static struct link links[LINKS_MAX];
    size_t length = fread(list, 1, sizeof list, stdin);
    if (length > LIST_BYTES_MAX) {
        printf("Status: 413 Content Too Large\nContent-Type: text/plain\n\nthe list is larger than 32 KB\n");
        return 0;
    }
    list[length] = '\0';

    size_t count = 0;
    for (char *url = strtok(list, "\r\n"); url && count < LINKS_MAX; url = strtok(NULL, "\r\n")) {
        links[count].url = url;
        ask(&links[count++]);
    }

    for (bool any_open = true; any_open;) {
        bool any_came = false;
        any_open = false;
        for (size_t i = 0; i < count; i++) {
            if (links[i].is_open) any_came |= take(&links[i]);
            any_open |= links[i].is_open;
        }
        if (any_open && !any_came) wfn_http_wait(-1);
    }

    printf("Content-Type: text/plain; charset=utf-8\n\n");
    for (size_t i = 0; i < count; i++) {
        bool answered = links[i].head_length == sizeof links[i].head;
        printf("%.3s %s\n", answered ? links[i].head + 9 : "---", links[i].url);
    }
    return 0;
}
