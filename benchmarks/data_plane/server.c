/* An object store in memory that answers as S3, Azure Blob and GCS do, fast enough not to be what a
 * benchmark of clients measures: one thread, epoll, bytes received where they stay and sent from there.
 * It checks no signature and no digest. It listens on 127.0.0.1 only and dies with its parent. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "http.h"

enum {
    BUFFER_SIZE = 64 << 10,
    RECEIVE_AT_MOST = 1 << 20, /* so that one fast sender does not starve the others */
    SEGMENTS_AT_ONCE = 64,
    EVENTS_AT_ONCE = 128,
};

typedef enum { HEAD, DATA, CHUNK_SIZE, CHUNK_END, TRAILER, COMPLETE } Stage;

typedef struct {
    int fd;
    Stage stage;
    bool chunked, last; /* last: close after the reply */
    bool writing;
    size_t left;        /* of the body, or of its present chunk */
    size_t body_room;
    size_t head_size;   /* the buffer holds the head while its request lives, */
    size_t at, end;     /* and behind it what is not yet consumed */
    size_t sent;
    Request request;
    Reply reply;
    Text head;
    char buffer[BUFFER_SIZE + 1];
} Connection;

static int poller;

/* Receiving */

static size_t buffered(const Connection *connection) {
    return connection->end - connection->at;
}

static bool body_reserve(Connection *connection, size_t more) {
    Request *request = &connection->request;
    if (request->body_size + more <= connection->body_room) return true;
    connection->body_room = (request->body_size + more) * 2;
    char *grown = realloc(request->body, connection->body_room + 1);
    if (grown) request->body = grown;
    return grown;
}

static bool is_chunked(const Request *request) {
    const char *transfer = request_header(request, "Transfer-Encoding");
    const char *digest = request_header(request, "x-amz-content-sha256");
    const char *coding = request_header(request, "Content-Encoding");
    return (transfer && strcasestr(transfer, "chunked")) || (digest && !strncmp(digest, "STREAMING-", 10)) ||
           (coding && strstr(coding, "aws-chunked"));
}

static bool begin_body(Connection *connection) {
    Request *request = &connection->request;
    const char *size = request_header(request, "x-amz-decoded-content-length");
    const char *expect = request_header(request, "Expect");
    const char *keep = request_header(request, "Connection");
    connection->chunked = is_chunked(request);
    if (!size || !connection->chunked) size = request_header(request, "Content-Length");
    connection->left = size ? strtoull(size, NULL, 10) : 0;
    connection->body_room = connection->left;
    connection->last = keep && !strcasecmp(keep, "close");
    request->body = malloc(connection->body_room + 1);
    if (!request->body) return false;
    connection->stage = connection->chunked ? CHUNK_SIZE : DATA;
    if (expect && !buffered(connection)) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        return send(connection->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL) == sizeof go_on - 1;
    }
    return true;
}

/* Each take_… consumes what is buffered; false means that more is needed, or that the stage is wrong. */
static bool take_head(Connection *connection) {
    char *end = memmem(connection->buffer, connection->end, "\r\n\r\n", 4);
    if (!end) return false;
    *end = 0;
    connection->at = connection->head_size = (size_t)(end + 4 - connection->buffer);
    return true;
}

static void take_data(Connection *connection) {
    Request *request = &connection->request;
    size_t size = buffered(connection) < connection->left ? buffered(connection) : connection->left;
    memcpy(request->body + request->body_size, connection->buffer + connection->at, size);
    connection->at += size;
    request->body_size += size;
    connection->left -= size;
    if (!connection->left) connection->stage = connection->chunked ? CHUNK_END : COMPLETE;
}

static bool take_chunk_size(Connection *connection) {
    char *line = connection->buffer + connection->at;
    char *end = memmem(line, buffered(connection), "\r\n", 2);
    if (!end) return false;
    connection->left = strtoull(line, NULL, 16);
    connection->at += (size_t)(end + 2 - line);
    connection->stage = connection->left ? DATA : TRAILER;
    return true;
}

static bool take_chunk_end(Connection *connection) {
    if (buffered(connection) < 2) return false;
    connection->at += 2;
    connection->stage = CHUNK_SIZE;
    return true;
}

static bool take_trailer(Connection *connection) {
    char *lines = connection->buffer + connection->at;
    if (buffered(connection) >= 2 && !memcmp(lines, "\r\n", 2)) {
        connection->at += 2;
    } else {
        char *end = memmem(lines, buffered(connection), "\r\n\r\n", 4);
        if (!end) return false;
        *end = 0;
        connection->at += (size_t)(end + 4 - lines);
        request_parse_headers(&connection->request, lines);
    }
    connection->stage = COMPLETE;
    return true;
}

/* Consumes what was received until the request is complete; false: this connection is of no more use. */
static bool take(Connection *connection) {
    for (;;) {
        switch (connection->stage) {
            case HEAD:
                if (!take_head(connection)) return connection->end < BUFFER_SIZE;
                if (!request_parse(&connection->request, connection->buffer)) return false;
                if (!begin_body(connection)) return false;
                break;
            case DATA:
                if (!body_reserve(connection, connection->left)) return false;
                take_data(connection);
                if (connection->stage == DATA) return true;
                break;
            case CHUNK_SIZE:
                if (!take_chunk_size(connection)) return true;
                break;
            case CHUNK_END:
                if (!take_chunk_end(connection)) return true;
                break;
            case TRAILER:
                if (!take_trailer(connection)) return true;
                break;
            case COMPLETE:
                return true;
        }
    }
}

static void compact(Connection *connection, size_t to) {
    size_t size = buffered(connection);
    if (size) memmove(connection->buffer + to, connection->buffer + connection->at, size);
    connection->at = to;
    connection->end = to + size;
}

/* Body bytes go straight to where they stay; what may be more than that, into the buffer. */
static bool receive(Connection *connection) {
    struct iovec targets[2];
    size_t direct = 0;
    int count = 0;
    if (connection->stage != HEAD) compact(connection, connection->head_size);
    if (connection->stage == DATA) {
        direct = connection->left < RECEIVE_AT_MOST ? connection->left : RECEIVE_AT_MOST;
        targets[count++] = (struct iovec){connection->request.body + connection->request.body_size, direct};
    }
    bool to_buffer = !direct || (connection->chunked && direct == connection->left);
    if (to_buffer) {
        if (connection->end == BUFFER_SIZE) return false;
        targets[count++] = (struct iovec){connection->buffer + connection->end, BUFFER_SIZE - connection->end};
    }
    ssize_t got = readv(connection->fd, targets, count);
    if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
    size_t placed = (size_t)got < direct ? (size_t)got : direct;
    connection->request.body_size += placed;
    connection->left -= placed;
    connection->end += (size_t)got - placed;
    return true;
}

/* Sending */

static size_t iovecs_of(const Reply *reply, size_t skip, size_t length, struct iovec *pieces, int most) {
    int count = 0;
    for (int i = 0; i < reply->blob->count && length && count < most; i++) {
        Segment segment = reply->blob->segments[i];
        if (skip >= segment.size) {
            skip -= segment.size;
            continue;
        }
        size_t size = segment.size - skip < length ? segment.size - skip : length;
        pieces[count++] = (struct iovec){segment.bytes + skip, size};
        length -= size;
        skip = 0;
    }
    return (size_t)count;
}

static size_t pending(const Connection *connection, struct iovec *pieces) {
    const Reply *reply = &connection->reply;
    size_t count = 0, skip = connection->sent, head = connection->head.size;
    if (skip < head) {
        pieces[count++] = (struct iovec){connection->head.data + skip, head - skip};
        skip = head;
    }
    skip -= head;
    if (reply->body_left_out) return count;
    if (!reply->blob) {
        if (skip < reply->body.size)
            pieces[count++] = (struct iovec){reply->body.data + skip, reply->body.size - skip};
        return count;
    }
    return count + iovecs_of(reply, reply->offset + skip, reply->length - skip, pieces + count, SEGMENTS_AT_ONCE);
}

static void watch(Connection *connection, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event);
}

static void end_reply(Connection *connection) {
    reply_clear(&connection->reply);
    free(connection->request.body);
    connection->request.body = NULL;
    connection->head.size = connection->sent = 0;
    connection->stage = HEAD;
    compact(connection, 0);
}

/* Sends what the socket takes; false: close. */
static bool flush(Connection *connection) {
    for (;;) {
        struct iovec pieces[SEGMENTS_AT_ONCE + 1];
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = pending(connection, pieces)};
        if (!message.msg_iovlen) break;
        ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) {
            if (!connection->writing) watch(connection, EPOLLOUT);
            return connection->writing = true;
        }
        if (sent < 0) return false;
        connection->sent += (size_t)sent;
    }
    if (connection->writing) watch(connection, EPOLLIN);
    connection->writing = false;
    end_reply(connection);
    return !connection->last;
}

/* Connections */

static void answer(Connection *connection) {
    Request *request = &connection->request;
    request->body[request->body_size] = 0;
    const char *path = request->path;
    bool json = !strncmp(path, "/storage/v1/b", 13) || !strncmp(path, "/upload/storage/v1/b", 20) ||
                !strncmp(path, "/download/storage/v1/b", 22);
    if (request_header(request, "x-ms-version")) azure_answer(request, &connection->reply);
    else if (json) gcs_answer(request, &connection->reply);
    else s3_answer(request, &connection->reply);
    if (request_is(request, "HEAD")) connection->reply.body_left_out = true;
    reply_head(&connection->reply, &connection->head);
}

static bool progress(Connection *connection) {
    if (connection->writing) {
        if (!flush(connection)) return false;
    } else if (!receive(connection)) {
        return false;
    }
    while (!connection->writing && (connection->stage != HEAD || connection->end)) {
        if (!take(connection)) return false;
        if (connection->stage != COMPLETE) return true;
        answer(connection);
        if (!flush(connection)) return false;
    }
    return true;
}

static void close_connection(Connection *connection) {
    close(connection->fd);
    reply_clear(&connection->reply);
    free(connection->reply.headers.data);
    free(connection->reply.body.data);
    free(connection->head.data);
    free(connection->request.body);
    free(connection);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        Connection *connection = malloc(sizeof *connection);
        memset(connection, 0, offsetof(Connection, buffer));
        connection->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on_loopback(uint16_t port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) return -1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void serve(int listener) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS_AT_ONCE];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS_AT_ONCE, -1);
        for (int i = 0; i < count; i++) {
            Connection *connection = events[i].data.ptr;
            if (!connection) accept_all(listener);
            else if (!progress(connection)) close_connection(connection);
        }
    }
}

/* The first touch of a page costs more than receiving into it: touch them before anyone measures, and
 * let the memory of deleted objects serve the next ones. */
static void reserve_memory(size_t size) {
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, -1);
    volatile char *pages = malloc(size);
    for (size_t at = 0; pages && at < size; at += 4096) pages[at] = 0;
    free((void *)pages);
}

/* server [PORT [RESERVED_MIB]]: prints the port it listens on; 0, the default, lets the kernel choose. */
int main(int count, char **arguments) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    reserve_memory(count > 2 ? strtoull(arguments[2], NULL, 10) << 20 : 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on_loopback(count > 1 ? (uint16_t)atoi(arguments[1]) : 0);
    if (listener < 0) {
        perror("server: cannot listen");
        return 1;
    }
    serve(listener);
}
