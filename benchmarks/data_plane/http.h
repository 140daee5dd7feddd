/* Requests, replies and the text they are made of. */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "store.h"

/* Text that grows; `data` always ends in a NUL once something was added. */
typedef struct {
    char *data;
    size_t size, room;
} Text;

void text_add(Text *text, const void *bytes, size_t size);
void text_string(Text *text, const char *string);
void text_format(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_xml(Text *text, const char *string);
void text_json(Text *text, const char *string);
void text_utf8(Text *text, unsigned long code);
void text_percent(Text *text, const char *string);
void text_time_http(Text *text, time_t when);
void text_time_iso(Text *text, time_t when);

void percent_decode(char *string, bool plus_is_space); /* in place */
void to_hex(const uint8_t *bytes, size_t size, char *hex);
void text_base64(Text *text, const uint8_t *bytes, size_t size);
bool from_base64(const char *text, uint8_t *bytes, size_t size); /* exactly `size` bytes */
void text_hash(Text *text, Blob *blob); /* Google's header line with the CRC-32C */

/* The text of the next <TAG>…</TAG> from *cursor on, freed by the caller; NULL if there is none. */
char *xml_next(const char **cursor, const char *tag);

typedef struct {
    char *name, *value;
} Field;

enum { MAX_HEADERS = 96, MAX_PARAMETERS = 32 };

/* Everything but the body points into the connection's buffer. */
typedef struct {
    const char *method;
    char *path; /* still percent-coded */
    Field parameters[MAX_PARAMETERS];
    Field headers[MAX_HEADERS];
    int parameter_count, header_count;
    char *body; /* whoever keeps it sets it to NULL */
    size_t body_size;
} Request;

bool request_parse(Request *request, char *head);
void request_parse_headers(Request *request, char *lines);
const char *request_header(const Request *request, const char *name);
const char *request_parameter(const Request *request, const char *name);
const char *parameter_or(const Request *request, const char *name, const char *otherwise);
/* 0 if the If-… headers let the request go on, else 304 or 412; `object` may be NULL. */
int request_precondition(const Request *request, const Object *object);
bool request_is(const Request *request, const char *method);
Blob *request_take_body(Request *request);

typedef struct {
    int status;
    Text headers, body;
    Blob *blob; /* what is sent instead of `body`, from `offset` on */
    size_t offset, length;
    bool body_left_out; /* a HEAD request: announced, not sent */
} Reply;

void reply_header(Reply *reply, const char *name, const char *value);
void reply_time(Reply *reply, const char *name, time_t when);
/* The object's bytes, or the range of them that `range` names. */
void reply_object(Reply *reply, const Request *request, const Object *object, const char *range);
void reply_head(const Reply *reply, Text *head);
void reply_clear(Reply *reply);

void s3_answer(Request *request, Reply *reply);
void azure_answer(Request *request, Reply *reply);
void gcs_answer(Request *request, Reply *reply);

#endif
