/* The herd's client port in C on epoll: one thread, level-triggered.
 *
 * Compiled twice: with -DSTORE it keeps the newest report of each client in a hash table; without,
 * it parses and answers but keeps nothing, and so shows what the kernel and the protocol alone
 * cost: the limit. All lines of one read are answered by one write. IAMAT and `? line` only. Left
 * out: WHATSAT, peers, limits, logs, ids of strangers' choice (the hash has no key), back-pressure
 * (a client that does not read is hung up on). */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 1024, READ_BYTES = 64 * 1024, BACKLOG = 4096 };
static const int64_t NS = 1000000000;

struct client {
    int fd;
    size_t held; /* bytes of a line whose end has not come */
    char *rest;
};

struct word {
    const char *at;
    size_t length;
};

/* The shortest line that is answered by an AT line grows to less than three times its length. */
static char in[2 * READ_BYTES], out[6 * READ_BYTES];
static int64_t now_ns;

#ifdef STORE
/* Open addressing with linear probing; at most half full. */
struct slot {
    uint64_t hash;
    int64_t sent_ns;
    char *text; /* id, position and time */
    size_t id_length, length;
};

static struct slot *slots;
static size_t slot_count = 1024, known;

static uint64_t hash_of(struct word id) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < id.length; i++)
        hash = (hash ^ (unsigned char)id.at[i]) * 1099511628211u;
    return hash;
}

static struct slot *find(uint64_t hash, struct word id) {
    for (size_t i = hash & (slot_count - 1);; i = (i + 1) & (slot_count - 1)) {
        struct slot *slot = &slots[i];
        if (!slot->text || (slot->hash == hash && slot->id_length == id.length &&
                            !memcmp(slot->text, id.at, id.length)))
            return slot;
    }
}

static void grow(void) {
    struct slot *old = slots;
    size_t old_count = slot_count;
    slot_count *= 2;
    slots = calloc(slot_count, sizeof *slots);
    for (size_t i = 0; i < old_count; i++)
        if (old[i].text)
            *find(old[i].hash, (struct word){old[i].text, old[i].id_length}) = old[i];
    free(old);
}

static void keep(struct word id, const char *end, int64_t sent_ns) {
    uint64_t hash = hash_of(id);
    struct slot *slot = find(hash, id);
    size_t length = end - id.at;
    if (slot->text && slot->sent_ns >= sent_ns)
        return;
    if (!slot->text)
        known++;
    if (slot->length != length)
        slot->text = realloc(slot->text, length);
    memcpy(slot->text, id.at, length);
    *slot = (struct slot){hash, sent_ns, slot->text, id.length, length};
    if (2 * known > slot_count)
        grow();
}
#endif

static int is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits, and perhaps a point and more digits. NULL if there are none. */
static const char *number(const char *at, const char *end) {
    const char *begin = at;
    while (at < end && is_digit(*at))
        at++;
    if (at == begin)
        return NULL;
    if (at < end && *at == '.') {
        begin = ++at;
        while (at < end && is_digit(*at))
            at++;
        if (at == begin)
            return NULL;
    }
    return at;
}

static int is_position(struct word word) {
    const char *at = word.at, *end = word.at + word.length;
    for (int part = 0; part < 2; part++) {
        if (at == end || (*at != '+' && *at != '-'))
            return 0;
        if (!(at = number(at + 1, end)))
            return 0;
    }
    return at == end;
}

/* Nanoseconds, or -1. */
static int64_t time_of(struct word word) {
    const char *at = word.at, *end = word.at + word.length;
    int64_t ns = 0, unit = NS;
    if (number(at, end) != end)
        return -1;
    for (; at < end && *at != '.'; at++)
        ns = 10 * ns + (*at - '0');
    ns *= NS;
    for (at++; at < end && unit > 1; at++)
        ns += (*at - '0') * (unit /= 10);
    return ns;
}

static char *digits(char *to, int64_t value, int least) {
    char text[20];
    int length = 0;
    while (value > 0 || length < least) {
        text[length++] = '0' + value % 10;
        value /= 10;
    }
    while (length > 0)
        *to++ = text[--length];
    return to;
}

static char *append(char *to, const char *text, size_t length) {
    memcpy(to, text, length);
    return to + length;
}

/* Appends the answer to a line, given without its newline. */
static char *answer(const char *line, size_t length, char *to) {
    const char *at = line, *end = line + length;
    struct word words[5];
    int count = 0;
    while (count < 5) {
        while (at < end && (*at == ' ' || (*at >= '\t' && *at <= '\r')))
            at++;
        if (at == end)
            break;
        words[count].at = at;
        while (at < end && *at != ' ' && !(*at >= '\t' && *at <= '\r'))
            at++;
        words[count].length = at - words[count].at;
        count++;
    }
    int64_t sent_ns;
    if (count != 4 || words[0].length != 5 || memcmp(words[0].at, "IAMAT", 5) ||
        !is_position(words[2]) || (sent_ns = time_of(words[3])) < 0) {
        to = append(to, "? ", 2);
        to = append(to, line, length - (length > 0 && end[-1] == '\r'));
        *to++ = '\n';
        return to;
    }
    const char *tail = words[3].at + words[3].length;
#ifdef STORE
    keep(words[1], tail, sent_ns);
#endif
    int64_t skew_ns = now_ns - sent_ns;
    to = append(to, "AT Rival ", 9);
    *to++ = skew_ns < 0 ? '-' : '+';
    if (skew_ns < 0)
        skew_ns = -skew_ns;
    to = digits(to, skew_ns / NS, 1);
    *to++ = '.';
    to = digits(to, skew_ns % NS, 9);
    *to++ = ' ';
    to = append(to, words[1].at, tail - words[1].at);
    *to++ = '\n';
    return to;
}

static void hang_up(struct client *client) {
    close(client->fd);
    free(client->rest);
    free(client);
}

static void serve(struct client *client) {
    size_t held = client->held;
    if (held > 0)
        memcpy(in, client->rest, held);
    ssize_t count = read(client->fd, in + held, READ_BYTES);
    if (count <= 0) {
        hang_up(client);
        return;
    }
    char *at = in, *end = in + held + count, *to = out, *newline;
    while ((newline = memchr(at, '\n', end - at))) {
        to = answer(at, newline - at, to);
        at = newline + 1;
    }
    client->held = end - at;
    if (client->held >= READ_BYTES || (to > out && write(client->fd, out, to - out) != to - out)) {
        hang_up(client);
        return;
    }
    if (client->held > 0) {
        client->rest = realloc(client->rest, client->held);
        memcpy(client->rest, at, client->held);
    }
}

static void welcome(int listener, int queue) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct client *client = calloc(1, sizeof *client);
        struct epoll_event event = {EPOLLIN, {.ptr = client}};
        client->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1, queue = epoll_create1(0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct epoll_event events[EVENTS], door = {EPOLLIN, {.ptr = NULL}};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG)) {
        perror("listen");
        return 1;
    }
    epoll_ctl(queue, EPOLL_CTL_ADD, listener, &door);
#ifdef STORE
    slots = calloc(slot_count, sizeof *slots);
#endif
    for (;;) {
        int count = epoll_wait(queue, events, EVENTS, -1);
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        now_ns = now.tv_sec * NS + now.tv_nsec;
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else
                welcome(listener, queue);
        }
    }
}
