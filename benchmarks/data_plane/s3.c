/* Amazon S3, and the XML interface of Google Cloud Storage, which is nearly the same. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http.h"

enum { PAGE_LIMIT = 1000 };

typedef struct {
    Request *request;
    Reply *reply;
    Bucket *bucket;
    const char *bucket_name, *key;
} Call;

static void answer_service(Call *call);
static void answer_bucket(Call *call);
static void answer_object(Call *call);

static void fail(const Call *call, int status, const char *code) {
    Reply *reply = call->reply;
    reply->status = status;
    reply_header(reply, "Content-Type", "application/xml");
    text_format(&reply->body, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message>"
                "<Resource>", code, code);
    text_xml(&reply->body, call->key);
    text_string(&reply->body, "</Resource><RequestId>0</RequestId></Error>");
}

void s3_answer(Request *request, Reply *reply) {
    char *path = request->path + 1, *bucket_name = strsep(&path, "/");
    percent_decode(bucket_name, false);
    if (path) percent_decode(path, false);
    Call call = {request, reply, bucket_find(bucket_name), bucket_name, path ? path : ""};
    reply_header(reply, "x-amz-request-id", "0");
    if (!*bucket_name) answer_service(&call);
    else if (!*call.key && request_is(request, "PUT")) {
        if (!call.bucket) bucket_create(bucket_name);
        reply->status = 200;
    } else if (!call.bucket) fail(&call, 404, "NoSuchBucket");
    else if (!*call.key) answer_bucket(&call);
    else answer_object(&call);
}

/* XML */

static void begin_xml(const Call *call, const char *element) {
    call->reply->status = 200;
    reply_header(call->reply, "Content-Type", "application/xml");
    text_format(&call->reply->body, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                "<%s xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", element);
}

static void end_xml(const Call *call, const char *element) {
    text_format(&call->reply->body, "</%s>", element);
}

static bool url_coded(const Call *call) {
    return !strcmp(parameter_or(call->request, "encoding-type", ""), "url");
}

/* Keys and prefixes, which the client may have asked to be percent-coded. */
static void add_key(const Call *call, const char *element, const char *value) {
    Text *body = &call->reply->body;
    text_format(body, "<%s>", element);
    if (url_coded(call)) text_percent(body, value);
    else text_xml(body, value);
    text_format(body, "</%s>", element);
}

static void add_time(Text *body, const char *element, time_t when) {
    text_format(body, "<%s>", element);
    text_time_iso(body, when);
    text_format(body, "</%s>", element);
}

/* Buckets */

static void answer_service(Call *call) {
    Text *body = &call->reply->body;
    begin_xml(call, "ListAllMyBucketsResult");
    text_string(body, "<Owner><ID>0</ID></Owner><Buckets>");
    for (Bucket *bucket = buckets(); bucket; bucket = bucket->next)
        text_format(body, "<Bucket><Name>%s</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket>",
                    bucket->name);
    text_string(body, "</Buckets>");
    end_xml(call, "ListAllMyBucketsResult");
}

static void delete_objects(const Call *call) {
    const char *cursor = call->request->body;
    bool quiet = strcasestr(cursor, "<Quiet>true");
    begin_xml(call, "DeleteResult");
    for (char *key; (key = xml_next(&cursor, "Key")); free(key)) {
        object_delete(call->bucket, key);
        if (quiet) continue;
        text_string(&call->reply->body, "<Deleted><Key>");
        text_xml(&call->reply->body, key);
        text_string(&call->reply->body, "</Key></Deleted>");
    }
    end_xml(call, "DeleteResult");
}

static void add_entry(const Call *call, const Entry *entry) {
    Text *body = &call->reply->body;
    if (!entry->object) {
        text_string(body, "<CommonPrefixes>");
        add_key(call, "Prefix", entry->prefix);
        text_string(body, "</CommonPrefixes>");
        return;
    }
    text_string(body, "<Contents>");
    add_key(call, "Key", entry->object->key);
    add_time(body, "LastModified", entry->object->modified);
    text_format(body, "<ETag>&quot;%s&quot;</ETag><Size>%zu</Size><StorageClass>STANDARD</StorageClass></Contents>",
                entry->object->traits.etag, entry->object->blob->size);
}

static void list_objects(const Call *call) {
    const Request *request = call->request;
    Text *body = &call->reply->body;
    bool second = !strcmp(parameter_or(request, "list-type", "1"), "2");
    const char *start = second ? parameter_or(request, "start-after", "") : parameter_or(request, "marker", "");
    int limit = atoi(parameter_or(request, "max-keys", "1000"));
    Query query = {parameter_or(request, "prefix", ""), parameter_or(request, "delimiter", ""),
                   parameter_or(request, "continuation-token", start),
                   limit < 0 || limit > PAGE_LIMIT ? PAGE_LIMIT : limit};
    Page page = page_list(call->bucket, &query);
    begin_xml(call, "ListBucketResult");
    text_format(body, "<Name>%s</Name><MaxKeys>%d</MaxKeys><IsTruncated>%s</IsTruncated>", call->bucket_name,
                query.limit, page.next ? "true" : "false");
    add_key(call, "Prefix", query.prefix);
    if (*query.delimiter) add_key(call, "Delimiter", query.delimiter);
    if (url_coded(call)) text_string(body, "<EncodingType>url</EncodingType>");
    if (second) text_format(body, "<KeyCount>%d</KeyCount>", page.count);
    else add_key(call, "Marker", query.after);
    for (int prefixes = 0; prefixes < 2; prefixes++) /* the objects first: some parsers insist */
        for (int i = 0; i < page.count; i++)
            if ((page.entries[i].prefix != NULL) == prefixes) add_entry(call, &page.entries[i]);
    if (page.next && second) {
        text_string(body, "<NextContinuationToken>");
        text_xml(body, page.next);
        text_string(body, "</NextContinuationToken>");
    } else if (page.next) {
        add_key(call, "NextMarker", page.next);
    }
    end_xml(call, "ListBucketResult");
    page_free(&page);
}

static void list_uploads(const Call *call) {
    Text *body = &call->reply->body;
    const char *prefix = parameter_or(call->request, "prefix", "");
    begin_xml(call, "ListMultipartUploadsResult");
    text_format(body, "<Bucket>%s</Bucket><IsTruncated>false</IsTruncated>", call->bucket_name);
    for (Upload *upload = uploads(); upload; upload = upload->next) {
        if (upload->bucket != call->bucket || strncmp(upload->key, prefix, strlen(prefix))) continue;
        text_string(body, "<Upload>");
        add_key(call, "Key", upload->key);
        text_format(body, "<UploadId>%s</UploadId><StorageClass>STANDARD</StorageClass>", upload->id);
        add_time(body, "Initiated", upload->started);
        text_string(body, "</Upload>");
    }
    end_xml(call, "ListMultipartUploadsResult");
}

static void answer_bucket(Call *call) {
    const Request *request = call->request;
    call->reply->status = 200;
    if (request_is(request, "HEAD")) {
        reply_header(call->reply, "x-amz-bucket-region", "us-east-1");
    } else if (request_is(request, "DELETE")) {
        if (call->bucket->count) return fail(call, 409, "BucketNotEmpty");
        bucket_delete(call->bucket);
        call->reply->status = 204;
    } else if (request_is(request, "POST") && request_parameter(request, "delete")) {
        delete_objects(call);
    } else if (!request_is(request, "GET")) {
        fail(call, 405, "MethodNotAllowed");
    } else if (request_parameter(request, "location")) {
        begin_xml(call, "LocationConstraint");
        end_xml(call, "LocationConstraint");
    } else if (request_parameter(request, "versioning")) {
        begin_xml(call, "VersioningConfiguration");
        end_xml(call, "VersioningConfiguration");
    } else if (request_parameter(request, "uploads")) {
        list_uploads(call);
    } else {
        list_objects(call);
    }
}

/* Objects */

static bool is_kept(const char *name) {
    static const char *const names[] = {"content-type", "cache-control", "content-disposition", "content-language"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcasecmp(name, names[i])) return true;
    return !strncasecmp(name, "x-amz-meta-", 11) || !strncasecmp(name, "x-goog-meta-", 12);
}

static bool is_checksum(const char *name) {
    static const char prefix[] = "x-amz-checksum-";
    return !strncasecmp(name, prefix, sizeof prefix - 1) && strcasecmp(name, "x-amz-checksum-mode") &&
           strcasecmp(name, "x-amz-checksum-algorithm");
}

static char *header_lines(const Request *request, bool (*wanted)(const char *name)) {
    Text lines = {0};
    for (int i = 0; i < request->header_count; i++)
        if (wanted(request->headers[i].name))
            text_format(&lines, "%s: %s\r\n", request->headers[i].name, request->headers[i].value);
    return lines.data;
}

static Traits traits_of(const Request *request) {
    const char *coding = request_header(request, "Content-Encoding");
    Traits traits = {.headers = header_lines(request, is_kept), .checksums = header_lines(request, is_checksum)};
    if (!coding || !strncmp(coding, "aws-chunked", 11)) return traits;
    Text lines = {0};
    text_format(&lines, "%sContent-Encoding: %s\r\n", traits.headers ? traits.headers : "", coding);
    free(traits.headers);
    traits.headers = lines.data;
    return traits;
}

/* Google tells the digest of the whole with each answer, S3 what it was sent and what it is asked for.
 * A client of S3 dates what it signs. */
static void add_checksums(const Call *call, Blob *blob, const char *checksums) {
    if (!request_header(call->request, "x-amz-date")) text_hash(&call->reply->headers, blob);
    else if (checksums) text_string(&call->reply->headers, checksums);
}

/* Takes the client's word for the digest. */
static Blob *take_body(const Call *call) {
    static const char kind[] = "crc32c=";
    const char *hash = request_header(call->request, "x-goog-hash"), *said = hash ? strstr(hash, kind) : NULL;
    Blob *blob = request_take_body(call->request);
    Segment *segment = &blob->segments[0];
    uint32_t digest;
    segment->is_hashed = said && from_base64(said + sizeof kind - 1, (uint8_t *)&digest, sizeof digest);
    if (segment->is_hashed) segment->crc32c = __builtin_bswap32(digest);
    return blob;
}

static void announce(const Call *call, const Object *object) {
    text_format(&call->reply->headers, "ETag: \"%s\"\r\nx-goog-generation: %llu\r\n", object->traits.etag,
                (unsigned long long)object->generation);
    add_checksums(call, object->blob, object->traits.checksums);
}

static void put_object(const Call *call) {
    int refused = request_precondition(call->request, object_find(call->bucket, call->key));
    if (refused) return fail(call, refused, "PreconditionFailed");
    Traits traits = traits_of(call->request);
    Blob *blob = take_body(call);
    etag_make(traits.etag, blob, request_header(call->request, "Content-MD5"));
    announce(call, object_put(call->bucket, call->key, blob, traits));
    call->reply->status = 200;
}

static Object *find_source(const char *source) {
    char *copy = strdup(source), *key = copy + (*copy == '/'), *bucket_name = strsep(&key, "/");
    if (key) key[strcspn(key, "?")] = 0;
    if (key) percent_decode(key, false);
    Bucket *bucket = bucket_find(bucket_name);
    Object *object = bucket && key ? object_find(bucket, key) : NULL;
    free(copy);
    return object;
}

static void copy_object(const Call *call, const char *source) {
    const Object *from = find_source(source);
    const char *directive = request_header(call->request, "x-amz-metadata-directive");
    if (!from) return fail(call, 404, "NoSuchKey");
    Traits traits = {0};
    if (directive && !strcasecmp(directive, "REPLACE")) traits = traits_of(call->request);
    else if (from->traits.headers) traits.headers = strdup(from->traits.headers);
    if (from->traits.checksums && !traits.checksums) traits.checksums = strdup(from->traits.checksums);
    memcpy(traits.etag, from->traits.etag, ETAG_SIZE);
    const Object *made = object_put(call->bucket, call->key, blob_share(from->blob), traits);
    begin_xml(call, "CopyObjectResult");
    add_time(&call->reply->body, "LastModified", made->modified);
    text_format(&call->reply->body, "<ETag>&quot;%s&quot;</ETag>", made->traits.etag);
    end_xml(call, "CopyObjectResult");
}

static void get_object(const Call *call) {
    const Object *object = object_find(call->bucket, call->key);
    const char *range = request_header(call->request, "Range");
    if (!object) return fail(call, 404, "NoSuchKey");
    int refused = request_precondition(call->request, object);
    if (refused) return fail(call, refused, "PreconditionFailed");
    reply_object(call->reply, call->request, object, range);
    if (call->reply->status == 416) return fail(call, 416, "InvalidRange");
    text_format(&call->reply->headers, "x-goog-generation: %llu\r\n", (unsigned long long)object->generation);
    bool asked = request_header(call->request, "x-amz-checksum-mode") && !range;
    add_checksums(call, object->blob, asked ? object->traits.checksums : NULL);
}

/* Uploads in parts */

static void create_upload(const Call *call) {
    Upload *upload = upload_create(call->bucket, call->key, traits_of(call->request));
    begin_xml(call, "InitiateMultipartUploadResult");
    text_format(&call->reply->body, "<Bucket>%s</Bucket>", call->bucket_name);
    add_key(call, "Key", call->key);
    text_format(&call->reply->body, "<UploadId>%s</UploadId>", upload->id);
    end_xml(call, "InitiateMultipartUploadResult");
}

static void put_part(const Call *call, Upload *upload) {
    char etag[ETAG_SIZE];
    Blob *blob = take_body(call);
    char *checksums = header_lines(call->request, is_checksum);
    etag_make(etag, blob, request_header(call->request, "Content-MD5"));
    upload_put(upload, parameter_or(call->request, "partNumber", ""), etag, blob);
    call->reply->status = 200;
    text_format(&call->reply->headers, "ETag: \"%s\"\r\n", etag);
    add_checksums(call, blob, checksums);
    free(checksums);
}

static void list_parts(const Call *call, const Upload *upload) {
    Text *body = &call->reply->body;
    begin_xml(call, "ListPartsResult");
    text_format(body, "<Bucket>%s</Bucket>", call->bucket_name);
    add_key(call, "Key", call->key);
    text_format(body, "<UploadId>%s</UploadId><IsTruncated>false</IsTruncated>", upload->id);
    for (int i = 0; i < upload->count; i++) {
        const Part *part = &upload->parts[i];
        text_format(body, "<Part><PartNumber>%s</PartNumber><ETag>&quot;%s&quot;</ETag><Size>%zu</Size>", part->name,
                    part->etag, part->blob->size);
        add_time(body, "LastModified", upload->started);
        text_string(body, "</Part>");
    }
    end_xml(call, "ListPartsResult");
}

/* S3's ETag of an upload in parts: the MD5 of the parts' own, and their number. */
static void join_etags(const Upload *upload, char *const *numbers, int count, char *etag) {
    Text digests = {0};
    for (int i = 0; i < count; i++) {
        const Part *part = upload_part(upload, numbers[i]);
        for (int at = 0; part && at < 32; at += 2) {
            unsigned byte;
            sscanf(part->etag + at, "%2x", &byte);
            text_add(&digests, &(char){(char)byte}, 1);
        }
    }
    uint8_t digest[16];
    md5(digests.data, digests.size, digest);
    to_hex(digest, sizeof digest, etag);
    sprintf(etag + 32, "-%d", count);
    free(digests.data);
}

static void complete_upload(const Call *call, Upload *upload) {
    const char *cursor = call->request->body;
    char *numbers[10000], *number;
    int count = 0;
    int refused = request_precondition(call->request, object_find(call->bucket, call->key));
    if (refused) return fail(call, refused, "PreconditionFailed");
    while (count < 10000 && (number = xml_next(&cursor, "PartNumber"))) numbers[count++] = number;
    Traits traits = upload->traits;
    upload->traits = (Traits){0};
    join_etags(upload, numbers, count, traits.etag);
    traits.checksums = header_lines(call->request, is_checksum);
    Blob *blob = count ? upload_join(upload, numbers, count) : NULL;
    while (count) free(numbers[--count]);
    if (!blob) {
        traits_clear(&traits);
        return fail(call, 400, "InvalidPart");
    }
    const Object *object = object_put(call->bucket, call->key, blob, traits);
    begin_xml(call, "CompleteMultipartUploadResult");
    text_format(&call->reply->body, "<Bucket>%s</Bucket>", call->bucket_name);
    add_key(call, "Key", call->key);
    text_format(&call->reply->body, "<ETag>&quot;%s&quot;</ETag>", object->traits.etag);
    end_xml(call, "CompleteMultipartUploadResult");
    announce(call, object);
}

static void answer_upload(const Call *call, const char *id) {
    const Request *request = call->request;
    Upload *upload = upload_find(id);
    if (!upload || strcmp(upload->key, call->key)) return fail(call, 404, "NoSuchUpload");
    if (request_is(request, "PUT")) return put_part(call, upload);
    if (request_is(request, "GET")) return list_parts(call, upload);
    if (request_is(request, "POST")) return complete_upload(call, upload);
    upload_delete(upload);
    call->reply->status = 204;
}

static void answer_object(Call *call) {
    const Request *request = call->request;
    const char *upload = request_parameter(request, "uploadId");
    const char *source = request_header(request, "x-amz-copy-source");
    if (!source) source = request_header(request, "x-goog-copy-source");
    if (source && upload) {
        fail(call, 501, "NotImplemented");
    } else if (upload) {
        answer_upload(call, upload);
    } else if (request_is(request, "PUT")) {
        if (source) copy_object(call, source);
        else put_object(call);
    } else if (request_is(request, "GET") || request_is(request, "HEAD")) {
        get_object(call);
    } else if (request_is(request, "DELETE")) {
        object_delete(call->bucket, call->key);
        call->reply->status = 204;
    } else if (request_is(request, "POST") && request_parameter(request, "uploads")) {
        create_upload(call);
    } else {
        fail(call, 405, "MethodNotAllowed");
    }
}
