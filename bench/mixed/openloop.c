/*
 * openloop: sends requests at fixed times, whether or not the earlier ones have been answered.
 *
 * Usage: openloop PORT PATH CONNECTIONS DRAIN_SECONDS RATE:SECONDS...
 *
 * Each RATE:SECONDS is a stretch of the schedule with evenly spaced requests. All connections to
 * 127.0.0.1:PORT are made first; the schedule starts 100 ms after the last of them is established.
 * A request is sent at its time on the connection that has been free for longest. If none is free
 * it waits in the client, in order, and keeps its scheduled time: a latency counted from that time
 * holds the wait, so there is no coordinated omission. DRAIN_SECONDS after the schedule's end,
 * what is not answered is given up.
 *
 * Prints the schedule's start on CLOCK_MONOTONIC in microseconds as "# start N", then a line per
 * request: scheduled, sent and done in microseconds since the start, status, and 1 if it had to
 * wait for a free connection. Unsent and unanswered ones have -1, and those that failed have
 * status 0.
 *
 * A connection that the server closes is made again; if it was closed before the first byte of an
 * answer, the request is sent again, twice at most, and keeps its time.
 */
#define _GNU_SOURCE
#include <sys/timerfd.h>

#include "exchange.h"

enum {
    EVENTS_PER_WAIT = 64,
    MOST_CONNECTIONS = 10000,
    MOST_REQUESTS = 4000000,
    MOST_SECONDS = 600,
    MOST_ATTEMPTS = 3,
    MOST_CONNECT_FAILURES = 1000,
    CONNECT_SECONDS = 10,
    LEAD_NS = 100 * 1000 * 1000,
};

enum state { CONNECTING, IDLE, BUSY };

struct request {
    int64_t scheduled, sent, done; /* nanoseconds since the start; -1 for never */
    int status, attempts;
    bool waited;
};

struct connection {
    enum state state;
    int fd;
    size_t request;              /* which one it carries while it is BUSY */
    struct response response;
};

struct ring {
    size_t *items, size, first, count;
};

static struct connection *connections;
static size_t connection_count, established;
static struct request *requests;
static size_t request_count, finished;
static size_t next_due;                         /* requests before it have come due */
static struct ring waiting;                     /* requests that are due and not sent */
static struct ring idle;                        /* connections that are IDLE */
static uint16_t port;
static char request_text[REQUEST_BYTES];
static size_t request_size;
static int epoll_fd, timer_fd, connect_failures;
static int64_t start_ns;

static void push(struct ring *ring, size_t item)
{
    ring->items[(ring->first + ring->count++) % ring->size] = item;
}

static size_t pop(struct ring *ring)
{
    size_t item = ring->items[ring->first];
    ring->first = (ring->first + 1) % ring->size;
    ring->count--;
    return item;
}

static void finish(size_t number, int status)
{
    requests[number].status = status;
    requests[number].done = clock_ns() - start_ns;
    finished++;
}

static void connect_again(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->state = CONNECTING;
    connection->fd = start_connecting(port, epoll_fd, connection);
}

static void make_idle(struct connection *connection)
{
    connection->state = IDLE;
    push(&idle, (size_t)(connection - connections));
}

/* The connection is gone: its request is sent again if no byte of an answer came, or has failed. */
static void lost(struct connection *connection)
{
    if (connection->state == BUSY) {
        size_t number = connection->request;
        if (connection->response.head_size == 0 && requests[number].attempts < MOST_ATTEMPTS)
            push(&waiting, number);
        else
            finish(number, 0);
    } else if (connection->state == IDLE) {
        /* It leaves the ring of the idle ones wherever it is in there; this is rare. */
        for (size_t left = idle.count; left > 0; left--) {
            size_t number = pop(&idle);
            if (&connections[number] != connection)
                push(&idle, number);
        }
    } else if (++connect_failures > MOST_CONNECT_FAILURES) {
        errx(EXIT_FAILURE, "the server refuses connections");
    }
    connect_again(connection);
}

static void transmit(struct connection *connection, size_t number)
{
    connection->state = BUSY;
    connection->request = number;
    expect_response(&connection->response);
    requests[number].sent = clock_ns() - start_ns;
    requests[number].attempts++;
    if (!send_request(connection->fd, request_text, request_size))
        lost(connection);
}

/* Sends what has come due, as far as there are connections for it. */
static void send_due(void)
{
    int64_t now = clock_ns() - start_ns;
    for (; next_due < request_count && requests[next_due].scheduled <= now; next_due++) {
        push(&waiting, next_due);
        requests[next_due].waited = waiting.count > idle.count;
    }
    while (waiting.count > 0 && idle.count > 0) {
        size_t number = pop(&waiting);
        transmit(&connections[pop(&idle)], number);
    }
}

/* Reads what has arrived on one connection until there is no more. */
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
        if (size == 0 && connection->state == BUSY && ends_when_closed(response)) {
            finish(connection->request, status_of(response));
            connect_again(connection);
            return;
        }
        if (size <= 0 || connection->state != BUSY || !take(response, buffer, (size_t)size)) {
            lost(connection);
            return;
        }
        if (is_complete(response)) {
            finish(connection->request, status_of(response));
            if (response->closes) {
                connect_again(connection);
                return;
            }
            make_idle(connection);
        }
    }
}

static void handle(struct connection *connection, uint32_t events)
{
    if (connection->state == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            lost(connection);
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        established++;
        make_idle(connection);
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        receive(connection);
}

/* Waits for events until `when_ns` at the latest, and handles some of them. */
static void turn(int64_t when_ns)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    struct itimerspec timer = {
        .it_value = {.tv_sec = when_ns / NS_PER_SECOND, .tv_nsec = when_ns % NS_PER_SECOND},
    };
    if (timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &timer, NULL) < 0)
        err(EXIT_FAILURE, "timerfd_settime");
    int count = epoll_wait(epoll_fd, events, EVENTS_PER_WAIT, -1);
    if (count < 0 && errno != EINTR)
        err(EXIT_FAILURE, "epoll_wait");
    for (int i = 0; i < count; i++)
        if (events[i].data.ptr != NULL) /* the timer has done its work by ending the wait */
            handle(events[i].data.ptr, events[i].events);
}

/* Reads the stretches of the schedule and returns the length of all of them in nanoseconds. */
static int64_t read_schedule(char **stretches, int count)
{
    double from = 0;
    requests = calloc(MOST_REQUESTS, sizeof *requests);
    if (requests == NULL)
        err(EXIT_FAILURE, "calloc");
    for (int i = 0; i < count; i++) {
        char *end;
        double rate = number(stretches[i], MOST_REQUESTS, &end);
        if (*end != ':')
            errx(EXIT_FAILURE, "a stretch is not RATE:SECONDS");
        double seconds = number(end + 1, MOST_SECONDS, &end);
        for (double k = 0; k < rate * seconds; k++) {
            if (request_count == MOST_REQUESTS)
                errx(EXIT_FAILURE, "too many requests");
            requests[request_count++] = (struct request){
                .scheduled = (int64_t)((from + k / rate) * 1e9), .sent = -1, .done = -1};
        }
        from += seconds;
    }
    return (int64_t)(from * 1e9);
}

static void prepare(const char *port_text, const char *path, const char *wanted)
{
    char *end;
    port = (uint16_t)number(port_text, UINT16_MAX, &end);
    request_size = write_request(request_text, path);
    connection_count = (size_t)number(wanted, MOST_CONNECTIONS, &end);
    connections = calloc(connection_count, sizeof *connections);
    idle.size = connection_count;
    idle.items = calloc(idle.size, sizeof *idle.items);
    waiting.size = request_count;
    waiting.items = calloc(waiting.size, sizeof *waiting.items);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (connections == NULL || idle.items == NULL || waiting.items == NULL || epoll_fd < 0
        || timer_fd < 0)
        err(EXIT_FAILURE, "preparing");
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event) < 0)
        err(EXIT_FAILURE, "epoll_ctl");
}

int main(int argc, char **argv)
{
    if (argc < 6)
        errx(EXIT_FAILURE, "usage: openloop PORT PATH CONNECTIONS DRAIN_SECONDS RATE:SECONDS...");
    char *end;
    int64_t length = read_schedule(argv + 5, argc - 5);
    int64_t drain = (int64_t)(number(argv[4], MOST_SECONDS, &end) * 1e9);
    prepare(argv[1], argv[2], argv[3]);

    for (size_t i = 0; i < connection_count; i++) {
        connections[i].fd = -1;
        connect_again(&connections[i]);
    }
    int64_t deadline = clock_ns() + CONNECT_SECONDS * NS_PER_SECOND;
    while (established < connection_count && clock_ns() < deadline)
        turn(deadline);
    if (established < connection_count)
        errx(EXIT_FAILURE, "not all connections were established");

    start_ns = clock_ns() + LEAD_NS;
    deadline = start_ns + length + drain;
    while (finished < request_count && clock_ns() < deadline) {
        send_due();
        bool more = next_due < request_count;
        turn(more ? start_ns + requests[next_due].scheduled : deadline);
    }

    printf("# start %lld\n", (long long)(start_ns / 1000));
    for (size_t i = 0; i < request_count; i++) {
        const struct request *one = &requests[i];
        printf("%lld,%lld,%lld,%d,%d\n", (long long)(one->scheduled / 1000),
               (long long)(one->sent < 0 ? -1 : one->sent / 1000),
               (long long)(one->done < 0 ? -1 : one->done / 1000), one->status, one->waited);
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
