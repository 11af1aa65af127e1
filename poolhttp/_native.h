/* The interface of _native.c; _native_build.py gives the same text to cffi,
 * so it holds no preprocessor line but plain "#define NAME number". */

#define PH_READ 1
#define PH_WRITE 2
#define PH_READY 4
#define PH_BLOCKED 8
#define PH_NOTIFY 16
#define PH_LISTEN 32
#define PH_OPEN 64
#define PH_MORE 1073741824
#define PH_WRITABLE -100001
#define PH_READABLE -100002
#define PH_ACCEPTED -100003
#define PH_CLOSE_SENT 1
#define PH_CLOSE_NOW 2
#define PH_CLOSED 3
#define PH_BATCH 512

typedef struct {
    int32_t listener;      /* the descriptor that it was accepted from */
    uint16_t family;       /* AF_INET, AF_INET6 or AF_UNIX */
    uint16_t unused;
    uint8_t address[16];   /* network byte order; the first 4 bytes for AF_INET */
    uint16_t port;         /* host byte order */
    uint16_t unused2;
} ph_peer;

typedef struct {
    /* Set once by the owner. */
    int32_t epoll_fd;
    int32_t max_events;    /* triples that `events` has room for */
    int32_t slot_size;     /* bytes of the read slab for one event */
    int32_t table_size;    /* descriptors below it have an entry in both tables */
    char *read_slab;       /* max_events * slot_size bytes */
    int32_t *events;       /* filled by a turn: fd, result, offset in the slab */
    int32_t *out;          /* fd, nbytes (becomes bytes sent or -errno), 0 or PH_CLOSE_... (becomes PH_CLOSED) */
    int32_t *deferred;     /* descriptors to receive from without an edge */
    ph_peer *peers;        /* max_events of them; by the third number of a PH_ACCEPTED event */
    uint32_t *generation;  /* by fd: makes an event of an earlier owner stale */
    uint8_t *interest;     /* by fd: PH_READ, PH_WRITE, ... */
    /* Results of the last call. */
    int32_t event_count;
    int32_t unsent;        /* entries of `out` that were not taken whole */
    int32_t no_room;       /* a listener was ready when accept_room was used up */
    int32_t accept_error;  /* errno that ended accepting, when PH_READABLE says so */
    /* The watch over app calls. `mark` is the caller's: it counts up with each call. */
    int64_t mark;
    int64_t mark_at_exit;  /* what it was when the last turn returned, or the call that is settled */
    int64_t overstayed;    /* the mark of the call that ended ph_watch_calls */
    int32_t in_turn;       /* the loop's thread is inside ph_turn; the caller may set it before */
    int32_t watch_stopped;
    int32_t watch_asleep;  /* futex: no call to watch; the end of a turn with events wakes it */
    int32_t watch_period;  /* microseconds between two looks, between half and all of the given */
    /* Counters since the start. */
    uint64_t turns;
    uint64_t wait_calls;
    uint64_t recv_calls;
    uint64_t send_calls;
    uint64_t accept_calls;
    uint64_t ctl_calls;
    uint64_t close_calls;
    uint64_t stale_events;
    uint64_t watch_looks;
} ph_loop;

int ph_flush(ph_loop *loop, const char *bytes, int count);
int ph_turn(ph_loop *loop, const char *bytes, int count, int deferred, int timeout_ms,
            int accept_room);
int ph_watch(ph_loop *loop, int fd, int interest, uint32_t events);
int ph_unwatch(ph_loop *loop, int fd);
int ph_close(ph_loop *loop, int fd);
int ph_watch_calls(ph_loop *loop, int budget_us);
void ph_stop_watching(ph_loop *loop);
int ph_shutdown_write(int fd);
int ph_reset_on_close(int fd);
