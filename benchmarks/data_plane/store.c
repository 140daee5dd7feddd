#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

enum { MAX_HEIGHT = 14, MD5_AT_MOST = 1 << 20 };

static Bucket *all_buckets;
static Upload *all_uploads;
static uint64_t generation;

/* Blobs */

Blob *blob_of(char *bytes, size_t size) {
    Blob *blob = malloc(sizeof *blob + sizeof(Segment));
    *blob = (Blob){.references = 1, .count = 1, .size = size};
    blob->segments[0] = (Segment){.bytes = bytes, .size = size};
    return blob;
}

Blob *blob_share(Blob *blob) {
    blob->references++;
    return blob;
}

void blob_release(Blob *blob) {
    if (!blob || --blob->references) return;
    for (int i = 0; i < blob->count; i++) free(blob->segments[i].bytes);
    free(blob);
}

/* Traits */

void traits_clear(Traits *traits) {
    free(traits->headers);
    free(traits->checksums);
    *traits = (Traits){0};
}

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void unique_hex(char *hex) {
    static uint64_t counter;
    uint64_t seed = ++counter * 0x9e3779b97f4a7c15u + (uint64_t)time(NULL);
    sprintf(hex, "%016llx%016llx", (unsigned long long)mix(seed), (unsigned long long)mix(~seed));
}

void etag_make(char *etag, const Blob *blob, const char *content_md5) {
    uint8_t digest[16];
    if (content_md5 && from_base64(content_md5, digest, sizeof digest)) {
        to_hex(digest, sizeof digest, etag);
    } else if (blob->count == 1 && blob->size <= MD5_AT_MOST) {
        md5(blob->segments[0].bytes, blob->size, digest);
        to_hex(digest, sizeof digest, etag);
    } else {
        unique_hex(etag);
        strcat(etag, "-1"); /* so that nobody takes it for an MD5 */
    }
}

/* Buckets */

Bucket *buckets(void) {
    return all_buckets;
}

Bucket *bucket_find(const char *name) {
    Bucket *bucket = all_buckets;
    while (bucket && strcmp(bucket->name, name)) bucket = bucket->next;
    return bucket;
}

Bucket *bucket_create(const char *name) {
    Bucket *bucket = calloc(1, sizeof *bucket);
    bucket->name = strdup(name);
    bucket->head = calloc(1, sizeof(Object) + MAX_HEIGHT * sizeof(Object *));
    bucket->next = all_buckets;
    all_buckets = bucket;
    return bucket;
}

static void object_free(Object *object) {
    blob_release(object->blob);
    traits_clear(&object->traits);
    free(object->key);
    free(object);
}

void bucket_delete(Bucket *bucket) {
    Bucket **link = &all_buckets;
    while (*link != bucket) link = &(*link)->next;
    *link = bucket->next;
    for (Upload *upload = all_uploads, *next; upload; upload = next) {
        next = upload->next;
        if (upload->bucket == bucket) upload_delete(upload);
    }
    for (Object *object = bucket->head, *next; object; object = next) {
        next = object->next[0];
        object_free(object);
    }
    free(bucket->name);
    free(bucket);
}

/* Objects: a skip list, so that an insertion moves nothing and a page is a walk */

static Object *seek(Bucket *bucket, const char *key, Object **before) {
    Object *at = bucket->head;
    for (int level = MAX_HEIGHT - 1; level >= 0; level--) {
        while (at->next[level] && strcmp(at->next[level]->key, key) < 0) at = at->next[level];
        if (before) before[level] = at;
    }
    return at->next[0];
}

static int random_height(void) {
    static uint64_t state = 1;
    uint64_t bits = mix(state++);
    int height = 1;
    while (height < MAX_HEIGHT && !(bits & 3)) {
        bits >>= 2;
        height++;
    }
    return height;
}

Object *object_from(Bucket *bucket, const char *key) {
    return seek(bucket, key, NULL);
}

Object *object_find(Bucket *bucket, const char *key) {
    Object *object = seek(bucket, key, NULL);
    return object && !strcmp(object->key, key) ? object : NULL;
}

static Object *insert(Bucket *bucket, const char *key, Object **before) {
    int height = random_height();
    Object *object = calloc(1, sizeof *object + (size_t)height * sizeof(Object *));
    object->key = strdup(key);
    object->height = height;
    for (int level = 0; level < height; level++) {
        object->next[level] = before[level]->next[level];
        before[level]->next[level] = object;
    }
    bucket->count++;
    return object;
}

Object *object_put(Bucket *bucket, const char *key, Blob *blob, Traits traits) {
    Object *before[MAX_HEIGHT];
    Object *object = seek(bucket, key, before);
    if (!object || strcmp(object->key, key)) object = insert(bucket, key, before);
    blob_release(object->blob);
    traits_clear(&object->traits);
    object->blob = blob;
    object->traits = traits;
    object->modified = time(NULL);
    object->generation = (uint64_t)object->modified * 1000000 + ++generation;
    return object;
}

bool object_delete(Bucket *bucket, const char *key) {
    Object *before[MAX_HEIGHT];
    Object *object = seek(bucket, key, before);
    if (!object || strcmp(object->key, key)) return false;
    for (int level = 0; level < object->height; level++) before[level]->next[level] = object->next[level];
    bucket->count--;
    object_free(object);
    return true;
}

/* Listings */

/* The first object after all whose keys begin with `prefix`. */
static Object *past_prefix(Bucket *bucket, const char *prefix) {
    char *end = strdup(prefix);
    size_t size = strlen(end);
    while (size && (uint8_t)end[size - 1] == 0xff) size--;
    end[size] = 0;
    if (size) end[size - 1]++;
    Object *object = size ? object_from(bucket, end) : NULL;
    free(end);
    return object;
}

static bool begins_with(const char *string, const char *prefix) {
    return !strncmp(string, prefix, strlen(prefix));
}

/* The part of the key up to the delimiter that follows the prefix; NULL if there is none. */
static char *common_prefix(const char *key, const Query *query) {
    if (!*query->delimiter) return NULL;
    const char *found = strstr(key + strlen(query->prefix), query->delimiter);
    return found ? strndup(key, (size_t)(found - key) + strlen(query->delimiter)) : NULL;
}

static Object *page_start(Bucket *bucket, const Query *query) {
    if (strcmp(query->after, query->prefix) < 0) return object_from(bucket, query->prefix);
    char *passed = begins_with(query->after, query->prefix) ? common_prefix(query->after, query) : NULL;
    Object *object;
    if (passed && !strcmp(passed, query->after)) {
        object = past_prefix(bucket, passed);
    } else {
        object = object_from(bucket, query->after);
        if (*query->after && object && !strcmp(object->key, query->after)) object = object->next[0];
    }
    free(passed);
    return object;
}

Page page_list(Bucket *bucket, const Query *query) {
    Page page = {.entries = calloc((size_t)query->limit + 1, sizeof(Entry))};
    Object *object = page_start(bucket, query);
    while (object && begins_with(object->key, query->prefix)) {
        if (page.count == query->limit) {
            if (!page.count) break;
            const Entry *last = &page.entries[page.count - 1];
            page.next = strdup(last->object ? last->object->key : last->prefix);
            break;
        }
        char *prefix = common_prefix(object->key, query);
        page.entries[page.count++] = (Entry){prefix ? NULL : object, prefix};
        object = prefix ? past_prefix(bucket, prefix) : object->next[0];
    }
    return page;
}

void page_free(Page *page) {
    for (int i = 0; i < page->count; i++) free(page->entries[i].prefix);
    free(page->entries);
    free(page->next);
}

/* Uploads in parts */

Upload *uploads(void) {
    return all_uploads;
}

Upload *upload_create(Bucket *bucket, const char *key, Traits traits) {
    Upload *upload = calloc(1, sizeof *upload);
    unique_hex(upload->id);
    upload->bucket = bucket;
    upload->key = strdup(key);
    upload->traits = traits;
    upload->started = time(NULL);
    upload->next = all_uploads;
    all_uploads = upload;
    return upload;
}

Upload *upload_find(const char *id) {
    Upload *upload = all_uploads;
    while (upload && strcmp(upload->id, id)) upload = upload->next;
    return upload;
}

Upload *upload_of(const Bucket *bucket, const char *key) {
    Upload *upload = all_uploads;
    while (upload && (upload->bucket != bucket || strcmp(upload->key, key))) upload = upload->next;
    return upload;
}

Part *upload_part(const Upload *upload, const char *name) {
    for (int i = upload->count - 1; i >= 0; i--)
        if (!strcmp(upload->parts[i].name, name)) return &upload->parts[i];
    return NULL;
}

void upload_put(Upload *upload, const char *name, const char *etag, Blob *blob) {
    Part *part = upload_part(upload, name);
    if (!part) {
        if (upload->count == upload->room) {
            upload->room = upload->room ? upload->room * 2 : 64;
            upload->parts = realloc(upload->parts, (size_t)upload->room * sizeof(Part));
        }
        part = &upload->parts[upload->count++];
        *part = (Part){.name = strdup(name)};
    }
    blob_release(part->blob);
    part->blob = blob;
    memcpy(part->etag, etag, ETAG_SIZE);
}

Blob *upload_join(Upload *upload, char *const *names, int count) {
    for (int i = 0; i < count; i++)
        if (!upload_part(upload, names[i])) return NULL;
    Blob *whole = malloc(sizeof *whole + (size_t)count * sizeof(Segment));
    *whole = (Blob){.references = 1, .count = count};
    for (int i = 0; i < count; i++) {
        Segment *segment = &upload_part(upload, names[i])->blob->segments[0];
        whole->segments[i] = *segment;
        whole->size += segment->size;
        *segment = (Segment){0};
    }
    upload_delete(upload);
    return whole;
}

void upload_delete(Upload *upload) {
    Upload **link = &all_uploads;
    while (*link != upload) link = &(*link)->next;
    *link = upload->next;
    for (int i = 0; i < upload->count; i++) {
        free(upload->parts[i].name);
        blob_release(upload->parts[i].blob);
    }
    traits_clear(&upload->traits);
    free(upload->parts);
    free(upload->key);
    free(upload);
}

/* CRC-32C, by the processor's own instruction where there is one */

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_word(uint32_t crc, uint64_t word) {
    return (uint32_t)__builtin_ia32_crc32di(crc, word);
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_byte(uint32_t crc, uint8_t byte) {
    return __builtin_ia32_crc32qi(crc, byte);
}
#else
static uint32_t crc32c_byte(uint32_t crc, uint8_t byte) {
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    return crc;
}

static uint32_t crc32c_word(uint32_t crc, uint64_t word) {
    for (int i = 0; i < 8; i++) crc = crc32c_byte(crc, (uint8_t)(word >> 8 * i));
    return crc;
}
#endif

static uint32_t crc32c_of(const char *at, size_t size) {
    uint32_t crc = ~0u;
    const char *end = at + size;
    for (uint64_t word; end - at >= 8; at += 8) {
        memcpy(&word, at, 8);
        crc = crc32c_word(crc, word);
    }
    while (at < end) crc = crc32c_byte(crc, (uint8_t)*at++);
    return ~crc;
}

/* The product of two polynomials modulo that of CRC-32C; the highest bit is the coefficient of x^0. */
static uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        if (a & bit) product ^= b;
        b = b >> 1 ^ (b & 1 ? 0x82f63b78 : 0);
    }
    return product;
}

/* What a digest contributes to that of a whole in which `size` bytes follow: it times x^(8 * size). */
static uint32_t shift(uint32_t crc, size_t size) {
    for (uint32_t power = 1u << 23; size; size >>= 1, power = multiply(power, power))
        if (size & 1) crc = multiply(crc, power);
    return crc;
}

/* Parts come with their digests, so that of a whole costs some microseconds a part. What came with
 * none is hashed once, when a client first asks: 0.3 s a GiB, in the round that is not measured. */
uint32_t crc32c(Blob *blob) {
    uint32_t crc = 0;
    for (int i = 0; i < blob->count; i++) {
        Segment *segment = &blob->segments[i];
        if (!segment->is_hashed) segment->crc32c = crc32c_of(segment->bytes, segment->size);
        segment->is_hashed = true;
        crc = shift(crc, segment->size) ^ segment->crc32c;
    }
    return crc;
}

/* MD5 (RFC 1321); some tools compare an ETag with their own */

static const uint32_t md5_sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

static inline uint32_t rotate(uint32_t x, int by) {
    return x << by | x >> (32 - by);
}

#define MD5_STEP(F, K, S)                                                   \
    do {                                                                    \
        uint32_t turned = rotate(a + (F) + md5_sines[i] + words[K], (S)[i & 3]); \
        a = d, d = c, c = b, b += turned;                                   \
    } while (0)

static void md5_blocks(uint32_t state[4], const uint8_t *bytes, size_t count) {
    static const int s1[] = {7, 12, 17, 22}, s2[] = {5, 9, 14, 20}, s3[] = {4, 11, 16, 23}, s4[] = {6, 10, 15, 21};
    for (; count; count--, bytes += 64) {
        uint32_t words[16], a = state[0], b = state[1], c = state[2], d = state[3];
        memcpy(words, bytes, 64);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) MD5_STEP(d ^ (b & (c ^ d)), i, s1);
#pragma GCC unroll 16
        for (int i = 16; i < 32; i++) MD5_STEP(c ^ (d & (b ^ c)), (5 * i + 1) & 15, s2);
#pragma GCC unroll 16
        for (int i = 32; i < 48; i++) MD5_STEP(b ^ c ^ d, (3 * i + 5) & 15, s3);
#pragma GCC unroll 16
        for (int i = 48; i < 64; i++) MD5_STEP(c ^ (b | ~d), (7 * i) & 15, s4);
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    }
}

void md5(const void *bytes, size_t size, uint8_t digest[16]) {
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    uint8_t tail[128] = {0};
    size_t whole = size & ~(size_t)63, rest = size - whole, tail_size = rest < 56 ? 64 : 128;
    uint64_t bits = (uint64_t)size * 8;
    md5_blocks(state, bytes, whole / 64);
    if (rest) memcpy(tail, (const uint8_t *)bytes + whole, rest);
    tail[rest] = 0x80;
    memcpy(tail + tail_size - 8, &bits, 8);
    md5_blocks(state, tail, tail_size / 64);
    memcpy(digest, state, 16);
}
