/* Buckets, objects in order of their keys, and uploads in parts; all in memory. */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef struct {
    char *bytes;
    size_t size;
    uint32_t crc32c;
    bool is_hashed; /* crc32c is known: the client said it, or it was needed before */
} Segment;

/* Bytes that never change; shared by an object, its copies and the replies being sent. */
typedef struct {
    int references;
    int count;
    size_t size;
    Segment segments[];
} Blob;

Blob *blob_of(char *bytes, size_t size); /* takes the bytes */
Blob *blob_share(Blob *blob);
void blob_release(Blob *blob);

enum { ETAG_SIZE = 48 };

/* What came with the bytes; header lines end in \r\n, NULL means none. */
typedef struct {
    char etag[ETAG_SIZE]; /* without quotes */
    char *headers;
    char *checksums;
} Traits;

void traits_clear(Traits *traits);
/* The real MD5 if the client said it or it costs little, else 32 unique hex digits and "-1". */
void etag_make(char *etag, const Blob *blob, const char *content_md5);

typedef struct Object {
    char *key;
    Blob *blob;
    Traits traits;
    time_t modified;
    uint64_t generation;
    int height;
    struct Object *next[];
} Object;

typedef struct Bucket {
    char *name;
    struct Bucket *next;
    Object *head;
    uint64_t count;
} Bucket;

Bucket *buckets(void);
Bucket *bucket_find(const char *name);
Bucket *bucket_create(const char *name);
void bucket_delete(Bucket *bucket);

Object *object_find(Bucket *bucket, const char *key);
Object *object_from(Bucket *bucket, const char *key); /* the first whose key is not less */
Object *object_put(Bucket *bucket, const char *key, Blob *blob, Traits traits); /* takes both */
bool object_delete(Bucket *bucket, const char *key);

/* One page of a listing: objects and, with a delimiter, the prefixes that stand for many. */
typedef struct {
    const char *prefix, *delimiter, *after;
    int limit;
} Query;

typedef struct {
    Object *object; /* NULL for a prefix */
    char *prefix;
} Entry;

typedef struct {
    Entry *entries;
    int count;
    char *next; /* what to pass as `after` for the next page; NULL at the end */
} Page;

Page page_list(Bucket *bucket, const Query *query);
void page_free(Page *page);

typedef struct {
    char *name;
    char etag[ETAG_SIZE];
    Blob *blob;
} Part;

typedef struct Upload {
    char id[33];
    Bucket *bucket;
    char *key;
    Traits traits;
    Part *parts;
    int count, room;
    time_t started;
    struct Upload *next;
} Upload;

Upload *uploads(void);
Upload *upload_create(Bucket *bucket, const char *key, Traits traits);
Upload *upload_find(const char *id);
Upload *upload_of(const Bucket *bucket, const char *key);
void upload_put(Upload *upload, const char *name, const char *etag, Blob *blob);
Part *upload_part(const Upload *upload, const char *name);
/* Makes one blob of the parts named, in that order, and forgets the upload; NULL if one is absent. */
Blob *upload_join(Upload *upload, char *const *names, int count);
void upload_delete(Upload *upload);

/* Hashes only those segments whose digest is not known yet, and combines them. */
uint32_t crc32c(Blob *blob);
void md5(const void *bytes, size_t size, uint8_t digest[16]);

#endif
