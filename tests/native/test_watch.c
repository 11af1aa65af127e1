/* The watch over calls: what it sees, and when it sleeps. The test's thread is that of the loop. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function" /* Of what the other programs need. */
#include "harness.h"
#pragma GCC diagnostic pop

#include <pthread.h>

enum { BUDGET = 1000, PATIENCE = 10000 };

typedef struct {
    ph_loop *loop;
    int result;
    int done;
} watch;

static void *run_watch(void *argument) {
    watch *self = argument;
    self->result = ph_watch_calls(self->loop, BUDGET);
    __atomic_store_n(&self->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static pthread_t start_watch(watch *self, ph_loop *loop) {
    pthread_t thread;
    self->loop = loop;
    self->result = -1;
    self->done = 0;
    CHECK(pthread_create(&thread, NULL, run_watch, self) == 0);
    return thread;
}

/* The sleep of the loop's thread, for others to go on. */
static void pass_on(void) {
    struct timespec moment = {.tv_nsec = 1000000};
    nanosleep(&moment, NULL);
}

/* Waits for a condition; a bounded number of milliseconds. */
#define AWAIT(condition)                                     \
    do {                                                     \
        int left = PATIENCE;                                 \
        while (!(condition) && left-- > 0)                   \
            pass_on();                                       \
        CHECK(left >= 0);                                    \
    } while (0)

static uint64_t looks(ph_loop *loop) { return *(volatile uint64_t *)&loop->watch_looks; }

static int asleep(ph_loop *loop) { return __atomic_load_n(&loop->watch_asleep, __ATOMIC_SEQ_CST); }

static void set_in_turn(ph_loop *loop, int value) {
    __atomic_store_n(&loop->in_turn, value, __ATOMIC_SEQ_CST);
}

static void call(ph_loop *loop) { __atomic_add_fetch(&loop->mark, 1, __ATOMIC_SEQ_CST); }

static ph_loop *new_watched_loop(void) {
    ph_loop *loop = new_loop();
    loop->watch_period = BUDGET;
    return loop;
}

static void stop_and_join(watch *self, pthread_t thread) {
    ph_stop_watching(self->loop);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(self->result == 0);
}

/* Without a thread: the watch comes back by itself. */
static void test_a_call_in_two_looks_overstays(void) {
    ph_loop *loop = new_watched_loop();
    call(loop);
    CHECK(ph_watch_calls(loop, BUDGET) == 1);
    CHECK(looks(loop) == 2);
    CHECK(loop->watch_period == BUDGET / 2);
    /* What was seen is forgotten between two waits: again two looks. */
    CHECK(ph_watch_calls(loop, BUDGET) == 1);
    CHECK(looks(loop) == 4);
    ph_stop_watching(loop);
    CHECK(ph_watch_calls(loop, BUDGET) == 0);
    CHECK(looks(loop) == 4);
    free_loop(loop);
}

static void test_a_settled_call_does_not_overstay(void) {
    ph_loop *loop = new_watched_loop();
    watch self;
    call(loop);
    loop->mark_at_exit = loop->mark;
    pthread_t thread = start_watch(&self, loop);
    AWAIT(looks(loop) >= 20);
    CHECK(!__atomic_load_n(&self.done, __ATOMIC_SEQ_CST));
    call(loop);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(self.result == 1);
    free_loop(loop);
}

static void test_the_end_of_a_turn_settles_its_call(void) {
    ph_loop *loop = new_watched_loop();
    call(loop);
    CHECK(turn(loop) == 0);
    CHECK(loop->mark_at_exit == loop->mark);
    watch self;
    pthread_t thread = start_watch(&self, loop);
    AWAIT(looks(loop) >= 20);
    stop_and_join(&self, thread);
    free_loop(loop);
}

static void test_the_watch_sleeps_while_the_loop_waits(void) {
    ph_loop *loop = new_watched_loop();
    watch self;
    call(loop);
    set_in_turn(loop, 1);
    pthread_t thread = start_watch(&self, loop);
    AWAIT(asleep(loop));
    uint64_t before = looks(loop);
    CHECK(before == PH_QUIET_LOOKS);
    for (int i = 0; i < 20; i++)
        pass_on();
    CHECK(looks(loop) == before && asleep(loop));
    stop_and_join(&self, thread);
    free_loop(loop);
}

/* A turn without events calls no app. */
static void test_only_a_turn_with_events_wakes_the_watch(void) {
    ph_loop *loop = new_watched_loop();
    watch self;
    int a[2];
    make_client(loop, a);
    ph_turn(loop, "", 0, 0, 0, 0);
    set_in_turn(loop, 1);
    pthread_t thread = start_watch(&self, loop);
    AWAIT(asleep(loop));
    uint64_t before = looks(loop);
    for (int i = 0; i < 20; i++) {
        CHECK(turn(loop) == 0);
        CHECK(asleep(loop));
        pass_on();
    }
    CHECK(looks(loop) == before);
    CHECK(send(a[1], "x", 1, 0) == 1);
    CHECK(turn(loop) == 1);
    CHECK(!asleep(loop));
    AWAIT(looks(loop) > before);
    call(loop);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(self.result == 1);
    end_pair(loop, a);
    free_loop(loop);
}

static void test_stopping_wakes_the_watch(void) {
    for (int i = 0; i < 50; i++) {
        ph_loop *loop = new_watched_loop();
        loop->watch_period = 1 + i % 7 * 10;
        watch self;
        set_in_turn(loop, 1);
        pthread_t thread = start_watch(&self, loop);
        if (i % 2)
            AWAIT(asleep(loop));
        stop_and_join(&self, thread);
        free_loop(loop);
    }
}

static void test_the_rate_falls_back_after_a_swarm(void) {
    ph_loop *loop = new_watched_loop();
    call(loop);
    CHECK(ph_watch_calls(loop, BUDGET) == 1 && loop->watch_period == BUDGET / 2);
    loop->mark_at_exit = loop->mark;
    watch self;
    pthread_t thread = start_watch(&self, loop);
    AWAIT(__atomic_load_n(&loop->watch_period, __ATOMIC_SEQ_CST) == BUDGET);
    CHECK(looks(loop) > PH_PATIENT_LOOKS);
    stop_and_join(&self, thread);
    free_loop(loop);
}

static const ph_test TESTS[] = {
    TEST(test_a_call_in_two_looks_overstays),
    TEST(test_a_settled_call_does_not_overstay),
    TEST(test_the_end_of_a_turn_settles_its_call),
    TEST(test_the_watch_sleeps_while_the_loop_waits),
    TEST(test_only_a_turn_with_events_wakes_the_watch),
    TEST(test_stopping_wakes_the_watch),
    TEST(test_the_rate_falls_back_after_a_swarm),
};

int main(int argc, char **argv) {
    return run_named(TESTS, sizeof TESTS / sizeof *TESTS, argc, argv);
}
