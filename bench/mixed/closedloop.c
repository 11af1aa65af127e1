/*
 * closedloop: groups of clients that each send their next request when they have the last response.
 *
 * Usage: closedloop PORT WARMUP_SECONDS SECONDS PATH:CONNECTIONS...
 *
 * All connections to 127.0.0.1:PORT are made before the first request is sent, and 200 ms are left
 * to the server to accept them: a server that is kept busy by some clients would otherwise be
 * measured by how it accepts. All groups then begin at once. Responses count when they are complete
 * after WARMUP_SECONDS and within the SECONDS behind it.
 *
 * Prints a line per group: responses with status 200, the 50th and the 99th percentile of their
 * latency in microseconds (-1 without a response), and errors: other statuses and lost connections.
 * A lost connection is made again.
 */
#define _GNU_SOURCE
#include "exchange.h"

enum {
    EVENTS_PER_WAIT = 64,
    MOST_GROUPS = 8,
    MOST_CONNECTIONS = 1000,
    MOST_SECONDS = 600,
    MOST_LOST = 100000,
    MOST_RESPONSES = 1 << 27,
    FIRST_ROOM = 1 << 16,
    CONNECT_SECONDS = 10,
    LEAD_NS = 200 * 1000 * 1000,
    STATUS_OK = 200,
};

struct group {
    char text[REQUEST_BYTES];
    size_t size;
    uint32_t *latencies_us;
    size_t count, room, errors;
};

struct connection {
    int fd;
    bool connected;
    int64_t sent_ns;
    struct group *group;
    struct response response;
};

static struct group groups[MOST_GROUPS];
static struct connection *connections;
static size_t connection_count, group_count, established, lost_count;
static uint16_t port;
static int epoll_fd;
static bool begun;
static int64_t counts_from, counts_until;

static void connect_again(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->connected = false;
    connection->fd = start_connecting(port, epoll_fd, connection);
}

static void lost(struct connection *connection)
{
    if (++lost_count > MOST_LOST)
        errx(EXIT_FAILURE, "too many connections were lost");
    int64_t now = clock_ns();
    if (begun && counts_from <= now && now < counts_until)
        connection->group->errors++;
    connect_again(connection);
}

static void transmit(struct connection *connection)
{
    expect_response(&connection->response);
    connection->sent_ns = clock_ns();
    if (!send_request(connection->fd, connection->group->text, connection->group->size))
        lost(connection);
}

static void count(struct connection *connection)
{
    int64_t now = clock_ns();
    struct group *group = connection->group;
    if (now < counts_from || now >= counts_until)
        return;
    if (status_of(&connection->response) != STATUS_OK) {
        group->errors++;
        return;
    }
    if (group->count == group->room) {
        group->room = group->room ? 2 * group->room : FIRST_ROOM;
        if (group->room > MOST_RESPONSES)
            errx(EXIT_FAILURE, "too many responses");
        group->latencies_us = realloc(group->latencies_us, group->room * sizeof(uint32_t));
        if (group->latencies_us == NULL)
            err(EXIT_FAILURE, "realloc");
    }
    group->latencies_us[group->count++] = (uint32_t)((now - connection->sent_ns) / 1000);
}

/*
 * Reads what has arrived. As one request is under way at a time, a complete response leaves nothing
 * to be read but the end of the connection, which is an event of its own.
 */
static void receive(struct connection *connection)
{
    static char buffer[READ_BYTES];
    struct response *response = &connection->response;
    for (;;) {
        ssize_t size = recv(connection->fd, buffer, sizeof buffer, 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN)
            return;
        bool closed_to_end = size == 0 && ends_when_closed(response);
        if (!closed_to_end && (size <= 0 || !take(response, buffer, (size_t)size))) {
            lost(connection);
            return;
        }
        if (!closed_to_end && !is_complete(response))
            continue;
        count(connection);
        if (closed_to_end || response->closes)
            connect_again(connection);
        else
            transmit(connection);
        return;
    }
}

static void handle(struct connection *connection, uint32_t events)
{
    if (!connection->connected) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            lost(connection);
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        connection->connected = true;
        established++;
        if (begun)
            transmit(connection);
        return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        receive(connection);
}

/* Handles events until `when_ns`, or until `wanted` connections are established. */
static void run_until(int64_t when_ns, size_t wanted)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int64_t left;
    while (established < wanted && (left = when_ns - clock_ns()) > 0) {
        int milliseconds = (int)(left / 1000000) + 1;
        int ready = epoll_wait(epoll_fd, events, EVENTS_PER_WAIT, milliseconds);
        if (ready < 0 && errno != EINTR)
            err(EXIT_FAILURE, "epoll_wait");
        for (int i = 0; i < ready; i++)
            handle(events[i].data.ptr, events[i].events);
    }
}

static void add_group(char *text)
{
    char *end, *colon = strrchr(text, ':');
    if (colon == NULL || group_count == MOST_GROUPS)
        errx(EXIT_FAILURE, "a group is not PATH:CONNECTIONS, or there are too many");
    *colon = '\0';
    struct group *group = &groups[group_count++];
    group->size = write_request(group->text, text);
    for (int left = (int)number(colon + 1, MOST_CONNECTIONS, &end); left > 0; left--) {
        if (connection_count == MOST_CONNECTIONS)
            errx(EXIT_FAILURE, "too many connections");
        struct connection *connection = &connections[connection_count++];
        connection->group = group;
        connection->fd = -1;
        connect_again(connection);
    }
}

static int ascending(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

/* The least latency that at least `percent` of all do not exceed. */
static long long percentile(const struct group *group, size_t percent)
{
    if (group->count == 0)
        return -1;
    return group->latencies_us[(group->count * percent + 99) / 100 - 1];
}

int main(int argc, char **argv)
{
    char *end;
    if (argc < 5)
        errx(EXIT_FAILURE, "usage: closedloop PORT WARMUP_SECONDS SECONDS PATH:CONNECTIONS...");
    port = (uint16_t)number(argv[1], UINT16_MAX, &end);
    int64_t warmup = (int64_t)(number(argv[2], MOST_SECONDS, &end) * 1e9);
    int64_t length = (int64_t)(number(argv[3], MOST_SECONDS, &end) * 1e9);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(MOST_CONNECTIONS, sizeof *connections);
    if (epoll_fd < 0 || connections == NULL)
        err(EXIT_FAILURE, "preparing");

    for (int i = 4; i < argc; i++)
        add_group(argv[i]);
    run_until(clock_ns() + CONNECT_SECONDS * NS_PER_SECOND, connection_count);
    if (established < connection_count)
        errx(EXIT_FAILURE, "not all connections were established");
    run_until(clock_ns() + LEAD_NS, SIZE_MAX);

    begun = true;
    counts_from = clock_ns() + warmup;
    counts_until = counts_from + length;
    for (size_t i = 0; i < connection_count; i++)
        if (connections[i].connected)
            transmit(&connections[i]);
    run_until(counts_until, SIZE_MAX);

    for (size_t i = 0; i < group_count; i++) {
        struct group *group = &groups[i];
        if (group->count > 0)
            qsort(group->latencies_us, group->count, sizeof(uint32_t), ascending);
        printf("%zu %lld %lld %zu\n", group->count, percentile(group, 50), percentile(group, 99),
               group->errors);
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
