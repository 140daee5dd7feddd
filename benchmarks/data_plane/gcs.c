/* The JSON interface of Google Cloud Storage; its XML interface is answered as S3. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http.h"

enum { PAGE_LIMIT = 1000, MAX_CHUNKS = 65536 };

typedef struct {
    Request *request;
    Reply *reply;
    Bucket *bucket;
    char *bucket_name, *key;
    char *target; /* of a copy: what follows /rewriteTo/b/ or /copyTo/b/ */
    bool rewrites;
} Call;

static void answer_buckets(const Call *call);
static void answer_bucket(const Call *call);
static void answer_objects(const Call *call);
static void answer_object(const Call *call);
static void answer_upload(const Call *call);

static void fail(const Call *call, int status, const char *reason) {
    call->reply->status = status;
    reply_header(call->reply, "Content-Type", "application/json");
    text_format(&call->reply->body, "{\"error\":{\"code\":%d,\"message\":\"%s\",\"errors\":[{\"reason\":\"%s\"}]}}",
                status, reason, reason);
}

/* Cuts "BUCKET/o/KEY" up in place; what is not there is left as it is. */
static void split_path(char *path, char **bucket_name, char **key) {
    *bucket_name = strsep(&path, "/");
    percent_decode(*bucket_name, false);
    if (path && !strncmp(path, "o/", 2)) percent_decode(*key = path + 2, false);
}

/* Ends the path where `word` begins, and returns what follows it; NULL if it is not there. */
static char *cut(char *path, const char *word) {
    char *found = strstr(path, word);
    if (!found) return NULL;
    *found = 0;
    return found + strlen(word);
}

void gcs_answer(Request *request, Reply *reply) {
    Call call = {.request = request, .reply = reply};
    char *path = strstr(request->path, "storage/v1/b") + strlen("storage/v1/b");
    bool names_bucket = *path == '/' && path[1], uploads_to = !strncmp(request->path, "/upload/", 8);
    call.target = cut(path, "/rewriteTo/b/");
    call.rewrites = call.target;
    if (!call.target) call.target = cut(path, "/copyTo/b/");
    bool lists = names_bucket && strlen(path) > 2 && !strcmp(path + strlen(path) - 2, "/o");
    if (names_bucket) split_path(path + 1, &call.bucket_name, &call.key);
    if (names_bucket) call.bucket = bucket_find(call.bucket_name);
    if (!names_bucket) answer_buckets(&call);
    else if (!call.bucket) fail(&call, 404, "notFound");
    else if (uploads_to) answer_upload(&call);
    else if (call.key) answer_object(&call);
    else if (lists) answer_objects(&call);
    else answer_bucket(&call);
}

/* JSON out */

static void begin_json(const Call *call) {
    call->reply->status = 200;
    reply_header(call->reply, "Content-Type", "application/json");
}

static void add_member(Text *body, const char *name, const char *value) {
    text_format(body, "\"%s\":", name);
    text_json(body, value);
    text_string(body, ",");
}

static void add_time(Text *body, const char *name, time_t when) {
    text_format(body, "\"%s\":\"", name);
    text_time_iso(body, when);
    text_string(body, "\",");
}

static void add_md5(Text *body, const char *etag) {
    uint8_t digest[16];
    if (strlen(etag) != 2 * sizeof digest) return; /* not an MD5 */
    for (size_t i = 0; i < sizeof digest; i++) sscanf(etag + 2 * i, "%2hhx", &digest[i]);
    text_string(body, "\"md5Hash\":\"");
    text_base64(body, digest, sizeof digest);
    text_string(body, "\",");
}

/* Adds the x-goog-meta-… lines, and the hash that the client sent, as members. */
static void add_traits(Text *body, const Traits *traits) {
    static const char hash[] = "x-goog-hash: crc32c=", prefix[] = "x-goog-meta-";
    if (traits->checksums && !strncasecmp(traits->checksums, hash, sizeof hash - 1))
        text_format(body, "\"crc32c\":\"%.8s\",", traits->checksums + sizeof hash - 1);
    text_string(body, "\"metadata\":{");
    const char *comma = "";
    for (const char *line = traits->headers, *end; line && (end = strstr(line, "\r\n")); line = end + 2) {
        if (strncasecmp(line, prefix, sizeof prefix - 1)) continue;
        const char *colon = memchr(line, ':', (size_t)(end - line - 1));
        if (!colon) continue;
        char *name = strndup(line + sizeof prefix - 1, (size_t)(colon - line) - sizeof prefix + 1);
        char *value = strndup(colon + 2, (size_t)(end - colon - 2));
        text_string(body, comma);
        text_json(body, name);
        text_string(body, ":");
        text_json(body, value);
        comma = ",";
        free(name);
        free(value);
    }
    text_string(body, "}");
}

/* Where some clients fetch the bytes from. */
static void add_link(const Call *call, const char *bucket_name, const Object *object) {
    Text *body = &call->reply->body;
    text_format(body, "\"mediaLink\":\"http://%s/download/storage/v1/b/%s/o/", request_header(call->request, "Host"),
                bucket_name);
    text_percent(body, object->key);
    text_format(body, "?generation=%llu&alt=media\",", (unsigned long long)object->generation);
}

static void add_object(const Call *call, const char *bucket_name, const Object *object) {
    Text *body = &call->reply->body;
    text_string(body, "{\"kind\":\"storage#object\",\"storageClass\":\"STANDARD\",\"metageneration\":\"1\",");
    add_member(body, "bucket", bucket_name);
    add_member(body, "name", object->key);
    add_member(body, "etag", object->traits.etag);
    add_md5(body, object->traits.etag);
    text_format(body, "\"size\":\"%zu\",\"generation\":\"%llu\",", object->blob->size,
                (unsigned long long)object->generation);
    add_time(body, "timeCreated", object->modified);
    add_time(body, "updated", object->modified);
    add_link(call, bucket_name, object);
    add_traits(body, &object->traits);
    text_string(body, "}");
}

static void reply_resource(const Call *call, const Object *object) {
    begin_json(call);
    add_object(call, call->bucket_name, object);
    if (object->traits.checksums) text_string(&call->reply->headers, object->traits.checksums);
}

/* JSON in: objects of strings, and of objects of strings */

static const char *skip_space(const char *at) {
    return at + strspn(at, " \t\r\n,:");
}

static unsigned long escaped_code(const char *digits) {
    char code[5] = {0};
    memcpy(code, digits, strnlen(digits, 4));
    return strtoul(code, NULL, 16);
}

/* Reads the string at *at, which is at its quote; freed by the caller. */
static char *json_string(const char **at) {
    static const char escapes[] = "n\nt\tr\rb\bf\f";
    Text text = {0};
    text_add(&text, "", 0);
    for (++*at; **at && **at != '"'; ++*at) {
        if (**at != '\\') {
            text_add(&text, *at, 1);
            continue;
        }
        ++*at;
        const char *escape = strchr(escapes, **at);
        if (**at == 'u') {
            unsigned long code = escaped_code(*at + 1);
            *at += strnlen(*at, 4);
            if (code >> 10 == 0x36 && (*at)[1] == '\\' && (*at)[2] == 'u') { /* half of a pair */
                code = 0x10000 + ((code & 0x3ff) << 10 | (escaped_code(*at + 3) & 0x3ff));
                *at += 6;
            }
            text_utf8(&text, code);
        } else {
            text_add(&text, **at && escape ? escape + 1 : *at, 1);
        }
    }
    *at += **at == '"';
    return text.data;
}

typedef struct {
    char *name, *content_type, *crc32c;
    Text metadata; /* header lines */
} Resource;

static void read_metadata(const char **at, Text *lines) {
    for (*at = skip_space(*at + 1); **at == '"'; *at = skip_space(*at)) {
        char *name = json_string(at);
        *at = skip_space(*at);
        char *value = **at == '"' ? json_string(at) : strdup("");
        text_format(lines, "x-goog-meta-%s: %s\r\n", name, value);
        free(name);
        free(value);
    }
    *at += **at == '}';
}

static Resource read_resource(const char *at) {
    Resource resource = {0};
    at = strchrnul(at, '{');
    for (at += *at == '{'; *(at = skip_space(at)) == '"';) {
        char *name = json_string(&at), **member = NULL;
        if (!strcmp(name, "name")) member = &resource.name;
        if (!strcmp(name, "contentType")) member = &resource.content_type;
        if (!strcmp(name, "crc32c")) member = &resource.crc32c;
        free(name);
        at = skip_space(at);
        char *value = *at == '"' ? json_string(&at) : NULL;
        if (!value && *at == '{') read_metadata(&at, &resource.metadata);
        else if (!value) at += strcspn(at, ",}");
        if (member && value && !*member) *member = value;
        else free(value);
    }
    return resource;
}

/* What is kept of the resource; frees it. */
static Traits traits_of(Resource *resource, const char *hash) {
    Text checksums = {0};
    if (resource->content_type) text_format(&resource->metadata, "Content-Type: %s\r\n", resource->content_type);
    if (resource->crc32c) text_format(&checksums, "x-goog-hash: crc32c=%s\r\n", resource->crc32c);
    else if (hash) text_format(&checksums, "x-goog-hash: %s\r\n", hash);
    free(resource->name);
    free(resource->content_type);
    free(resource->crc32c);
    return (Traits){.headers = resource->metadata.data, .checksums = checksums.data};
}

/* Buckets */

static void answer_buckets(const Call *call) {
    Text *body = &call->reply->body;
    begin_json(call);
    if (request_is(call->request, "POST")) {
        Resource resource = read_resource(call->request->body);
        if (resource.name && !bucket_find(resource.name)) bucket_create(resource.name);
        text_string(body, "{\"kind\":\"storage#bucket\",\"name\":");
        text_json(body, resource.name ? resource.name : "");
        text_string(body, "}");
        traits_clear(&(Traits[]){traits_of(&resource, NULL)}[0]);
        return;
    }
    text_string(body, "{\"kind\":\"storage#buckets\",\"items\":[");
    for (Bucket *bucket = buckets(); bucket; bucket = bucket->next)
        text_format(body, "{\"name\":\"%s\"}%s", bucket->name, bucket->next ? "," : "");
    text_string(body, "]}");
}

static void answer_bucket(const Call *call) {
    if (request_is(call->request, "DELETE")) {
        if (call->bucket->count) return fail(call, 409, "conflict");
        bucket_delete(call->bucket);
        call->reply->status = 204;
        return;
    }
    begin_json(call);
    text_format(&call->reply->body, "{\"kind\":\"storage#bucket\",\"name\":\"%s\"}", call->bucket_name);
}

/* Downloads in chunks are checked against this, and not all who upload send it. */
static void complete_checksum(Object *object) {
    if (object->traits.checksums) return;
    Text line = {0};
    text_hash(&line, object->blob);
    object->traits.checksums = line.data;
}

static void add_entries(Text *body, const Call *call, const Page *page, bool prefixes) {
    const char *comma = "";
    for (int i = 0; i < page->count; i++) {
        const Entry *entry = &page->entries[i];
        if ((entry->prefix != NULL) != prefixes) continue;
        text_string(body, comma);
        comma = ",";
        if (prefixes) {
            text_json(body, entry->prefix);
            continue;
        }
        complete_checksum(entry->object);
        add_object(call, call->bucket_name, entry->object);
    }
}

static void answer_objects(const Call *call) {
    const Request *request = call->request;
    Text *body = &call->reply->body;
    int limit = atoi(parameter_or(request, "maxResults", "1000"));
    Query query = {parameter_or(request, "prefix", ""), parameter_or(request, "delimiter", ""),
                   parameter_or(request, "pageToken", ""), limit < 1 || limit > PAGE_LIMIT ? PAGE_LIMIT : limit};
    Page page = page_list(call->bucket, &query);
    begin_json(call);
    text_string(body, "{\"kind\":\"storage#objects\",");
    if (page.next) add_member(body, "nextPageToken", page.next);
    text_string(body, "\"items\":[");
    add_entries(body, call, &page, false);
    text_string(body, "],\"prefixes\":[");
    add_entries(body, call, &page, true);
    text_string(body, "]}");
    page_free(&page);
}

/* Objects */

static void send_media(const Call *call, const Object *object) {
    const char *range = request_header(call->request, "Range");
    reply_object(call->reply, call->request, object, range);
    if (call->reply->status == 416) return fail(call, 416, "requestedRangeNotSatisfiable");
    text_format(&call->reply->headers, "x-goog-generation: %llu\r\n", (unsigned long long)object->generation);
    if (call->reply->status == 200 && object->traits.checksums)
        text_string(&call->reply->headers, object->traits.checksums);
}

static void copy_object(const Call *call, const Object *from) {
    char *bucket_name, *key = NULL;
    split_path(call->target, &bucket_name, &key);
    Bucket *bucket = bucket_find(bucket_name);
    if (!bucket || !key) return fail(call, 404, "notFound");
    Traits traits = {.headers = from->traits.headers ? strdup(from->traits.headers) : NULL,
                     .checksums = from->traits.checksums ? strdup(from->traits.checksums) : NULL};
    memcpy(traits.etag, from->traits.etag, ETAG_SIZE);
    const Object *made = object_put(bucket, key, blob_share(from->blob), traits);
    begin_json(call);
    if (!call->rewrites) return add_object(call, bucket_name, made);
    text_format(&call->reply->body, "{\"kind\":\"storage#rewriteResponse\",\"done\":true,\"objectSize\":\"%zu\","
                "\"totalBytesRewritten\":\"%zu\",\"resource\":", made->blob->size, made->blob->size);
    add_object(call, bucket_name, made);
    text_string(&call->reply->body, "}");
}

static void answer_object(const Call *call) {
    const Request *request = call->request;
    Object *object = object_find(call->bucket, call->key);
    if (!object) return fail(call, 404, "notFound");
    if (request_precondition(request, object)) return fail(call, 412, "conditionNotMet");
    if (call->target) {
        copy_object(call, object);
    } else if (request_is(request, "DELETE")) {
        object_delete(call->bucket, call->key);
        call->reply->status = 204;
    } else if (!strcmp(parameter_or(request, "alt", ""), "media")) {
        send_media(call, object);
    } else {
        complete_checksum(object);
        reply_resource(call, object);
    }
}

/* Uploads */

static void store(const Call *call, const char *key, Blob *blob, Traits traits) {
    if (request_precondition(call->request, object_find(call->bucket, key))) {
        blob_release(blob);
        traits_clear(&traits);
        return fail(call, 412, "conditionNotMet");
    }
    etag_make(traits.etag, blob, NULL);
    reply_resource(call, object_put(call->bucket, key, blob, traits));
}

/* multipart/related of two parts: the resource, and the bytes, which are moved to the front. */
static void upload_at_once(const Call *call) {
    Request *request = call->request;
    char *body = request->body, *end = body + request->body_size;
    char *line_end = memmem(body, request->body_size, "\r\n", 2);
    char *json = line_end ? memmem(line_end, (size_t)(end - line_end), "\r\n\r\n", 4) : NULL;
    if (!json) return fail(call, 400, "parseError");
    size_t boundary = (size_t)(line_end - body);
    char *next = memmem(json, (size_t)(end - json), body, boundary);
    char *bytes = next ? memmem(next, (size_t)(end - next), "\r\n\r\n", 4) : NULL;
    if (!bytes) return fail(call, 400, "parseError");
    *next = 0;
    bytes += 4;
    char *last = memrchr(bytes, '-', (size_t)(end - bytes)); /* what ends it: "\r\n", the boundary, "--" */
    if (!last || (size_t)(last + 1 - bytes) < boundary + 4) return fail(call, 400, "parseError");
    Resource resource = read_resource(json);
    char *key = strdup(resource.name ? resource.name : parameter_or(request, "name", ""));
    Traits traits = traits_of(&resource, NULL);
    request->body_size = (size_t)(last + 1 - bytes) - boundary - 4;
    memmove(body, bytes, request->body_size);
    store(call, key, request_take_body(request), traits);
    free(key);
}

static void begin_upload(const Call *call) {
    Resource resource = read_resource(call->request->body);
    char *key = strdup(resource.name ? resource.name : parameter_or(call->request, "name", ""));
    const Upload *upload = upload_create(call->bucket, key, traits_of(&resource, NULL));
    text_format(&call->reply->headers, "Location: http://%s/upload/storage/v1/b/%s/o?uploadType=resumable&upload_id=%s"
                "\r\n", request_header(call->request, "Host"), call->bucket_name, upload->id);
    call->reply->status = 200;
    free(key);
}

static void end_upload(const Call *call, Upload *upload) {
    static char *names[MAX_CHUNKS];
    char *key = strdup(upload->key);
    Traits traits = upload->traits;
    upload->traits = (Traits){0};
    const char *hash = request_header(call->request, "X-Goog-Hash");
    if (!traits.checksums) traits.checksums = traits_of(&(Resource){0}, hash).checksums;
    for (int i = 0; i < upload->count; i++) names[i] = upload->parts[i].name;
    store(call, key, upload_join(upload, names, upload->count), traits);
    free(key);
}

/* "bytes FIRST-LAST/TOTAL": a chunk; "bytes * /TOTAL" (closed up) asks how far it is; TOTAL may be *. */
static void continue_upload(const Call *call, Upload *upload) {
    const char *range = request_header(call->request, "Content-Range");
    const char *total = range ? strchr(range, '/') : NULL;
    size_t received = 0, first = range ? strtoull(range + strcspn(range, "0123456789"), NULL, 10) : 0;
    for (int i = 0; i < upload->count; i++) received += upload->parts[i].blob->size;
    if (call->request->body_size && first == received && upload->count < MAX_CHUNKS) {
        char name[24], etag[ETAG_SIZE] = "";
        snprintf(name, sizeof name, "%zu", received);
        received += call->request->body_size;
        upload_put(upload, name, etag, request_take_body(call->request));
    }
    if (!range || (total && total[1] != '*' && strtoull(total + 1, NULL, 10) == received))
        return end_upload(call, upload);
    bool hides = request_header(call->request, "X-Guploader-No-308"); /* Go's client follows a 308 */
    call->reply->status = hides ? 200 : 308;
    if (hides) reply_header(call->reply, "X-Http-Status-Code-Override", "308");
    if (received) text_format(&call->reply->headers, "Range: bytes=0-%zu\r\n", received - 1);
}

static void answer_upload(const Call *call) {
    const char *type = parameter_or(call->request, "uploadType", ""), *id = request_parameter(call->request, "upload_id");
    Upload *upload = id ? upload_find(id) : NULL;
    if (id && !upload) fail(call, 404, "notFound");
    else if (upload && request_is(call->request, "DELETE")) {
        upload_delete(upload);
        call->reply->status = 204;
    } else if (upload) continue_upload(call, upload);
    else if (!strcmp(type, "multipart")) upload_at_once(call);
    else if (!strcmp(type, "resumable")) begin_upload(call);
    else store(call, parameter_or(call->request, "name", ""), request_take_body(call->request), (Traits){0});
}
