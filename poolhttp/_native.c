/* The system calls of one loop turn, made without the GIL.
 *
 * Lives here: epoll, accept, send, recv, close and the per-descriptor table
 * that tells them what they may do. Must not live here: HTTP, Python objects,
 * memory management (all memory belongs to the caller and outlives the loop).
 *
 * Sources: epoll(7), epoll_ctl(2), accept(2), recv(2), send(2), futex(2). cffi wraps
 * each function and drops the GIL around it; _native_build.py declares them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "_native.h"

#define PH_QUIET_LOOKS 8
#define PH_PATIENT_LOOKS 200

/* recv(2) is told a slot's size and each event needs a triple, so the read
 * slab must hold max_events slots and `events` 3 * max_events integers. */

static uint64_t tag(const ph_loop *loop, int fd) {
    return ((uint64_t)loop->generation[fd] << 32) | (uint32_t)fd;
}

static int known(const ph_loop *loop, int fd) { return fd >= 0 && fd < loop->table_size; }

static void report(ph_loop *loop, int fd, int32_t result, int32_t offset) {
    int32_t *event = loop->events + 3 * loop->event_count++;
    event[0] = fd;
    event[1] = result;
    event[2] = offset;
}

/* Receive once into the slot of the next event. A short read means that the
 * socket is drained unless its peer has shut down: the FIN behind the data
 * makes no second edge, so the caller must come back for it (PH_MORE). */
static void receive(ph_loop *loop, int fd, int peer_shut_down) {
    int32_t offset = loop->event_count * loop->slot_size;
    ssize_t n;
    loop->interest[fd] &= (uint8_t)~PH_READY;
    do {
        n = recv(fd, loop->read_slab + offset, (size_t)loop->slot_size, MSG_DONTWAIT);
        loop->recv_calls++;
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno != EAGAIN)
            report(loop, fd, -errno, 0);
        return;
    }
    int32_t result = (int32_t)n;
    if (n > 0 && (n == loop->slot_size || peer_shut_down))
        result |= PH_MORE;
    report(loop, fd, result, offset);
}

/* Send what was collected for each descriptor, in order. A descriptor whose
 * send came short is PH_BLOCKED for the rest of the pass, so that a later
 * entry of the same connection can't overtake its earlier bytes. */
int ph_flush(ph_loop *loop, const char *bytes, int count) {
    loop->unsent = 0;
    for (int i = 0; i < count; i++) {
        int32_t *entry = loop->out + 3 * i;
        int fd = entry[0];
        int32_t nbytes = entry[1];
        ssize_t sent = 0;
        if (nbytes > 0 && !(loop->interest[fd] & PH_BLOCKED)) {
            do {
                sent = send(fd, bytes, (size_t)nbytes, MSG_NOSIGNAL | MSG_DONTWAIT);
                loop->send_calls++;
            } while (sent < 0 && errno == EINTR);
            if (sent < 0)
                sent = errno == EAGAIN ? 0 : -(ssize_t)errno;
        }
        bytes += nbytes;
        entry[1] = (int32_t)sent;
        int whole = sent == nbytes && !(loop->interest[fd] & PH_BLOCKED);
        if (entry[2] == PH_CLOSE_NOW || (entry[2] == PH_CLOSE_SENT && whole)) {
            /* Only once: an earlier entry may have closed it, and the number be somebody else's. */
            if (loop->interest[fd] & PH_OPEN) {
                ph_close(loop, fd);
                entry[2] = PH_CLOSED;
            }
        } else if (!whole) {
            loop->interest[fd] |= PH_BLOCKED;
            loop->unsent++;
        }
    }
    return loop->unsent;
}

static void copy_peer(const struct sockaddr_storage *from, int listener, ph_peer *peer) {
    memset(peer, 0, sizeof *peer);
    peer->listener = listener;
    peer->family = from->ss_family;
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        peer->port = ntohs(v4->sin_port);
        memcpy(peer->address, &v4->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        peer->port = ntohs(v6->sin6_port);
        memcpy(peer->address, &v6->sin6_addr, 16);
    }
}

/* Accept until EAGAIN or until there is no room, register each connection once and for all, and
 * receive what it has sent already: with TCP_DEFER_ACCEPT that is its first request. */
static void accept_from(ph_loop *loop, int listener, int room) {
    for (int i = 0; i < room && loop->event_count + 2 <= loop->max_events; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        from.ss_family = AF_UNSPEC;
        int fd = accept4(listener, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        loop->accept_calls++;
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                loop->accept_error = errno;
                report(loop, listener, PH_READABLE, 0);
            }
            return;
        }
        int error = ph_watch(loop, fd, PH_OPEN | PH_READ, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
        if (error < 0) {
            close(fd);
            loop->accept_error = -error;
            report(loop, listener, PH_READABLE, 0);
            return;
        }
        copy_peer(&from, listener, &loop->peers[loop->event_count]);
        report(loop, fd, PH_ACCEPTED, loop->event_count);
        receive(loop, fd, 0);
    }
}

static void dispatch(ph_loop *loop, const struct epoll_event *event) {
    int fd = (int)(uint32_t)event->data.u64;
    if (!known(loop, fd) || event->data.u64 != tag(loop, fd)) {
        loop->stale_events++;
        return;
    }
    uint8_t interest = loop->interest[fd];
    if (interest & PH_NOTIFY) {
        report(loop, fd, PH_READABLE, 0);
        return;
    }
    /* EPOLLERR and EPOLLHUP mean "try": the system call reports the error. */
    uint32_t failed = event->events & (EPOLLERR | EPOLLHUP);
    if ((interest & PH_WRITE) && (event->events & EPOLLOUT || failed)) {
        report(loop, fd, PH_WRITABLE, 0);
        if (failed)
            return;
    }
    if (!(event->events & (EPOLLIN | EPOLLRDHUP) || failed))
        return;
    if (interest & PH_READ && loop->event_count < loop->max_events)
        receive(loop, fd, (event->events & EPOLLRDHUP) != 0);
    else
        loop->interest[fd] |= PH_READY;
}

/* Clients first: what is accepted in this turn may have a number that was just closed. An event
 * may report twice (writable, then received), so `room` is half of what there is room for. */
static int wait_and_dispatch(ph_loop *loop, int room, int timeout_ms, int accept_room) {
    struct epoll_event events[PH_BATCH];
    int ready = epoll_wait(loop->epoll_fd, events, room, timeout_ms);
    loop->wait_calls++;
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < ready; i++) {
        int fd = (int)(uint32_t)events[i].data.u64;
        if (!known(loop, fd) || !(loop->interest[fd] & PH_LISTEN))
            dispatch(loop, &events[i]);
    }
    for (int i = 0; i < ready; i++) {
        int fd = (int)(uint32_t)events[i].data.u64;
        if (known(loop, fd) && loop->interest[fd] & PH_LISTEN &&
            events[i].data.u64 == tag(loop, fd)) {
            int before = loop->event_count;
            loop->no_room = accept_room <= 0;
            accept_from(loop, fd, accept_room);
            accept_room -= loop->event_count - before;
        }
    }
    return ready;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int run_turn(ph_loop *loop, const char *bytes, int count, int deferred, int timeout_ms,
                    int accept_room) {
    ph_flush(loop, bytes, count);
    loop->event_count = 0;
    loop->no_room = 0;
    loop->turns++;
    for (int i = 0; i < deferred; i++) {
        int fd = loop->deferred[i];
        if (!known(loop, fd))
            continue;
        if (loop->interest[fd] & PH_READ && loop->event_count + 2 < loop->max_events)
            receive(loop, fd, 1);
        else if (loop->interest[fd] & PH_OPEN)
            loop->interest[fd] |= PH_READY;
    }
    int room = (loop->max_events - loop->event_count) / 2;
    if (room < 1)
        return loop->event_count;
    room = room > PH_BATCH ? PH_BATCH : room;
    int wait = loop->event_count > 0 || loop->unsent > 0 ? 0 : timeout_ms;
    int64_t end = wait > 0 ? now_ms() + wait : 0;
    int ready = wait_and_dispatch(loop, room, wait, accept_room);
    /* Edges that concern nobody (a socket became writable while nothing waits) end no turn. A
     * listener without room is no edge, and would make this spin. */
    while (ready > 0 && loop->event_count == 0 && wait > 0 && !loop->no_room) {
        wait = (int)(end - now_ms());
        ready = wait_and_dispatch(loop, room, wait > 0 ? wait : 0, accept_room);
    }
    return ready < 0 ? ready : loop->event_count;
}

/* Between turns the loop's thread is in Python. The watch looks from another thread, so what both
 * touch is atomic; sequential consistency where one must not miss the other falling asleep. */
int ph_turn(ph_loop *loop, const char *bytes, int count, int deferred, int timeout_ms,
            int accept_room) {
    __atomic_store_n(&loop->in_turn, 1, __ATOMIC_RELAXED);
    int result = run_turn(loop, bytes, count, deferred, timeout_ms, accept_room);
    __atomic_store_n(&loop->mark_at_exit, __atomic_load_n(&loop->mark, __ATOMIC_RELAXED),
                     __ATOMIC_RELAXED);
    __atomic_store_n(&loop->in_turn, 0, __ATOMIC_SEQ_CST);
    if (result > 0 && __atomic_load_n(&loop->watch_asleep, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&loop->watch_asleep, 0, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &loop->watch_asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return result;
}

/* Sleep until a turn with events has ended, unless one just has. */
static void sleep_until_woken(ph_loop *loop) {
    __atomic_store_n(&loop->watch_asleep, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&loop->in_turn, __ATOMIC_SEQ_CST))
        while (__atomic_load_n(&loop->watch_asleep, __ATOMIC_SEQ_CST) &&
               !__atomic_load_n(&loop->watch_stopped, __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &loop->watch_asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    __atomic_store_n(&loop->watch_asleep, 0, __ATOMIC_SEQ_CST);
}

/* Look again and again until one call has been under way in two looks: return 1; 0 when stopped.
 * The looks come at twice the rate for a while after an overstayed call, since such calls come in
 * swarms; what lasts two budgets is always seen, and in a swarm what lasts one. */
int ph_watch_calls(ph_loop *loop, int budget_us) {
    int64_t seen = 0;
    int quiet = 0;
    for (int look = 0; !__atomic_load_n(&loop->watch_stopped, __ATOMIC_SEQ_CST); look++) {
        struct timespec period = {.tv_sec = loop->watch_period / 1000000,
                                  .tv_nsec = loop->watch_period % 1000000 * 1000L};
        /* A sleep that ph_stop_watching ends. */
        syscall(SYS_futex, &loop->watch_stopped, FUTEX_WAIT_PRIVATE, 0, &period, NULL, 0);
        loop->watch_looks++;
        int64_t mark = __atomic_load_n(&loop->mark, __ATOMIC_RELAXED);
        int idle = __atomic_load_n(&loop->in_turn, __ATOMIC_RELAXED);
        if (!idle && mark == seen &&
            mark != __atomic_load_n(&loop->mark_at_exit, __ATOMIC_RELAXED)) {
            loop->watch_period = budget_us / 2;
            loop->overstayed = mark;
            return 1;
        }
        seen = mark;
        quiet = idle ? quiet + 1 : 0;
        if (quiet == PH_QUIET_LOOKS) {
            sleep_until_woken(loop);
            quiet = 0;
        }
        if (look == PH_PATIENT_LOOKS)
            loop->watch_period = budget_us;
    }
    return 0;
}

void ph_stop_watching(ph_loop *loop) {
    __atomic_store_n(&loop->watch_stopped, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&loop->watch_asleep, 0, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &loop->watch_stopped, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    syscall(SYS_futex, &loop->watch_asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int ph_watch(ph_loop *loop, int fd, int interest, uint32_t events) {
    if (!known(loop, fd))
        return -EMFILE;
    loop->generation[fd]++;
    loop->interest[fd] = (uint8_t)interest;
    struct epoll_event event = {.events = events, .data.u64 = tag(loop, fd)};
    loop->ctl_calls++;
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int ph_unwatch(ph_loop *loop, int fd) {
    if (!known(loop, fd))
        return -EBADF;
    loop->generation[fd]++;
    loop->interest[fd] = 0;
    loop->ctl_calls++;
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

int ph_close(ph_loop *loop, int fd) {
    if (!known(loop, fd))
        return -EBADF;
    loop->generation[fd]++;
    loop->interest[fd] = 0;
    loop->close_calls++;
    return close(fd) < 0 ? -errno : 0;
}

int ph_shutdown_write(int fd) { return shutdown(fd, SHUT_WR) < 0 ? -errno : 0; }

int ph_reset_on_close(int fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) < 0 ? -errno : 0;
}
