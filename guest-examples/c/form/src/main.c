// Decodes a form, from the query of a GET or the body of a POST, and answers its fields as JSON: a CGI program.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORM_BYTES_MAX (64 * 1024)

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static void answer_text(const char *status, const char *text) {
    printf("Status: %s\nContent-Type: text/plain; charset=utf-8\n", status);
    if (strncmp(status, "405", 3) == 0) printf("Allow: GET, HEAD, POST\n");
    printf("\n%s\n", text);
}

static int hex_digit(char c) {
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

// Writes one encoded name or value, which ends before `end`, as a JSON string.
static void print_json_string(const char *text, const char *end) {
    putchar('"');
    while (text < end) {
        unsigned char c = *text == '+' ? ' ' : (unsigned char)*text;
        if (c == '%' && end - text > 2 && isxdigit((unsigned char)text[1]) && isxdigit((unsigned char)text[2])) {
            c = (unsigned char)(hex_digit(text[1]) * 16 + hex_digit(text[2]));
            text += 2;
        }
        text++;
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void answer_fields(const char *form) {
    printf("Content-Type: application/json\n\n{");
    const char *separator = "";
    while (*form) {
        const char *end = form + strcspn(form, "&");
        const char *equals = memchr(form, '=', (size_t)(end - form));
        if (end > form) {
            printf("%s", separator);
            print_json_string(form, equals ? equals : end);
            putchar(':');
            print_json_string(equals ? equals + 1 : end, end);
            separator = ",";
        }
        form = *end ? end + 1 : end;
    }
    printf("}\n");
}

int main(void) {
    const char *method = variable("REQUEST_METHOD");
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        answer_fields(variable("QUERY_STRING"));
        return 0;
    }
    if (strcmp(method, "POST") != 0) {
        answer_text("405 Method Not Allowed", "GET or POST a form here: curl -d name=value URL");
        return 0;
    }
    if (strncmp(variable("CONTENT_TYPE"), "application/x-www-form-urlencoded", 33) != 0) {
        answer_text("415 Unsupported Media Type", "the body must be application/x-www-form-urlencoded");
        return 0;
    }
    static char form[FORM_BYTES_MAX + 1];
    size_t length = fread(form, 1, sizeof form, stdin);
    if (length > FORM_BYTES_MAX) {
        answer_text("413 Content Too Large", "the form is larger than 64 KB");
        return 0;
    }
    form[length] = '\0';
    answer_fields(form);
    return 0;
}
