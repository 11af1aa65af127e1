/* Drives each function of _native.c over real sockets, so that it can be run
 * under sanitizers, without Python. A failed check says where and ends it. */
#include "../../poolhttp/_native.c"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/un.h>

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s: %s (errno %d)\n", __FILE__, __LINE__,   \
                    __func__, #condition, errno);                               \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

enum { MAX_EVENTS = 16, SLOT = 64, TABLE = 512, CLIENT = EPOLLIN | EPOLLOUT | EPOLLRDHUP };

/* All memory has exactly the promised size, so that a sanitizer sees each step too far. */
static ph_loop *new_loop(void) {
    ph_loop *loop = calloc(1, sizeof *loop);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->max_events = MAX_EVENTS;
    loop->slot_size = SLOT;
    loop->table_size = TABLE;
    loop->read_slab = malloc(MAX_EVENTS * SLOT);
    loop->events = malloc(MAX_EVENTS * 3 * sizeof(int32_t));
    loop->out = malloc(8 * 3 * sizeof(int32_t));
    loop->deferred = malloc(MAX_EVENTS * sizeof(int32_t));
    loop->peers = malloc(MAX_EVENTS * sizeof(ph_peer));
    loop->generation = calloc(TABLE, sizeof(uint32_t));
    loop->interest = calloc(TABLE, 1);
    CHECK(loop->epoll_fd >= 0);
    return loop;
}

static void free_loop(ph_loop *loop) {
    close(loop->epoll_fd);
    free(loop->read_slab);
    free(loop->events);
    free(loop->out);
    free(loop->deferred);
    free(loop->peers);
    free(loop->generation);
    free(loop->interest);
    free(loop);
}

static void make_pair(int pair[2]) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
}

/* A pair whose first end the loop knows, as an accepted connection. */
static void make_client(ph_loop *loop, int pair[2]) {
    make_pair(pair);
    CHECK(ph_watch(loop, pair[0], PH_READ, CLIENT | EPOLLET) == 0);
}

static void set_out(ph_loop *loop, int i, int fd, int nbytes, int closing) {
    loop->out[3 * i] = fd;
    loop->out[3 * i + 1] = nbytes;
    loop->out[3 * i + 2] = closing;
}

static int turn(ph_loop *loop) { return ph_turn(loop, "", 0, 0, 0, 0); }

static int is_event(const ph_loop *loop, int i, int fd, int result) {
    return i < loop->event_count && loop->events[3 * i] == fd && loop->events[3 * i + 1] == result;
}

static int holds(int fd, const char *text) {
    char found[256];
    ssize_t n = recv(fd, found, sizeof found, 0);
    return n == (ssize_t)strlen(text) && memcmp(found, text, (size_t)n) == 0;
}

static int is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void choke(int fd) {
    char block[1024] = {0};
    while (send(fd, block, sizeof block, MSG_NOSIGNAL) > 0)
        ;
    while (send(fd, block, 1, MSG_NOSIGNAL) > 0)
        ;
    CHECK(errno == EAGAIN);
}

static void end_pair(ph_loop *loop, int pair[2]) {
    ph_close(loop, pair[0]);
    close(pair[1]);
}

/* Sending */

static void test_flush_sends_each_entry_to_its_descriptor(void) {
    ph_loop *loop = new_loop();
    int a[2], b[2];
    make_client(loop, a);
    make_client(loop, b);
    set_out(loop, 0, a[0], 3, 0);
    set_out(loop, 1, b[0], 0, 0);
    set_out(loop, 2, b[0], 2, 0);
    set_out(loop, 3, a[0], 1, 0);
    CHECK(ph_flush(loop, "onetwX", 4) == 0);
    CHECK(loop->out[1] == 3 && loop->out[4] == 0 && loop->out[7] == 2 && loop->out[10] == 1);
    CHECK(holds(a[1], "oneX"));
    CHECK(holds(b[1], "tw"));
    CHECK(loop->send_calls == 3);
    CHECK(ph_flush(loop, "", 0) == 0);
    end_pair(loop, a);
    end_pair(loop, b);
    free_loop(loop);
}

static void test_a_short_send_blocks_what_follows(void) {
    enum { LARGE = 1 << 20 };
    ph_loop *loop = new_loop();
    int a[2], b[2], size = 1;
    make_client(loop, a);
    make_client(loop, b);
    CHECK(setsockopt(a[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    char *bytes = calloc(1, LARGE + 8);
    memcpy(bytes + LARGE, "otherend", 8);
    set_out(loop, 0, a[0], LARGE, 0);
    set_out(loop, 1, b[0], 5, 0);
    set_out(loop, 2, a[0], 3, PH_CLOSE_SENT);
    set_out(loop, 3, a[0], 0, PH_CLOSE_SENT);
    CHECK(ph_flush(loop, bytes, 4) == 3);
    CHECK(loop->unsent == 3);
    CHECK(loop->out[1] > 0 && loop->out[1] < LARGE);
    CHECK(loop->out[4] == 5 && holds(b[1], "other"));
    CHECK(loop->out[7] == 0 && loop->out[8] == PH_CLOSE_SENT);
    CHECK(loop->out[11] == PH_CLOSE_SENT && is_open(a[0]));
    CHECK(loop->interest[a[0]] & PH_BLOCKED);
    CHECK(!(loop->interest[b[0]] & PH_BLOCKED));
    CHECK(loop->send_calls == 2);
    free(bytes);
    end_pair(loop, a);
    end_pair(loop, b);
    free_loop(loop);
}

static void test_a_full_socket_takes_nothing(void) {
    ph_loop *loop = new_loop();
    int a[2];
    make_client(loop, a);
    choke(a[0]);
    set_out(loop, 0, a[0], 4, 0);
    CHECK(ph_flush(loop, "data", 1) == 1);
    CHECK(loop->out[1] == 0);
    end_pair(loop, a);
    free_loop(loop);
}

static void test_a_closed_peer_is_an_error_and_no_signal(void) {
    ph_loop *loop = new_loop();
    int a[2];
    make_client(loop, a);
    close(a[1]);
    set_out(loop, 0, a[0], 4, PH_CLOSE_SENT);
    CHECK(ph_flush(loop, "data", 1) == 1);
    CHECK(loop->out[1] == -EPIPE);
    CHECK(is_open(a[0]));
    ph_close(loop, a[0]);
    free_loop(loop);
}

static void test_closing_behind_the_output(void) {
    ph_loop *loop = new_loop();
    int sent[2], now[2];
    make_client(loop, sent);
    make_client(loop, now);
    choke(now[0]);
    uint32_t generation = loop->generation[sent[0]];
    set_out(loop, 0, sent[0], 3, PH_CLOSE_SENT);
    set_out(loop, 1, now[0], 3, 0);
    set_out(loop, 2, now[0], 0, PH_CLOSE_NOW);
    CHECK(ph_flush(loop, "byelost", 3) == 1);
    CHECK(loop->out[2] == PH_CLOSED && loop->out[8] == PH_CLOSED);
    CHECK(!is_open(sent[0]) && !is_open(now[0]));
    CHECK(loop->interest[sent[0]] == 0 && loop->interest[now[0]] == 0);
    CHECK(loop->generation[sent[0]] == generation + 1);
    CHECK(loop->close_calls == 2);
    CHECK(holds(sent[1], "bye") && holds(sent[1], ""));
    close(sent[1]);
    close(now[1]);
    free_loop(loop);
}

/* Receiving */

static void test_each_event_has_its_slot(void) {
    ph_loop *loop = new_loop();
    int a[2], b[2];
    make_client(loop, a);
    make_client(loop, b);
    CHECK(send(a[1], "first", 5, 0) == 5 && send(b[1], "second", 6, 0) == 6);
    CHECK(turn(loop) == 2);
    for (int i = 0; i < 2; i++) {
        const char *text = loop->events[3 * i] == a[0] ? "first" : "second";
        CHECK(loop->events[3 * i + 1] == (int)strlen(text));
        CHECK(loop->events[3 * i + 2] == i * SLOT);
        CHECK(memcmp(loop->read_slab + i * SLOT, text, strlen(text)) == 0);
    }
    CHECK(turn(loop) == 0);
    end_pair(loop, a);
    end_pair(loop, b);
    free_loop(loop);
}

static void test_a_full_slot_and_a_fin_say_more(void) {
    ph_loop *loop = new_loop();
    int a[2], b[2];
    char block[SLOT + 1] = {0};
    make_client(loop, a);
    CHECK(send(a[1], block, sizeof block, 0) == SLOT + 1);
    CHECK(turn(loop) == 1 && is_event(loop, 0, a[0], SLOT | PH_MORE));
    loop->deferred[0] = a[0];
    CHECK(ph_turn(loop, "", 0, 1, 100000, 0) == 1 && is_event(loop, 0, a[0], 1 | PH_MORE));
    loop->deferred[0] = a[0];
    CHECK(ph_turn(loop, "", 0, 1, 0, 0) == 0);

    make_client(loop, b);
    CHECK(send(b[1], "x", 1, 0) == 1 && shutdown(b[1], SHUT_WR) == 0);
    CHECK(turn(loop) == 1 && is_event(loop, 0, b[0], 1 | PH_MORE));
    loop->deferred[0] = b[0];
    CHECK(ph_turn(loop, "", 0, 1, 0, 0) == 1 && is_event(loop, 0, b[0], 0));
    end_pair(loop, a);
    end_pair(loop, b);
    free_loop(loop);
}

static void test_a_paused_descriptor_keeps_its_edge(void) {
    ph_loop *loop = new_loop();
    int a[2];
    make_client(loop, a);
    loop->interest[a[0]] &= ~PH_READ;
    CHECK(send(a[1], "x", 1, 0) == 1);
    /* An edge that concerns nobody ends no wait: there is a second one. */
    CHECK(ph_turn(loop, "", 0, 0, 5, 0) == 0);
    CHECK(loop->wait_calls >= 2 && loop->turns == 1);
    CHECK(loop->interest[a[0]] & PH_READY);
    CHECK(loop->recv_calls == 0);
    loop->deferred[0] = a[0];
    CHECK(ph_turn(loop, "", 0, 1, 0, 0) == 0);
    loop->interest[a[0]] |= PH_READ;
    loop->deferred[0] = a[0];
    CHECK(ph_turn(loop, "", 0, 1, 0, 0) == 1 && is_event(loop, 0, a[0], 1 | PH_MORE));
    end_pair(loop, a);
    free_loop(loop);
}

static void test_deferred_numbers_are_checked(void) {
    ph_loop *loop = new_loop();
    int a[2];
    make_pair(a);
    int numbers[] = {-1, TABLE, TABLE + 7, INT32_MAX, a[0]};
    memcpy(loop->deferred, numbers, sizeof numbers);
    CHECK(ph_turn(loop, "", 0, 5, 0, 0) == 0);
    CHECK(loop->recv_calls == 0);
    /* A number that is none any more: its receive says so. */
    close(a[0]);
    loop->interest[a[0]] = PH_READ;
    loop->deferred[0] = a[0];
    CHECK(ph_turn(loop, "", 0, 1, 0, 0) == 1 && is_event(loop, 0, a[0], -EBADF));
    close(a[1]);
    free_loop(loop);
}

static void test_writable_and_broken(void) {
    ph_loop *loop = new_loop();
    int a[2];
    make_client(loop, a);
    CHECK(turn(loop) == 0);
    choke(a[0]);
    loop->interest[a[0]] |= PH_WRITE;
    CHECK(turn(loop) == 0);
    char sink[4096];
    while (recv(a[1], sink, sizeof sink, 0) > 0)
        ;
    CHECK(send(a[1], "x", 1, 0) == 1);
    CHECK(turn(loop) == 2);
    CHECK(is_event(loop, 0, a[0], PH_WRITABLE) && is_event(loop, 1, a[0], 1));
    close(a[1]);
    CHECK(turn(loop) == 1 && is_event(loop, 0, a[0], PH_WRITABLE));
    ph_close(loop, a[0]);
    free_loop(loop);
}

/* `deferred` of them are received without an edge, and all have an edge that reports twice. */
static void expect_bounded_turns(int deferred) {
    enum { MANY = 2 * MAX_EVENTS };
    ph_loop *loop = new_loop();
    int pairs[MANY][2], seen = 0;
    for (int i = 0; i < MANY; i++) {
        make_client(loop, pairs[i]);
        loop->interest[pairs[i][0]] |= PH_WRITE;
        CHECK(send(pairs[i][1], "x", 1, 0) == 1);
    }
    for (int i = 0; i < deferred; i++)
        loop->deferred[i] = pairs[i][0];
    ph_turn(loop, "", 0, deferred, 0, 0);
    for (int turns = 0; turns < 2 * MANY && loop->event_count > 0; turns++) {
        CHECK(loop->event_count <= MAX_EVENTS);
        for (int i = 0; i < loop->event_count; i++)
            seen += loop->events[3 * i + 1] > 0;
        turn(loop);
    }
    for (int i = 0; i < MANY; i++)
        seen += (loop->interest[pairs[i][0]] & PH_READY) != 0;
    CHECK(seen == MANY);
    for (int i = 0; i < MANY; i++)
        end_pair(loop, pairs[i]);
    free_loop(loop);
}

static void test_a_turn_has_room_for_so_many_events(void) { expect_bounded_turns(0); }

static void test_deferred_work_leaves_room_for_edges(void) { expect_bounded_turns(MAX_EVENTS / 2); }

static void test_a_turn_full_of_deferred_work_is_bounded_too(void) {
    expect_bounded_turns(MAX_EVENTS);
}

/* Generations and bounds */

static void test_events_of_an_earlier_owner_are_stale(void) {
    ph_loop *loop = new_loop();
    int a[2];
    make_client(loop, a);
    int copy = dup(a[0]);
    CHECK(ph_close(loop, a[0]) == 0);
    CHECK(send(a[1], "x", 1, 0) == 1);
    CHECK(turn(loop) == 0 && loop->stale_events == 1);
    close(copy);
    close(a[1]);
    free_loop(loop);
}

static void test_numbers_beyond_the_table_are_refused(void) {
    ph_loop *loop = new_loop();
    int numbers[] = {-1, INT32_MIN, TABLE, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        CHECK(ph_watch(loop, numbers[i], PH_READ, EPOLLIN) == -EMFILE);
        CHECK(ph_unwatch(loop, numbers[i]) == -EBADF);
        CHECK(ph_close(loop, numbers[i]) == -EBADF);
    }
    CHECK(loop->ctl_calls == 0 && loop->close_calls == 0);
    CHECK(ph_watch(loop, TABLE - 1, PH_READ, EPOLLIN) == -EBADF);
    CHECK(ph_unwatch(loop, TABLE - 1) == -EBADF);
    CHECK(ph_close(loop, TABLE - 1) == -EBADF);
    free_loop(loop);
}

static void test_a_notifier_reports_as_long_as_it_is_readable(void) {
    ph_loop *loop = new_loop();
    int ends[2];
    char byte;
    CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
    CHECK(ph_watch(loop, ends[0], PH_NOTIFY, EPOLLIN) == 0);
    CHECK(turn(loop) == 0);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(turn(loop) == 1 && is_event(loop, 0, ends[0], PH_READABLE));
    CHECK(turn(loop) == 1 && is_event(loop, 0, ends[0], PH_READABLE));
    CHECK(read(ends[0], &byte, 1) == 1);
    CHECK(turn(loop) == 0);
    CHECK(write(ends[1], "x", 1) == 1 && ph_unwatch(loop, ends[0]) == 0);
    CHECK(turn(loop) == 0);
    close(ends[0]);
    close(ends[1]);
    free_loop(loop);
}

/* Accepting */

static int make_listener(int family) {
    struct sockaddr_storage at = {.ss_family = (sa_family_t)family};
    socklen_t size = family == AF_INET    ? sizeof(struct sockaddr_in)
                     : family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(sa_family_t);
    if (family == AF_INET)
        ((struct sockaddr_in *)&at)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (family == AF_INET6)
        ((struct sockaddr_in6 *)&at)->sin6_addr = in6addr_loopback;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) < 0) {
        CHECK(family == AF_INET6); /* A machine may be without it. */
        if (fd >= 0)
            close(fd);
        return -1;
    }
    CHECK(listen(fd, 64) == 0);
    return fd;
}

static int dial(int listener, struct sockaddr_storage *own) {
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    CHECK(getsockname(listener, (struct sockaddr *)&at, &size) == 0);
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&at, size) == 0);
    size = sizeof *own;
    CHECK(getsockname(fd, (struct sockaddr *)own, &size) == 0);
    return fd;
}

static void test_accepting_reports_the_peer_and_its_first_bytes(void) {
    int families[] = {AF_INET, AF_INET6, AF_UNIX};
    for (int i = 0; i < 3; i++) {
        ph_loop *loop = new_loop();
        struct sockaddr_storage own;
        int listener = make_listener(families[i]);
        if (listener >= 0) {
            CHECK(ph_watch(loop, listener, PH_LISTEN, EPOLLIN) == 0);
            int client = dial(listener, &own);
            CHECK(send(client, "hello", 5, 0) == 5);
            CHECK(ph_turn(loop, "", 0, 0, 1000, 10) == 2);
            int fd = loop->events[0];
            CHECK(is_event(loop, 0, fd, PH_ACCEPTED) && is_event(loop, 1, fd, 5));
            CHECK(memcmp(loop->read_slab + loop->events[5], "hello", 5) == 0);
            const ph_peer *peer = &loop->peers[loop->events[2]];
            CHECK(peer->listener == listener && peer->family == families[i]);
            const struct sockaddr_in *v4 = (struct sockaddr_in *)&own;
            const struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&own;
            if (families[i] == AF_INET)
                CHECK(peer->port == ntohs(v4->sin_port) && !memcmp(peer->address, &v4->sin_addr, 4));
            if (families[i] == AF_INET6)
                CHECK(peer->port == ntohs(v6->sin6_port) &&
                      !memcmp(peer->address, &v6->sin6_addr, 16));
            CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
            CHECK(loop->interest[fd] & PH_READ);
            ph_close(loop, fd);
            close(client);
            close(listener);
        }
        free_loop(loop);
    }
}

static void test_accepting_keeps_to_its_room(void) {
    enum { MANY = 2 * MAX_EVENTS };
    ph_loop *loop = new_loop();
    struct sockaddr_storage own;
    int listener = make_listener(AF_INET), clients[MANY], accepted = 0;
    CHECK(ph_watch(loop, listener, PH_LISTEN, EPOLLIN) == 0);
    for (int i = 0; i < MANY; i++) {
        clients[i] = dial(listener, &own);
        CHECK(send(clients[i], "x", 1, 0) == 1);
    }
    CHECK(ph_turn(loop, "", 0, 0, 0, 0) == 0);
    for (int turns = 0; accepted < MANY && turns < 10 * MANY; turns++) {
        int room = 1 + turns % 3 * MAX_EVENTS, new = 0;
        ph_turn(loop, "", 0, 0, 1000, room);
        CHECK(loop->event_count <= MAX_EVENTS);
        for (int i = 0; i < loop->event_count; i++)
            if (loop->events[3 * i + 1] == PH_ACCEPTED) {
                CHECK(loop->events[3 * i + 2] >= 0 && loop->events[3 * i + 2] < MAX_EVENTS);
                new ++;
                ph_close(loop, loop->events[3 * i]);
            }
        CHECK(new <= room);
        accepted += new;
    }
    CHECK(accepted == MANY);
    for (int i = 0; i < MANY; i++)
        close(clients[i]);
    close(listener);
    free_loop(loop);
}

static void expect_accept_error(ph_loop *loop, int listener, int error) {
    CHECK(ph_turn(loop, "", 0, 0, 1000, 10) == 1);
    CHECK(is_event(loop, 0, listener, PH_READABLE));
    CHECK(loop->accept_error == error);
}

static void test_accepting_without_a_number_is_reported(void) {
    ph_loop *loop = new_loop();
    struct sockaddr_storage own;
    struct rlimit before, none;
    int listener = make_listener(AF_INET);
    CHECK(ph_watch(loop, listener, PH_LISTEN, EPOLLIN) == 0);
    int client = dial(listener, &own);
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    expect_accept_error(loop, listener, EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);

    /* A number beyond the table is closed again. */
    int next = dup(client);
    close(next);
    loop->table_size = next;
    expect_accept_error(loop, listener, EMFILE);
    CHECK(!is_open(next));
    char byte;
    CHECK(recv(client, &byte, 1, 0) <= 0);
    close(client);
    close(listener);
    free_loop(loop);
}

/* The wait, and the rest */

static void on_alarm(int number) { (void)number; }

static void test_a_signal_ends_the_wait(void) {
    ph_loop *loop = new_loop();
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct itimerval soon = {.it_value = {.tv_usec = 5000}, .it_interval = {.tv_usec = 5000}};
    struct itimerval never = {0};
    CHECK(sigaction(SIGALRM, &action, &before) == 0);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(ph_turn(loop, "", 0, 0, 1000000, 0) == 0);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(sigaction(SIGALRM, &before, NULL) == 0);
    free_loop(loop);
}

static void test_what_came_short_does_not_wait(void) {
    ph_loop *loop = new_loop();
    int a[2];
    make_client(loop, a);
    choke(a[0]);
    set_out(loop, 0, a[0], 1, 0);
    CHECK(ph_turn(loop, "x", 1, 0, 1000000, 0) == 0);
    CHECK(loop->unsent == 1);
    end_pair(loop, a);
    free_loop(loop);
}

static void test_a_broken_epoll_is_an_error(void) {
    ph_loop *loop = new_loop();
    close(loop->epoll_fd);
    CHECK(turn(loop) == -EBADF);
    loop->epoll_fd = dup(0);
    free_loop(loop);
}

static void test_shutdown_and_reset(void) {
    ph_loop *loop = new_loop();
    struct sockaddr_storage own;
    char byte;
    int listener = make_listener(AF_INET);
    int client = dial(listener, &own), fd = accept(listener, NULL, NULL);
    CHECK(ph_shutdown_write(fd) == 0);
    CHECK(recv(client, &byte, 1, 0) == 0);
    CHECK(ph_reset_on_close(fd) == 0);
    close(fd);
    CHECK(ph_shutdown_write(fd) == -EBADF && ph_reset_on_close(fd) == -EBADF);
    close(client);
    client = dial(listener, &own);
    fd = accept(listener, NULL, NULL);
    CHECK(ph_reset_on_close(fd) == 0 && ph_close(loop, fd) == 0);
    CHECK(recv(client, &byte, 1, 0) < 0 && errno == ECONNRESET);
    close(client);
    close(listener);
    free_loop(loop);
}

#define TEST(name) {#name, name}

static const struct {
    const char *name;
    void (*run)(void);
} TESTS[] = {
    TEST(test_flush_sends_each_entry_to_its_descriptor),
    TEST(test_a_short_send_blocks_what_follows),
    TEST(test_a_full_socket_takes_nothing),
    TEST(test_a_closed_peer_is_an_error_and_no_signal),
    TEST(test_closing_behind_the_output),
    TEST(test_each_event_has_its_slot),
    TEST(test_a_full_slot_and_a_fin_say_more),
    TEST(test_a_paused_descriptor_keeps_its_edge),
    TEST(test_deferred_numbers_are_checked),
    TEST(test_writable_and_broken),
    TEST(test_a_turn_has_room_for_so_many_events),
    TEST(test_deferred_work_leaves_room_for_edges),
    TEST(test_a_turn_full_of_deferred_work_is_bounded_too),
    TEST(test_events_of_an_earlier_owner_are_stale),
    TEST(test_numbers_beyond_the_table_are_refused),
    TEST(test_a_notifier_reports_as_long_as_it_is_readable),
    TEST(test_accepting_reports_the_peer_and_its_first_bytes),
    TEST(test_accepting_keeps_to_its_room),
    TEST(test_accepting_without_a_number_is_reported),
    TEST(test_a_signal_ends_the_wait),
    TEST(test_what_came_short_does_not_wait),
    TEST(test_a_broken_epoll_is_an_error),
    TEST(test_shutdown_and_reset),
};

/* Runs the one test that is named; without a name, lists them. */
int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof TESTS / sizeof *TESTS; i++) {
        if (argc < 2)
            puts(TESTS[i].name);
        else if (strcmp(argv[1], TESTS[i].name) == 0) {
            TESTS[i].run();
            puts("passed");
            return 0;
        }
    }
    return argc < 2 ? 0 : 2;
}
