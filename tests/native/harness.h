/* What the programs of these tests share: a loop whose memory has exactly the promised size, clients
 * over socket pairs, and a main() that runs the one test that is named. The native code is included,
 * so that it runs without Python. A failed check says where and ends the program. */
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
    CHECK(ph_watch(loop, pair[0], PH_OPEN | PH_READ, CLIENT | EPOLLET) == 0);
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

#define TEST(name) {#name, name}

typedef struct {
    const char *name;
    void (*run)(void);
} ph_test;

/* Runs the test that is named; without a name, lists them. */
static int run_named(const ph_test *tests, size_t count, int argc, char **argv) {
    for (size_t i = 0; i < count; i++) {
        if (argc < 2)
            puts(tests[i].name);
        else if (strcmp(argv[1], tests[i].name) == 0) {
            tests[i].run();
            puts("passed");
            return 0;
        }
    }
    return argc < 2 ? 0 : 2;
}
