// HTTP from a CGI program on wfn: connections that lead to the host, which sends on what is written to them. See
// docs/capabilities.md, "Programs of WASI preview 1".
#ifndef WFN_HTTP_H
#define WFN_HTTP_H

#include <stddef.h>

#define WFN_HTTP_IMPORT(name) __attribute__((import_module("wfn_http"), import_name(name)))

enum {
    WFN_HTTP_AGAIN = -1,               // nothing has come yet, or there is no room: wfn_http_wait
    WFN_HTTP_NO_SUCH_CONNECTION = -2,
    WFN_HTTP_TOO_MANY = -3,            // 64 may be open
    WFN_HTTP_BROKEN = -4,
};

// A connection for requests to http:// servers or, with tls, to https:// servers; the header Host says which.
WFN_HTTP_IMPORT("connect") int wfn_http_connect(int tls);
// How many bytes were taken.
WFN_HTTP_IMPORT("write") int wfn_http_write(int connection, const void *bytes, size_t length);
// How many bytes came; 0 at the end.
WFN_HTTP_IMPORT("read") int wfn_http_read(int connection, void *buffer, size_t length);
// Until a connection that said WFN_HTTP_AGAIN can go on, or the time is over; a negative time is without end.
WFN_HTTP_IMPORT("wait") int wfn_http_wait(int milliseconds);
WFN_HTTP_IMPORT("close") int wfn_http_close(int connection);

// Writes all of it, waiting for room; 0, or an error.
static inline int wfn_http_send(int connection, const char *bytes, size_t length) {
    while (length > 0) {
        int written = wfn_http_write(connection, bytes, length);
        if (written == WFN_HTTP_AGAIN) {
            wfn_http_wait(-1);
        } else if (written < 0) {
            return written;
        } else {
            bytes += written;
            length -= (size_t)written;
        }
    }
    return 0;
}

// Waits for some bytes; 0 at the end, or an error.
static inline int wfn_http_receive(int connection, void *buffer, size_t length) {
    int received;
    while ((received = wfn_http_read(connection, buffer, length)) == WFN_HTTP_AGAIN) wfn_http_wait(-1);
    return received;
}

#endif
