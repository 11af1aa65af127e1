/* Sending, receiving, closing, and the bounds of a turn. */
#include "harness.h"

static int holds(int fd, const char *text) {
    char found[256];
    ssize_t n = recv(fd, found, sizeof found, 0);
    return n == (ssize_t)strlen(text) && memcmp(found, text, (size_t)n) == 0;
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

static const ph_test TESTS[] = {
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
};

int main(int argc, char **argv) {
    return run_named(TESTS, sizeof TESTS / sizeof *TESTS, argc, argv);
}
