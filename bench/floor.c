/*
 * floor: the least a server on this kernel can spend on a request.
 *
 * An edge-triggered epoll loop that answers every request with the same bytes. It finds the blank
 * line that ends a request, looks for "Connection: close" in front of it, and does nothing else: no
 * parsing, no routing, no clock. What it costs is the kernel's share, so the distance between it and
 * a server is what that server's own work costs.
 *
 * Usage: floor PORT [--defer-accept]
 *
 * Listens on 127.0.0.1:PORT until killed. --defer-accept sets TCP_DEFER_ACCEPT on the listener: the
 * kernel then hands a connection over when its first bytes are there, not when it is established.
 *
 * It is made for a benchmark client and leaves out what such a client does not do: a request has no
 * body and is not pipelined behind another one, and a "Connection: close" header is not split over
 * two reads. A client that does not read its responses is disconnected.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_PER_WAIT = 256,
    BACKLOG = 1024,
    READ_BUFFER_BYTES = 64 * 1024,
    DEFER_ACCEPT_SECONDS = 1,
    MOST_CONNECTIONS = 1 << 20, /* where the system's own limit on descriptors is higher or none */
};

#define COMMON_HEAD                            \
    "HTTP/1.1 200 OK\r\n"                      \
    "Server: floor\r\n"                        \
    "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"  \
    "Content-Type: text/plain\r\n"             \
    "Content-Length: 13\r\n"
#define BODY "Hello, World!"

static const char KEEP_ALIVE_RESPONSE[] = COMMON_HEAD "\r\n" BODY;
static const char CLOSING_RESPONSE[] = COMMON_HEAD "Connection: close\r\n\r\n" BODY;
static const char CLOSE_HEADER[] = "\r\nConnection: close\r\n";

/* The bytes of "\r\n\r\n" as the tail of a request leaves them in a shift register. */
static const uint32_t BLANK_LINE = 0x0d0a0d0a;

/* The last four bytes received on each connection since its last response, indexed by fd. */
static uint32_t *tails;
static size_t fd_limit;

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static int listen_on(uint16_t port, bool defer_accept)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");

    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        die("SO_REUSEADDR");
    /* Accepted sockets inherit it, so it is set once here. */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        die("TCP_NODELAY");
    int seconds = DEFER_ACCEPT_SECONDS;
    if (defer_accept
        && setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) < 0)
        die("TCP_DEFER_ACCEPT");

    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind");
    if (listen(fd, BACKLOG) < 0)
        die("listen");
    return fd;
}

static void watch(int epoll, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN)
                return;
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            die("accept4");
        }
        if ((size_t)fd >= fd_limit) {
            close(fd);
            continue;
        }
        tails[fd] = 0;
        watch(epoll, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
    }
}

/* Takes in the last bytes of a read and says whether they end a request. */
static bool ends_request(int fd, const char *data, size_t size)
{
    size_t from = size > sizeof tails[fd] ? size - sizeof tails[fd] : 0;
    for (size_t i = from; i < size; i++)
        tails[fd] = tails[fd] << 8 | (uint8_t)data[i];
    return tails[fd] == BLANK_LINE;
}

/* Answers the request that `data` ends. Returns false when the connection is to be closed. */
static bool answer(int fd, const char *data, size_t size)
{
    bool closing = memmem(data, size, CLOSE_HEADER, sizeof CLOSE_HEADER - 1) != NULL;
    const char *response = closing ? CLOSING_RESPONSE : KEEP_ALIVE_RESPONSE;
    size_t length = (closing ? sizeof CLOSING_RESPONSE : sizeof KEEP_ALIVE_RESPONSE) - 1;

    tails[fd] = 0;
    return send(fd, response, length, MSG_NOSIGNAL) == (ssize_t)length && !closing;
}

/*
 * Serves what has arrived on one connection. A short read empties the socket, so it needs no second
 * recv to see EAGAIN, unless the peer has closed its side: a FIN behind the data gives no new edge.
 */
static void serve(int fd, bool peer_closed)
{
    static char buffer[READ_BUFFER_BYTES];

    for (;;) {
        ssize_t received = recv(fd, buffer, sizeof buffer, 0);
        if (received < 0 && errno == EAGAIN)
            return;
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0)
            break;
        size_t size = (size_t)received;
        if (ends_request(fd, buffer, size) && !answer(fd, buffer, size))
            break;
        if (size < sizeof buffer && !peer_closed)
            return;
    }
    close(fd);
}

int main(int argc, char **argv)
{
    bool defer_accept = argc == 3 && strcmp(argv[2], "--defer-accept") == 0;
    char *end = NULL;
    long port = argc > 1 ? strtol(argv[1], &end, 10) : 0;
    if (argc < 2 || argc > 3 || (argc == 3 && !defer_accept) || *end != '\0' || port < 1
        || port > UINT16_MAX) {
        fprintf(stderr, "usage: %s PORT [--defer-accept]\n", argv[0]);
        return 2;
    }

    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        die("getrlimit");
    fd_limit = files.rlim_cur < MOST_CONNECTIONS ? files.rlim_cur : MOST_CONNECTIONS;
    tails = calloc(fd_limit, sizeof *tails);
    if (tails == NULL)
        die("calloc");

    int listener = listen_on((uint16_t)port, defer_accept);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    watch(epoll, listener, EPOLLIN);

    for (;;) {
        struct epoll_event events[EVENTS_PER_WAIT];
        int count = epoll_wait(epoll, events, EVENTS_PER_WAIT, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                serve(events[i].data.fd, (events[i].events & (EPOLLRDHUP | EPOLLHUP)) != 0);
        }
    }
}
