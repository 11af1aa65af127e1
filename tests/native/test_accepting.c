/* Accepting, waiting, and the functions of one system call. */
#include "harness.h"

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

static const ph_test TESTS[] = {
    TEST(test_accepting_reports_the_peer_and_its_first_bytes),
    TEST(test_accepting_keeps_to_its_room),
    TEST(test_accepting_without_a_number_is_reported),
    TEST(test_a_signal_ends_the_wait),
    TEST(test_what_came_short_does_not_wait),
    TEST(test_a_broken_epoll_is_an_error),
    TEST(test_shutdown_and_reset),
};

int main(int argc, char **argv) {
    return run_named(TESTS, sizeof TESTS / sizeof *TESTS, argc, argv);
}
