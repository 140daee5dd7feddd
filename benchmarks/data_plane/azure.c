/* Azure Blob: block blobs under /ACCOUNT/CONTAINER/BLOB. A bucket's name is "ACCOUNT/CONTAINER". */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http.h"

enum { PAGE_LIMIT = 5000, MAX_BLOCKS = 50000 };

typedef struct {
    Request *request;
    Reply *reply;
    Bucket *bucket;
    const char *account, *container, *key, *operation; /* operation: the parameter `comp` */
} Call;

static void answer_account(const Call *call);
static void answer_container(const Call *call);
static void answer_blob(const Call *call);

static void fail(const Call *call, int status, const char *code) {
    call->reply->status = status;
    reply_header(call->reply, "Content-Type", "application/xml");
    reply_header(call->reply, "x-ms-error-code", code);
    text_format(&call->reply->body, "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code>"
                "<Message>%s</Message></Error>", code, code);
}

static Bucket *find_container(const char *account, const char *container) {
    char name[256];
    snprintf(name, sizeof name, "%s/%s", account, container);
    return bucket_find(name);
}

/* Cuts "/ACCOUNT/CONTAINER/BLOB" up in place. */
static void split_path(char *path, const char **account, const char **container, const char **key) {
    char *rest = path + (*path == '/');
    *account = strsep(&rest, "/");
    *container = rest ? strsep(&rest, "/") : "";
    if (rest) percent_decode(rest, false);
    *key = rest ? rest : "";
}

void azure_answer(Request *request, Reply *reply) {
    Call call = {.request = request, .reply = reply, .operation = parameter_or(request, "comp", "")};
    split_path(request->path, &call.account, &call.container, &call.key);
    call.bucket = find_container(call.account, call.container);
    reply_header(reply, "x-ms-version", request_header(request, "x-ms-version"));
    reply_header(reply, "x-ms-request-id", "0");
    if (!*call.container) answer_account(&call);
    else if (*call.key && !call.bucket) fail(&call, 404, "ContainerNotFound");
    else if (*call.key) answer_blob(&call);
    else answer_container(&call);
}

/* XML */

static void begin_xml(const Call *call, const char *element) {
    call->reply->status = 200;
    reply_header(call->reply, "Content-Type", "application/xml");
    text_format(&call->reply->body, "<?xml version=\"1.0\" encoding=\"utf-8\"?><%s>", element);
}

static void add_element(Text *body, const char *element, const char *value) {
    text_format(body, "<%s>", element);
    text_xml(body, value);
    text_format(body, "</%s>", element);
}

static void add_time(Text *body, const char *element, time_t when) {
    text_format(body, "<%s>", element);
    text_time_http(body, when);
    text_format(body, "</%s>", element);
}

/* The account and its containers */

static void answer_account(const Call *call) {
    Text *body = &call->reply->body;
    size_t size = strlen(call->account);
    begin_xml(call, "EnumerationResults");
    text_string(body, "<Containers>");
    for (Bucket *bucket = buckets(); bucket; bucket = bucket->next) {
        if (strncmp(bucket->name, call->account, size) || bucket->name[size] != '/') continue;
        text_string(body, "<Container>");
        add_element(body, "Name", bucket->name + size + 1);
        text_string(body, "<Properties>");
        add_time(body, "Last-Modified", time(NULL));
        text_string(body, "<Etag>0</Etag></Properties></Container>");
    }
    text_string(body, "</Containers><NextMarker/></EnumerationResults>");
}

/* Adds the x-ms-meta-… lines as elements. */
static void add_metadata(Text *body, const char *lines) {
    text_string(body, "<Metadata>");
    for (const char *end; lines && (end = strchr(lines, '\n')); lines = end + 1) {
        if (strncasecmp(lines, "x-ms-meta-", 10)) continue;
        const char *colon = strchr(lines, ':');
        char *name = strndup(lines + 10, (size_t)(colon - lines - 10));
        char *value = strndup(colon + 2, (size_t)(end - 1 - colon - 2));
        add_element(body, name, value);
        free(name);
        free(value);
    }
    text_string(body, "</Metadata>");
}

static void add_entry(Text *body, const Entry *entry, bool with_metadata) {
    const Object *object = entry->object;
    if (!object) {
        text_string(body, "<BlobPrefix>");
        add_element(body, "Name", entry->prefix);
        text_string(body, "</BlobPrefix>");
        return;
    }
    text_string(body, "<Blob>");
    add_element(body, "Name", object->key);
    text_string(body, "<Properties>");
    add_time(body, "Last-Modified", object->modified);
    text_format(body, "<Etag>%s</Etag><Content-Length>%zu</Content-Length><Content-Type>application/octet-stream"
                "</Content-Type>", object->traits.etag, object->blob->size);
    if (object->traits.checksums) { /* "Content-MD5: …\r\n" */
        const char *digest = object->traits.checksums + strlen("Content-MD5: ");
        text_format(body, "<Content-MD5>%.24s</Content-MD5>", digest);
    }
    text_string(body, "<BlobType>BlockBlob</BlobType></Properties>");
    if (with_metadata) add_metadata(body, object->traits.headers);
    text_string(body, "</Blob>");
}

static void list_blobs(const Call *call) {
    const Request *request = call->request;
    Text *body = &call->reply->body;
    int limit = atoi(parameter_or(request, "maxresults", "5000"));
    bool with_metadata = strstr(parameter_or(request, "include", ""), "metadata");
    Query query = {parameter_or(request, "prefix", ""), parameter_or(request, "delimiter", ""),
                   parameter_or(request, "marker", ""), limit < 1 || limit > PAGE_LIMIT ? PAGE_LIMIT : limit};
    Page page = page_list(call->bucket, &query);
    begin_xml(call, "EnumerationResults");
    add_element(body, "Prefix", query.prefix);
    text_format(body, "<MaxResults>%d</MaxResults><Blobs>", query.limit);
    for (int i = 0; i < page.count; i++) add_entry(body, &page.entries[i], with_metadata);
    text_string(body, "</Blobs>");
    add_element(body, "NextMarker", page.next ? page.next : "");
    text_string(body, "</EnumerationResults>");
    page_free(&page);
}

/* Many deletions in one body, each of them a request of its own in a part of multipart/mixed. */
static void delete_batch(const Call *call) {
    Text *body = &call->reply->body, folder = {0};
    int number = 0;
    text_format(&folder, "/%s/", call->container);
    for (char *line = call->request->body; (line = strstr(line, "\nDELETE /"));) {
        char *path = line + strlen("\nDELETE "), *at = strchr(path, '\n');
        if (!at) break;
        *at = 0;
        path[strcspn(path, " ?\r")] = 0;
        char *key = strstr(path, folder.data);
        if (key) percent_decode(key += folder.size, false);
        bool found = key && object_delete(call->bucket, key);
        text_format(body, "--batch\r\nContent-Type: application/http\r\nContent-ID: %d\r\n\r\nHTTP/1.1 %s\r\n"
                    "x-ms-version: 2021-12-02\r\n\r\n\r\n", number++, found ? "202 Accepted" : "404 Not Found");
        line = at + 1;
    }
    text_string(body, "--batch--\r\n");
    free(folder.data);
    reply_header(call->reply, "Content-Type", "multipart/mixed; boundary=batch");
    call->reply->status = 202;
}

static void create_container(const Call *call) {
    char name[256];
    if (call->bucket) return fail(call, 409, "ContainerAlreadyExists");
    snprintf(name, sizeof name, "%s/%s", call->account, call->container);
    bucket_create(name);
    call->reply->status = 201;
}

static void answer_container(const Call *call) {
    const Request *request = call->request;
    reply_header(call->reply, "ETag", "\"0\"");
    reply_time(call->reply, "Last-Modified", time(NULL));
    if (request_is(request, "PUT")) {
        create_container(call);
    } else if (!call->bucket) {
        fail(call, 404, "ContainerNotFound");
    } else if (!strcmp(call->operation, "list")) {
        list_blobs(call);
    } else if (!strcmp(call->operation, "batch")) {
        delete_batch(call);
    } else if (request_is(request, "DELETE")) {
        bucket_delete(call->bucket);
        call->reply->status = 202;
    } else {
        call->reply->status = 200;
    }
}

/* Blobs */

static Traits traits_of(const Request *request) {
    static const char prefix[] = "x-ms-blob-";
    static const char *const kept[] = {"content-type", "content-encoding", "content-language",
                                       "content-disposition", "cache-control"};
    Text lines = {0}, digest = {0};
    for (int i = 0; i < request->header_count; i++) {
        const char *name = request->headers[i].name, *value = request->headers[i].value;
        if (!strncasecmp(name, "x-ms-meta-", 10)) text_format(&lines, "%s: %s\r\n", name, value);
        if (strncasecmp(name, prefix, sizeof prefix - 1)) continue;
        name += sizeof prefix - 1;
        if (!strcasecmp(name, "content-md5")) text_format(&digest, "Content-MD5: %s\r\n", value);
        for (size_t k = 0; k < sizeof kept / sizeof *kept; k++)
            if (!strcasecmp(name, kept[k])) text_format(&lines, "%s: %s\r\n", name, value);
    }
    return (Traits){.headers = lines.data, .checksums = digest.data};
}

static bool refused(const Call *call) {
    int status = request_precondition(call->request, object_find(call->bucket, call->key));
    bool exists = status == 412 && request_header(call->request, "If-None-Match");
    if (status) fail(call, exists ? 409 : status, exists ? "BlobAlreadyExists" : "ConditionNotMet");
    return status;
}

static void store_blob(const Call *call, Blob *blob, Traits traits) {
    const char *digest = request_header(call->request, "x-ms-blob-content-md5");
    etag_make(traits.etag, blob, digest ? digest : request_header(call->request, "Content-MD5"));
    const Object *object = object_put(call->bucket, call->key, blob, traits);
    text_format(&call->reply->headers, "ETag: \"%s\"\r\nx-ms-request-server-encrypted: true\r\n", object->traits.etag);
    reply_time(call->reply, "Last-Modified", object->modified);
    call->reply->status = 201;
}

static void put_blob(const Call *call) {
    if (refused(call)) return;
    Upload *upload = upload_of(call->bucket, call->key);
    if (upload) upload_delete(upload);
    store_blob(call, request_take_body(call->request), traits_of(call->request));
}

static void copy_blob(const Call *call, const char *url) {
    const char *path = strstr(url, "//") ? strchr(strstr(url, "//") + 2, '/') : NULL;
    const char *account, *container, *key;
    char *copy = strdup(path ? path : "");
    copy[strcspn(copy, "?")] = 0;
    split_path(copy, &account, &container, &key);
    Bucket *bucket = find_container(account, container);
    const Object *from = bucket ? object_find(bucket, key) : NULL;
    free(copy);
    if (!from) return fail(call, 404, "BlobNotFound");
    if (refused(call)) return;
    Traits traits = {.headers = from->traits.headers ? strdup(from->traits.headers) : NULL,
                     .checksums = from->traits.checksums ? strdup(from->traits.checksums) : NULL};
    store_blob(call, blob_share(from->blob), traits);
    text_string(&call->reply->headers, "x-ms-copy-id: 0\r\nx-ms-copy-status: success\r\n");
    call->reply->status = 202;
}

static void put_block(const Call *call) {
    char etag[ETAG_SIZE] = "";
    Upload *upload = upload_of(call->bucket, call->key);
    if (!upload) upload = upload_create(call->bucket, call->key, (Traits){0});
    upload_put(upload, parameter_or(call->request, "blockid", ""), etag, request_take_body(call->request));
    call->reply->status = 201;
}

/* The ids of <BlockList>, which clients fill with elements of one kind. */
static int block_ids(const Call *call, char **ids) {
    static const char *const kinds[] = {"Latest", "Uncommitted", "Committed"};
    int count = 0;
    for (int kind = 0; kind < 3 && !count; kind++) {
        const char *cursor = call->request->body;
        while (count < MAX_BLOCKS && (ids[count] = xml_next(&cursor, kinds[kind]))) count++;
    }
    return count;
}

static void put_block_list(const Call *call) {
    static char *ids[MAX_BLOCKS + 1];
    if (refused(call)) return;
    Upload *upload = upload_of(call->bucket, call->key);
    int count = block_ids(call, ids);
    Blob *blob = NULL;
    if (!count) blob = blob_of(NULL, 0);
    else if (upload) blob = upload_join(upload, ids, count);
    while (count) free(ids[--count]);
    if (!blob) return fail(call, 400, "InvalidBlockList");
    store_blob(call, blob, traits_of(call->request));
}

static void get_block_list(const Call *call) {
    const Upload *upload = upload_of(call->bucket, call->key);
    Text *body = &call->reply->body;
    if (!upload && !object_find(call->bucket, call->key)) return fail(call, 404, "BlobNotFound");
    begin_xml(call, "BlockList");
    text_string(body, "<CommittedBlocks/><UncommittedBlocks>");
    for (int i = 0; upload && i < upload->count; i++) {
        text_string(body, "<Block>");
        add_element(body, "Name", upload->parts[i].name);
        text_format(body, "<Size>%zu</Size></Block>", upload->parts[i].blob->size);
    }
    text_string(body, "</UncommittedBlocks></BlockList>");
}

static void get_blob(const Call *call) {
    const Request *request = call->request;
    const Object *object = object_find(call->bucket, call->key);
    const char *range = request_header(request, "x-ms-range");
    if (!range) range = request_header(request, "Range");
    if (!object) return fail(call, 404, "BlobNotFound");
    int status = request_precondition(request, object);
    if (status) return fail(call, status, "ConditionNotMet");
    reply_object(call->reply, request, object, range);
    if (call->reply->status == 416) return fail(call, 416, "InvalidRange");
    text_string(&call->reply->headers, "x-ms-blob-type: BlockBlob\r\nx-ms-server-encrypted: true\r\n");
    if (!object->traits.checksums) return;
    if (call->reply->status == 206) text_string(&call->reply->headers, "x-ms-blob-"); /* of the whole blob */
    text_string(&call->reply->headers, object->traits.checksums);
}

static void put_something(const Call *call) {
    const char *source = request_header(call->request, "x-ms-copy-source");
    if (!strcmp(call->operation, "block")) put_block(call);
    else if (!strcmp(call->operation, "blocklist")) put_block_list(call);
    else if (*call->operation) fail(call, 501, "NotImplemented");
    else if (source) copy_blob(call, source);
    else put_blob(call);
}

static void answer_blob(const Call *call) {
    const Request *request = call->request;
    bool gets = request_is(request, "GET");
    if (request_is(request, "PUT")) put_something(call);
    else if (gets && !strcmp(call->operation, "blocklist")) get_block_list(call);
    else if (gets || request_is(request, "HEAD")) get_blob(call);
    else if (!request_is(request, "DELETE")) fail(call, 405, "UnsupportedHttpVerb");
    else if (object_delete(call->bucket, call->key)) call->reply->status = 202;
    else fail(call, 404, "BlobNotFound");
}
