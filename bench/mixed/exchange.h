/*
 * exchange.h: what the two clients share: the clock, a connection to the loopback address, the text
 * of a request, and the reading of a response. Must not hold: when requests are sent.
 *
 * Responses have a Content-Length or end with the connection; chunked ones are not understood.
 */
#ifndef BENCH_MIXED_EXCHANGE_H
#define BENCH_MIXED_EXCHANGE_H

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 8192, REQUEST_BYTES = 1024, READ_BYTES = 64 * 1024 };

static const int64_t NS_PER_SECOND = 1000 * 1000 * 1000;

struct response {
    size_t head_size;      /* bytes in `head` */
    int64_t body_left;     /* -1 while the head is incomplete, or for "until it is closed" */
    bool head_done, closes;
    char head[HEAD_BYTES + 1];
};

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* Reads a number above 0 from the command line; `end` is set behind it. */
static double number(const char *text, double most, char **end)
{
    double value = strtod(text, end);
    if (*end == text || !(value > 0) || value > most)
        errx(EXIT_FAILURE, "an argument is not a number in its range: %s", text);
    return value;
}

static size_t write_request(char text[REQUEST_BYTES], const char *path)
{
    int size = snprintf(text, REQUEST_BYTES, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path);
    if (size >= REQUEST_BYTES)
        errx(EXIT_FAILURE, "the path is too long");
    return (size_t)size;
}

/* Starts to connect; epoll tells how it went, as an event of `data`. Returns the descriptor. */
static int start_connecting(uint16_t port, int epoll, void *data)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        err(EXIT_FAILURE, "socket");
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        err(EXIT_FAILURE, "TCP_NODELAY");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        err(EXIT_FAILURE, "connect");
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.ptr = data,
    };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        err(EXIT_FAILURE, "epoll_ctl");
    return fd;
}

/* Sends a request on a connection that has nothing else to send. Returns false if it is lost. */
static bool send_request(int fd, const char *text, size_t size)
{
    ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
    if (sent >= 0 && (size_t)sent != size)
        errx(EXIT_FAILURE, "a request did not fit into an empty socket buffer");
    return sent >= 0;
}

static void expect_response(struct response *response)
{
    response->head_size = 0;
    response->body_left = -1;
    response->head_done = response->closes = false;
}

static void read_head(struct response *response)
{
    const char *length = strcasestr(response->head, "\r\nContent-Length:");
    response->head_done = true;
    response->closes = strcasestr(response->head, "\r\nConnection: close\r\n") != NULL;
    if (strcasestr(response->head, "\r\nTransfer-Encoding:") != NULL)
        errx(EXIT_FAILURE, "the response is chunked, which this program does not read");
    if (length != NULL)
        response->body_left = strtoll(length + strlen("\r\nContent-Length:"), NULL, 10);
    else
        response->closes = true;
}

/* Takes in bytes of a response. Returns false when they make no sense. */
static bool take(struct response *response, const char *data, size_t size)
{
    if (!response->head_done) {
        size_t room = HEAD_BYTES - response->head_size;
        size_t part = size < room ? size : room;
        size_t before = response->head_size;
        memcpy(response->head + before, data, part);
        response->head_size += part;
        response->head[response->head_size] = '\0';
        char *end = strstr(response->head, "\r\n\r\n");
        if (end == NULL)
            return part == size;
        end[2] = '\0'; /* what follows is the body, in which nothing is to be looked for */
        read_head(response);
        size_t used = (size_t)(end + 4 - response->head) - before;
        size -= used;
    }
    if (response->body_left >= 0)
        response->body_left -= (int64_t)size;
    return response->body_left >= -1;
}

static bool is_complete(const struct response *response)
{
    return response->head_done && response->body_left == 0;
}

/* Whether the connection's end is the response's regular end. */
static bool ends_when_closed(const struct response *response)
{
    return response->head_done && response->body_left < 0;
}

static int status_of(const struct response *response)
{
    int status = 0;
    return sscanf(response->head, "HTTP/1.%*1d %3d", &status) == 1 ? status : 0;
}

#endif
