/*
 * The load client: N connections in one epoll loop. It counts one marker byte for each row in everything that arrives, and
 * reads in full only the connections that are sampled (latency) or that have something to answer: so it takes a fraction of
 * the CPU of any server that it reads from.
 *
 * load key=value ...
 *   port= host= mode=rowcast|ws|sio|nats|sse  n=<connections>  chan=<"ev:%d">  m=<channels>  k=<subscriptions each>
 *   path=<of the request; %d is the number of the channel>  since=start|now  sample=<each so many-th is read in full>
 *   inflight=<connections that open at once>  reconnect=<milliseconds, 0: never>
 *   idle=<us>: sleeps so long between rounds in place of waiting in epoll, so that no sender pays for waking it
 *
 * Commands on stdin, one letter each, one line of JSON as the answer to all but r:
 *   c rows so far   s snapshot   r forget latencies and gaps   f a snapshot, and the rows of each connection are checked
 * It ends when stdin closes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARKER '`'
#define BUCKETS 4000
#define BUFFER (1 << 20)

enum state { NEW, CONNECTING, UPGRADING, GREETING, LIVE, CLOSED };

struct connection {
  int fd, index, sampled, upgraded, answered, opcode, header_length;
  enum state state;
  uint64_t remain, rows, seq; /* remain: bytes of the frame under way; seq: the last one seen, of a single subscription */
  int has_position;
  char epoch[24];
  unsigned char header[14];
  char *text;
  size_t length, capacity;
  double retry_at;
};

static int port, connections = 1, channels = 1, subscriptions = 1, sample, inflight = 128, reconnect_ms, idle_us;
static const char *host = "127.0.0.1", *mode = "rowcast", *chan = "ev:%d", *path = "/v1/ws", *since = "now";

static struct connection *all;
static int epoll, opening, live, started;
static uint64_t rows, frames, bytes, gaps, resets, errors, failures, latencies[BUCKETS], measured;
static double worst, last_live, last_row;
static char input[BUFFER + 1];

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int is(const char *name) { return !strcmp(mode, name); }

static void measure(double us) {
  int bucket = us <= 1 ? 0 : (int)(log(us) * 200);
  latencies[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
  measured++;
  if (us > worst) worst = us;
}

static double quantile_ms(double p) {
  uint64_t wanted = (uint64_t)(measured * p), sum = 0;
  for (int b = 0; b < BUCKETS; b++)
    if ((sum += latencies[b]) > wanted) return exp((b + 0.5) / 200) / 1000;
  return worst / 1000;
}

/* In blocks of at most 255 the sum of a block fits a byte, which compilers turn into vector instructions. */
static uint64_t markers(const char *p, size_t n) {
  uint64_t count = 0;
  while (n) {
    size_t block = n > 240 ? 240 : n;
    unsigned char sum = 0;
    for (size_t i = 0; i < block; i++) sum += p[i] == MARKER;
    count += sum;
    p += block;
    n -= block;
  }
  return count;
}

static int counts_as_opening(enum state s) { return s == CONNECTING || s == UPGRADING || s == GREETING; }

static void enter(struct connection *c, enum state next) {
  opening += counts_as_opening(next) - counts_as_opening(c->state);
  live += (next == LIVE) - (c->state == LIVE);
  if (next == LIVE) last_live = now_us();
  c->state = next;
}

static void drop(struct connection *c) {
  close(c->fd);
  c->fd = -1;
  failures++;
  enter(c, CLOSED);
  c->retry_at = now_us() + reconnect_ms * 1000.0;
}

static void send_bytes(struct connection *c, const void *data, size_t n) {
  if (write(c->fd, data, n) != (ssize_t)n) errors++;
}

/* A masked frame, as clients must send it; the mask is zero. */
static void send_frame(struct connection *c, int opcode, const char *text) {
  size_t n = strlen(text), at = 2;
  unsigned char frame[4096];
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (n < 126 ? n : 126);
  if (n >= 126) {
    frame[2] = n >> 8;
    frame[3] = n & 255;
    at = 4;
  }
  memset(frame + at, 0, 4);
  memcpy(frame + at + 4, text, n);
  send_bytes(c, frame, at + 4 + n);
}

static void begin(struct connection *c) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};
  int one = 1;
  inet_pton(AF_INET, host, &address.sin_addr);
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  c->header_length = c->upgraded = c->answered = 0;
  c->remain = c->length = 0;
  enter(c, CONNECTING);
  connect(c->fd, (void *)&address, sizeof address);
  epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static void request(struct connection *c) {
  static const char *upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  char target[1000], text[2000];
  snprintf(target, sizeof target, path, c->index % channels);
  snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", target, port,
           is("sse") ? "Accept: text/event-stream\r\n" : upgrade);
  send_bytes(c, text, strlen(text));
}

static void greet(struct connection *c) {
  enter(c, is("ws") || is("sse") ? LIVE : GREETING);
  if (is("rowcast")) send_frame(c, 1, "{\"type\":\"connect\",\"id\":1,\"protocol\":1}");
  if (is("nats")) send_frame(c, 2, "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1}\r\nSUB ev 1\r\nPING\r\n");
}

static int begins(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

static uint64_t number_after(const char *text, size_t n, const char *key) {
  const char *found = memmem(text, n, key, strlen(key));
  return found ? strtoull(found + strlen(key), NULL, 10) : 0;
}

static void subscribe(struct connection *c) {
  for (int j = 0; j < subscriptions; j++) {
    char name[600], from[64], text[900];
    snprintf(name, sizeof name, chan, (c->index * subscriptions + j) % channels);
    snprintf(from, sizeof from, c->has_position ? "%s.%lu" : "%s", c->has_position ? c->epoch : since, c->seq);
    snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"id\":%d,\"channel\":\"%s\",\"since\":\"%s\"}", 2 + j, name, from);
    send_frame(c, 1, text);
  }
}

static void rowcast_frame(struct connection *c, const char *text, size_t n) {
  if (begins(text, "{\"type\":\"connected\"")) subscribe(c);
  if (begins(text, "{\"type\":\"reset\"")) resets++;
  if (begins(text, "{\"type\":\"subscribed\"")) {
    const char *epoch = strstr(text, "\"epoch\":\"");
    if (epoch && subscriptions == 1 && !c->has_position) {
      sscanf(epoch + 9, "%20[a-z0-9]", c->epoch);
      c->seq = is("rowcast") && !strcmp(since, "now") ? number_after(text, n, "\"head\":")
                                                      : number_after(text, n, "\"floor\":") - 1;
      c->has_position = 1;
    }
    if (++c->answered == subscriptions) enter(c, LIVE);
  }
  if (begins(text, "{\"type\":\"events\"") && subscriptions == 1) {
    uint64_t from = number_after(text, n, "\"from\":");
    if (from != c->seq + 1) gaps++;
    c->seq = from + markers(text, n) - 1;
  }
  if (begins(text, "{\"type\":\"error\"") && errors++ < 3) fprintf(stderr, "load: %.300s\n", text);
}

/* A whole frame, ended by a zero. */
static void frame(struct connection *c, const char *text, size_t n) {
  if (is("rowcast")) rowcast_frame(c, text, n);
  if (is("sio")) {
    if (text[0] == '0') send_frame(c, 1, "40"); /* the handshake of the engine: now the namespace */
    if (begins(text, "40") && c->state == GREETING) enter(c, LIVE);
    if (text[0] == '2' && n == 1) send_frame(c, 1, "3"); /* ping: pong */
  }
  if (is("nats")) {
    if (begins(text, "PING")) send_frame(c, 2, "PONG\r\n");
    if (c->state == GREETING && strstr(text, "PONG")) enter(c, LIVE);
    if (begins(text, "-ERR") && errors++ < 3) fprintf(stderr, "load: %.300s\n", text);
  }
}

/* All rows of a text are late by the same moment. The key of the time is escaped where JSON is a string in JSON. */
static void sampled(const char *text, size_t n) {
  double at = now_us();
  const char *end = text + n;
  for (const char *p = text; (p = memmem(p, end - p, "\"t\":", 4)); p += 4) measure(at - strtod(p + 4, NULL));
}

static void keep(struct connection *c, const char *p, size_t n) {
  if (c->length + n + 1 > c->capacity) {
    c->capacity = (c->length + n + 1) * 2;
    c->text = realloc(c->text, c->capacity);
  }
  memcpy(c->text + c->length, p, n);
  c->length += n;
  c->text[c->length] = 0;
}

static void count(struct connection *c, const char *p, size_t n) {
  uint64_t found = markers(p, n);
  rows += found;
  c->rows += found;
  if (found) last_row = now_us();
}

/* Takes in a byte of a header; true when the header is complete. */
static int header(struct connection *c, unsigned char byte) {
  c->header[c->header_length++] = byte;
  if (c->header_length < 2) return 0;
  int size = c->header[1] & 127, extended = size == 126 ? 2 : size == 127 ? 8 : 0;
  if (c->header_length < 2 + extended) return 0;
  c->remain = extended ? 0 : size;
  for (int i = 0; i < extended; i++) c->remain = c->remain << 8 | c->header[2 + i];
  if (c->header[0] & 15) c->opcode = c->header[0] & 15; /* 0 continues the last one */
  c->header_length = 0;
  c->length = 0;
  frames++;
  return 1;
}

/* Frames of which only the markers count: not those that are answered, nor those of connections that are checked. */
static int passes_by(const struct connection *c, const char *p) {
  return c->state == LIVE && !c->sampled && c->opcode <= 2 && c->remain > 3 && !(is("nats") && p[0] == 'P');
}

static void websocket(struct connection *c, char *p, size_t n) {
  while (n && c->fd >= 0) {
    if (!c->remain) {
      n--;
      if (!header(c, *p++)) continue;
      if (c->opcode == 8) return drop(c);
      if (c->opcode == 9) send_frame(c, 10, "");
      continue;
    }
    size_t part = n < c->remain ? n : c->remain;
    count(c, p, part);
    if (c->length || !passes_by(c, p)) keep(c, p, part);
    c->remain -= part;
    p += part;
    n -= part;
    if (c->remain || !c->length || c->opcode > 2) continue;
    if (c->sampled) sampled(c->text, c->length);
    frame(c, c->text, c->length);
    c->length = 0;
  }
}

/* An event stream is sampled piece by piece, up to the last whole line. */
static void stream(struct connection *c, char *p, size_t n) {
  count(c, p, n);
  if (!c->sampled) return;
  keep(c, p, n);
  char *end = memrchr(c->text, '\n', c->length);
  if (!end) return;
  size_t whole = end + 1 - c->text;
  sampled(c->text, whole);
  memmove(c->text, end + 1, c->length - whole);
  c->length -= whole;
}

/* True when the answer to the request is complete; what follows it is at `*rest`. */
static int answered(struct connection *c, char *p, size_t n, char **rest, size_t *left) {
  keep(c, p, n);
  char *end = strstr(c->text, "\r\n\r\n");
  if (!end) return 0;
  if (!strstr(c->text, is("sse") ? " 200" : " 101")) {
    if (errors++ < 3) fprintf(stderr, "load: %.200s\n", c->text);
    drop(c);
    return 0;
  }
  *left = c->length - (end + 4 - c->text);
  *rest = p + n - *left;
  c->upgraded = 1;
  c->length = 0;
  greet(c);
  return 1;
}

static void readable(struct connection *c) {
  for (int turn = 0; turn < 4 && c->fd >= 0; turn++) {
    ssize_t n = read(c->fd, input, BUFFER);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return drop(c);
    bytes += n;
    char *rest = input;
    size_t left = n;
    if (!c->upgraded && !answered(c, input, n, &rest, &left)) return;
    if (is("sse")) stream(c, rest, left);
    else websocket(c, rest, left);
    if (n < BUFFER) return;
  }
}

static void connected(struct connection *c, uint32_t events) {
  int error = 0;
  socklen_t size = sizeof error;
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error || events & (EPOLLERR | EPOLLHUP)) return drop(c);
  enter(c, UPGRADING);
  request(c);
  epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void snapshot(void) {
  struct rusage used;
  uint64_t fewest = ~0ull, most = 0;
  getrusage(RUSAGE_SELF, &used);
  for (int i = 0; i < connections; i++) {
    if (all[i].rows < fewest) fewest = all[i].rows;
    if (all[i].rows > most) most = all[i].rows;
  }
  printf("{\"at\":%.0f,\"rows\":%lu,\"frames\":%lu,\"bytes\":%lu,\"live\":%d,\"failures\":%lu,\"fewest\":%lu,\"most\":%lu,"
         "\"measured\":%lu,\"p50\":%.3f,\"p99\":%.3f,\"worst\":%.3f,\"gaps\":%lu,\"resets\":%lu,\"errors\":%lu,"
         "\"lastLive\":%.0f,\"lastRow\":%.0f}\n",
         now_us(), rows, frames, bytes, live, failures, fewest, most, measured, quantile_ms(0.5), quantile_ms(0.99),
         worst / 1000, gaps, resets, errors, last_live, last_row);
  fflush(stdout);
}

static void commands(void) {
  char letters[256];
  ssize_t n = read(0, letters, sizeof letters);
  if (n == 0) exit(0);
  for (ssize_t i = 0; i < n; i++) {
    if (letters[i] == 's') snapshot();
    if (letters[i] == 'c') {
      printf("%lu\n", rows);
      fflush(stdout);
    }
    if (letters[i] == 'r') {
      memset(latencies, 0, sizeof latencies);
      measured = gaps = 0;
      worst = last_live = last_row = 0;
    }
  }
}

static void options(int argc, char **argv) {
  struct { const char *name; int *number; const char **text; } known[] = {
      {"port", &port, 0}, {"n", &connections, 0}, {"m", &channels, 0}, {"k", &subscriptions, 0}, {"sample", &sample, 0},
      {"inflight", &inflight, 0}, {"reconnect", &reconnect_ms, 0}, {"idle", &idle_us, 0}, {"host", 0, &host},
      {"mode", 0, &mode}, {"chan", 0, &chan}, {"path", 0, &path}, {"since", 0, &since}};
  for (int i = 1; i < argc; i++)
    for (size_t j = 0; j < sizeof known / sizeof *known; j++) {
      size_t n = strlen(known[j].name);
      if (strncmp(argv[i], known[j].name, n) || argv[i][n] != '=') continue;
      if (known[j].number) *known[j].number = atoi(argv[i] + n + 1);
      else *known[j].text = argv[i] + n + 1;
    }
}

int main(int argc, char **argv) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[512];
  struct rlimit limit;
  double looked = 0;
  options(argc, argv);
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  signal(SIGPIPE, SIG_IGN);
  all = calloc(connections, sizeof *all);
  for (int i = 0; i < connections; i++) all[i] = (struct connection){.index = i, .fd = -1, .sampled = sample && i % sample == 0};
  epoll = epoll_create1(0);
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
  for (;;) {
    while (opening < inflight && started < connections) begin(&all[started++]);
    int busy_opening = started < connections || opening || reconnect_ms, timeout = busy_opening ? 5 : 200;
    if (idle_us && !busy_opening) usleep(idle_us);
    int n = epoll_wait(epoll, ready, 512, idle_us && !busy_opening ? 0 : timeout);
    for (int i = 0; i < n; i++) {
      struct connection *c = ready[i].data.ptr;
      if (!c) commands();
      else if (c->state == CONNECTING) connected(c, ready[i].events);
      else if (c->fd >= 0) readable(c);
    }
    double now = now_us();
    if (!reconnect_ms || now - looked < 5000) continue;
    looked = now;
    for (int i = 0; i < started && opening < inflight; i++)
      if (all[i].state == CLOSED && all[i].retry_at < now) begin(&all[i]);
  }
}
