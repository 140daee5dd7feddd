#include "http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Requests */

static void parse_query(Request *request, char *query) {
    for (char *item; (item = strsep(&query, "&")) && request->parameter_count < MAX_PARAMETERS;) {
        char *name = strsep(&item, "=");
        char *value = item ? item : name + strlen(name);
        percent_decode(name, true);
        percent_decode(value, true);
        request->parameters[request->parameter_count++] = (Field){name, value};
    }
}

void request_parse_headers(Request *request, char *lines) {
    for (char *line; (line = strsep(&lines, "\n")) && request->header_count < MAX_HEADERS;) {
        size_t size = strlen(line);
        while (size && (line[size - 1] == '\r' || line[size - 1] == ' ')) line[--size] = 0;
        char *name = strsep(&line, ":");
        if (!line) continue;
        while (*line == ' ') line++;
        request->headers[request->header_count++] = (Field){name, line};
    }
}

/* `head` is the request line and the header lines, ended by a NUL, and is cut up in place. */
bool request_parse(Request *request, char *head) {
    char *line = strsep(&head, "\n");
    *request = (Request){.method = strsep(&line, " ")};
    char *target = line ? strsep(&line, " ") : NULL;
    if (!target || !head) return false;
    if (!strncasecmp(target, "http://", 7)) target = strchr(target + 7, '/');
    if (!target || *target != '/') return false;
    request->path = strsep(&target, "?");
    if (target) parse_query(request, target);
    request_parse_headers(request, head);
    return true;
}

const char *request_header(const Request *request, const char *name) {
    for (int i = 0; i < request->header_count; i++)
        if (!strcasecmp(request->headers[i].name, name)) return request->headers[i].value;
    return NULL;
}

const char *request_parameter(const Request *request, const char *name) {
    for (int i = 0; i < request->parameter_count; i++)
        if (!strcmp(request->parameters[i].name, name)) return request->parameters[i].value;
    return NULL;
}

const char *parameter_or(const Request *request, const char *name, const char *otherwise) {
    const char *value = request_parameter(request, name);
    return value ? value : otherwise;
}

bool request_is(const Request *request, const char *method) {
    return !strcmp(request->method, method);
}

static bool names_etag(const char *condition, const Object *object) {
    return object && (!strcmp(condition, "*") || strstr(condition, object->traits.etag));
}

int request_precondition(const Request *request, const Object *object) {
    const char *match = request_header(request, "If-Match");
    const char *none_match = request_header(request, "If-None-Match");
    const char *generation = request_header(request, "x-goog-if-generation-match");
    if (!generation) generation = request_parameter(request, "ifGenerationMatch");
    bool reads = request_is(request, "GET") || request_is(request, "HEAD");
    if (match && !names_etag(match, object)) return 412;
    if (none_match && names_etag(none_match, object)) return reads ? 304 : 412;
    if (generation && strtoull(generation, NULL, 10) != (object ? object->generation : 0)) return 412;
    return 0;
}

Blob *request_take_body(Request *request) {
    Blob *blob = blob_of(request->body, request->body_size);
    request->body = NULL;
    return blob;
}

/* Replies */

void reply_header(Reply *reply, const char *name, const char *value) {
    text_string(&reply->headers, name);
    text_add(&reply->headers, ": ", 2);
    text_string(&reply->headers, value);
    text_add(&reply->headers, "\r\n", 2);
}

void reply_time(Reply *reply, const char *name, time_t when) {
    text_format(&reply->headers, "%s: ", name);
    text_time_http(&reply->headers, when);
    text_add(&reply->headers, "\r\n", 2);
}

/* Reads "bytes=A-B", "bytes=A-" or "bytes=-N"; false if nothing of the object is in it. */
static bool parse_range(const char *range, size_t size, size_t *first, size_t *last) {
    char *end;
    if (*range == '-') {
        size_t count = strtoull(range + 1, NULL, 10);
        *first = count < size ? size - count : 0;
        *last = size - 1;
        return count && size;
    }
    *first = strtoull(range, &end, 10);
    *last = *end == '-' && end[1] ? strtoull(end + 1, NULL, 10) : size - 1;
    if (*last >= size) *last = size - 1;
    return *first < size;
}

void reply_object(Reply *reply, const Request *request, const Object *object, const char *range) {
    size_t size = object->blob->size, first = 0, last = size - 1;
    reply->status = 200;
    if (range && !strncmp(range, "bytes=", 6)) {
        if (!parse_range(range + 6, size, &first, &last)) {
            reply->status = 416;
            text_format(&reply->headers, "Content-Range: bytes */%zu\r\n", size);
            return;
        }
        reply->status = 206;
        text_format(&reply->headers, "Content-Range: bytes %zu-%zu/%zu\r\n", first, last, size);
    }
    if (object->traits.headers) text_string(&reply->headers, object->traits.headers);
    text_format(&reply->headers, "ETag: \"%s\"\r\nAccept-Ranges: bytes\r\n", object->traits.etag);
    reply_time(reply, "Last-Modified", object->modified);
    reply->blob = blob_share(object->blob);
    reply->offset = first;
    reply->length = last - first + 1;
    reply->body_left_out = request_is(request, "HEAD");
}

static const char *reason(int status) {
    switch (status) {
        case 200: return "OK";
        case 201: return "Created";
        case 202: return "Accepted";
        case 204: return "No Content";
        case 206: return "Partial Content";
        case 304: return "Not Modified";
        case 308: return "Resume Incomplete";
        case 400: return "Bad Request";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 409: return "Conflict";
        case 412: return "Precondition Failed";
        case 416: return "Range Not Satisfiable";
        case 501: return "Not Implemented";
        default: return "Error";
    }
}

void reply_head(const Reply *reply, Text *head) {
    text_format(head, "HTTP/1.1 %d %s\r\nDate: ", reply->status, reason(reply->status));
    text_time_http(head, time(NULL));
    text_string(head, "\r\n");
    text_add(head, reply->headers.data, reply->headers.size);
    if (reply->status == 204 || reply->status == 304) text_string(head, "\r\n");
    else text_format(head, "Content-Length: %zu\r\n\r\n", reply->blob ? reply->length : reply->body.size);
}

void reply_clear(Reply *reply) {
    blob_release(reply->blob);
    reply->headers.size = reply->body.size = 0;
    *reply = (Reply){.headers = reply->headers, .body = reply->body};
}

/* Text */

static void text_reserve(Text *text, size_t more) {
    if (text->size + more < text->room) return;
    text->room = (text->size + more) * 2 + 256;
    text->data = realloc(text->data, text->room);
}

void text_add(Text *text, const void *bytes, size_t size) {
    text_reserve(text, size);
    if (size) memcpy(text->data + text->size, bytes, size);
    text->size += size;
    text->data[text->size] = 0;
}

void text_string(Text *text, const char *string) {
    text_add(text, string, strlen(string));
}

void text_format(Text *text, const char *format, ...) {
    va_list arguments;
    for (size_t more = 256;;) {
        text_reserve(text, more);
        va_start(arguments, format);
        size_t size = (size_t)vsnprintf(text->data + text->size, more, format, arguments);
        va_end(arguments);
        if (size < more) {
            text->size += size;
            return;
        }
        more = size + 1;
    }
}

void text_xml(Text *text, const char *string) {
    while (*string) {
        size_t size = strcspn(string, "&<>\"\r");
        text_add(text, string, size);
        string += size;
        if (*string) text_format(text, "&#%d;", *string++);
    }
}

void text_json(Text *text, const char *string) {
    text_add(text, "\"", 1);
    for (; *string; string++) {
        if (*string == '"' || *string == '\\') text_format(text, "\\%c", *string);
        else if ((uint8_t)*string < 0x20) text_format(text, "\\u%04x", *string);
        else text_add(text, string, 1);
    }
    text_add(text, "\"", 1);
}

void text_utf8(Text *text, unsigned long code) {
    char bytes[4];
    int size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = size - 1; i; i--, code >>= 6) bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)(size == 1 ? code : (0xf00 >> size & 0xff) | code);
    text_add(text, bytes, (size_t)size);
}

void text_percent(Text *text, const char *string) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    while (*string) {
        size_t size = strspn(string, plain);
        text_add(text, string, size);
        string += size;
        if (*string) text_format(text, "%%%02X", (uint8_t)*string++);
    }
}

void text_time_http(Text *text, time_t when) {
    static char formatted[40];
    static time_t second;
    struct tm parts;
    if (when != second) strftime(formatted, sizeof formatted, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&when, &parts));
    text_string(text, formatted);
    second = when;
}

void text_time_iso(Text *text, time_t when) {
    static char formatted[40]; /* listings are full of the same second */
    static time_t second;
    struct tm parts;
    if (when != second) strftime(formatted, sizeof formatted, "%Y-%m-%dT%H:%M:%S.000Z", gmtime_r(&when, &parts));
    text_string(text, formatted);
    second = when;
}

/* Codings */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void percent_decode(char *string, bool plus_is_space) {
    char *to = string;
    for (; *string; string++) {
        if (*string == '%' && hex_digit(string[1]) >= 0 && hex_digit(string[2]) >= 0) {
            *to++ = (char)(hex_digit(string[1]) << 4 | hex_digit(string[2]));
            string += 2;
        } else {
            *to++ = plus_is_space && *string == '+' ? ' ' : *string;
        }
    }
    *to = 0;
}

void to_hex(const uint8_t *bytes, size_t size, char *hex) {
    for (size_t i = 0; i < size; i++) {
        *hex++ = "0123456789abcdef"[bytes[i] >> 4];
        *hex++ = "0123456789abcdef"[bytes[i] & 15];
    }
    *hex = 0;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void text_base64(Text *text, const uint8_t *bytes, size_t size) {
    for (size_t at = 0; at < size; at += 3) {
        uint32_t bits = (uint32_t)bytes[at] << 16;
        if (at + 1 < size) bits |= (uint32_t)bytes[at + 1] << 8;
        if (at + 2 < size) bits |= bytes[at + 2];
        for (size_t i = 0; i < 4; i++)
            text_add(text, at + i <= size ? &base64_digits[bits >> (18 - 6 * i) & 63] : "=", 1);
    }
}

bool from_base64(const char *text, uint8_t *bytes, size_t size) {
    uint32_t bits = 0;
    int held = 0;
    for (size_t done = 0; done < size; text++) {
        const char *digit = *text ? strchr(base64_digits, *text) : NULL;
        if (!digit) return false;
        bits = bits << 6 | (uint32_t)(digit - base64_digits);
        held += 6;
        if (held < 8) continue;
        held -= 8;
        bytes[done++] = (uint8_t)(bits >> held);
    }
    return true;
}

void text_hash(Text *text, Blob *blob) {
    uint32_t digest = __builtin_bswap32(crc32c(blob));
    text_string(text, "x-goog-hash: crc32c=");
    text_base64(text, (const uint8_t *)&digest, sizeof digest);
    text_string(text, "\r\n");
}

static char *xml_decode(const char *from, const char *end) {
    static const struct { const char *name; char means; } names[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''},
    };
    Text text = {0};
    text_add(&text, "", 0);
    while (from < end) {
        if (!strncmp(from, "&#", 2)) {
            bool hex = from[2] == 'x';
            char *after;
            text_utf8(&text, strtoul(from + 2 + hex, &after, hex ? 16 : 10));
            from = after + (*after == ';');
            continue;
        }
        char means = *from;
        size_t size = 1;
        for (size_t i = 0; *from == '&' && i < sizeof names / sizeof *names; i++) {
            if (strncmp(from, names[i].name, strlen(names[i].name))) continue;
            means = names[i].means;
            size = strlen(names[i].name);
        }
        text_add(&text, &means, 1);
        from += size;
    }
    return text.data;
}

char *xml_next(const char **cursor, const char *tag) {
    char opening[64];
    snprintf(opening, sizeof opening, "<%s>", tag);
    const char *from = strstr(*cursor, opening);
    const char *end = from ? strchr(from + strlen(opening), '<') : NULL;
    if (!end) return NULL;
    *cursor = end;
    return xml_decode(from + strlen(opening), end);
}
