// {{name}}: a CGI program (RFC 3875). The request is in the environment and on stdin, the response goes to stdout.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int hex_digit(char c) {
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

// Finds `key` in `name=value&...` and decodes its value into `value`; what does not fit is cut off.
static int query_value(const char *query, const char *key, char *value, size_t size) {
    size_t key_length = strlen(key);
    while (strncmp(query, key, key_length) != 0 || query[key_length] != '=') {
        query = strchr(query, '&');
        if (!query) return 0;
        query++;
    }
    size_t length = 0;
    for (const char *c = query + key_length + 1; *c && *c != '&' && length + 1 < size; c++) {
        if (*c == '%' && isxdigit((unsigned char)c[1]) && isxdigit((unsigned char)c[2])) {
            value[length++] = (char)(hex_digit(c[1]) * 16 + hex_digit(c[2]));
            c += 2;
        } else {
            value[length++] = *c == '+' ? ' ' : *c;
        }
    }
    value[length] = '\0';
    return 1;
}

static void echo(void) {
    const char *type = variable("CONTENT_TYPE");
    printf("Content-Type: %s\n\n", *type ? type : "application/octet-stream");
    char buffer[4096];
    size_t total = 0;
    for (size_t count; (count = fread(buffer, 1, sizeof buffer, stdin)) > 0; total += count) {
        fwrite(buffer, 1, count, stdout);
    }
    // What goes to stderr lands in the app's log.
    fprintf(stderr, "echoed %zu bytes\n", total);
}

static void greet(void) {
    char name[256] = "world";
    query_value(variable("QUERY_STRING"), "name", name, sizeof name);
    printf("Content-Type: text/plain; charset=utf-8\n\n");
    printf("Hello, %s, from {{name}}!\n", name);
}

int main(void) {
    const char *method = variable("REQUEST_METHOD");
    if (strcmp(method, "POST") == 0) {
        echo();
    } else if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        greet();
    } else {
        printf("Status: 405 Method Not Allowed\nAllow: GET, HEAD, POST\nContent-Type: text/plain\n\n");
        printf("GET or POST, please\n");
    }
    return 0;
}
