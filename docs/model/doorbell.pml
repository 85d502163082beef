/* The doorbell: who rings, who reads, and who may sleep. See README.md; the code is server/doorbell.ts. */

#ifndef WRITERS
#define WRITERS 2
#endif
#define GATEWAYS 2
#define NONE 255

mtype:state = { asleep, waking, awake, leaving, settling, dead };
mtype:lock = { out, queued, held };
mtype:read = { idle, begun, taken, owing, done };

/* The database. Rows and sets of gateways are bit sets. Writer w takes number w + 1: they are alike but for that. */
byte given;            /* the newest number that was given out */
byte committed;        /* rows that a read would see now */
mtype:lock gate[GATEWAYS] = out;
bool note[GATEWAYS];   /* a NOTIFY is on its way; several are as one */

/* The gateways. */
mtype:state state[GATEWAYS] = asleep;
mtype:read reading[GATEWAYS] = idle;
bool rung[GATEWAYS];
bool owed[GATEWAYS];
bool settles[GATEWAYS]; /* the read in progress began in this very settling */
byte upTo[GATEWAYS] = NONE;
byte snapshot[GATEWAYS];
byte seen[GATEWAYS];

/* For the correctness condition alone. */
byte probed;            /* writers that have probed */
byte trusted[3];         /* gateways that kept the writer from ringing */
byte told[GATEWAYS];    /* rows that the gateway has rung the others for */
byte excused;           /* rows that a death may strand */
bool died;

#define BIT(n) (1 << (n))
#define OTHER(g) (1 - (g))
#define ENDED(n) ((committed & (BIT(n) - 1)) == BIT(n) - 1)

#ifdef WAKING_SILENT
#define RINGER(g) (state[g] == awake || state[g] == leaving || state[g] == settling)
#else
#define RINGER(g) (state[g] == waking || state[g] == awake || state[g] == leaving || state[g] == settling)
#endif

/* Will take a number of its own after now, and so waits for all that have one by now. */
#define WILL_SETTLE(g) \
  (state[g] == waking || state[g] == awake || state[g] == leaving || (state[g] == settling && upTo[g] == NONE))

inline insert(w) { atomic { given == w -> given++ } }

/* A gateway in the queue fails the probe too. */
inline probe(w) {
  d_step {
    trusted[w] = (gate[0] != out) | ((gate[1] != out) << 1);
    probed = probed | BIT(w)
  }
}

proctype Writer(byte w) {
#ifdef PROBE_FIRST
  probe(w);
  insert(w);
#else
  insert(w);
  probe(w);
#endif
  d_step {
    committed = committed | BIT(w);
    if
    :: trusted[w] == 0 -> note[0] = (state[0] != dead); note[1] = (state[1] != dead)
    :: else
    fi
  }
}

#define TRUSTED_ALONE(w, g) (((probed & BIT(w)) != 0 && trusted[w] == BIT(g)) << w)

/* The lock falls to the next in the queue at once; that gateway hears of it later. */
inline release(g) {
  if
  :: gate[g] == held && gate[OTHER(g)] == queued -> gate[OTHER(g)] = held
  :: else
  fi;
  gate[g] = out
}

inline newest(g) {
#ifdef SNAPSHOT_XMAX
  /* Below the xmax of a snapshot: up to the newest that has ENDED. */
  if
  :: committed >= 4 -> upTo[g] = 3
  :: committed >= 2 && committed < 4 -> upTo[g] = 2
  :: committed < 2 -> upTo[g] = committed
  fi
#else
  upTo[g] = given
#endif
}

/* A read that would change nothing is left out: asleep it takes a ring, else there has to be something in it. */
#define FRESH(g) (committed != seen[g])
#define MAY_READ(g) (rung[g] || (state[g] != asleep && state[g] != dead && (FRESH(g) || owed[g])))
#define MAY_SETTLE(g) (state[g] == settling && (upTo[g] == NONE || ENDED(upTo[g])))

proctype Gateway(byte g) {
end:
  do
  /* A ring arrives: dropped while reading on the interval. */
  :: d_step { note[g] && state[g] != asleep && state[g] != settling && state[g] != dead -> note[g] = false }
  :: d_step { note[g] && (state[g] == asleep || state[g] == settling) -> note[g] = false; rung[g] = true }
  :: d_step { note[g] && (state[g] == asleep || state[g] == settling) -> /* and it was one of many: wake */
       note[g] = false; rung[g] = true; state[g] = waking; upTo[g] = NONE; settles[g] = false }

  /* The gate. */
  :: d_step { state[g] == waking && gate[g] == out -> gate[g] = (gate[OTHER(g)] == held -> queued : held) }
  :: d_step { state[g] == waking && gate[g] == held -> state[g] = awake }
  :: d_step { state[g] == waking || state[g] == awake -> state[g] = leaving }
  :: d_step { state[g] == leaving && gate[g] != out -> release(g) }
#ifdef NO_SETTLE
  :: d_step { state[g] == leaving && gate[g] == out && reading[g] == idle && !owed[g] -> state[g] = asleep }
#else
  :: d_step { state[g] == leaving && gate[g] == out -> state[g] = settling }
#endif

  /* A read. Between its steps anything above may happen. */
  :: d_step { reading[g] == idle && MAY_READ(g) -> rung[g] = false; reading[g] = begun }
  :: d_step { reading[g] == idle && MAY_SETTLE(g) -> rung[g] = false; reading[g] = begun; settles[g] = true }
  :: d_step { reading[g] == begun && settles[g] && upTo[g] == NONE -> newest(g) }
  :: d_step { reading[g] == begun && !(settles[g] && upTo[g] == NONE) ->
       snapshot[g] = committed; reading[g] = taken }
  :: d_step { reading[g] == taken ->
#ifndef NO_FORWARD
       if
       :: (snapshot[g] & ~seen[g]) != 0 && RINGER(g) -> owed[g] = true
       :: else
       fi;
#endif
       seen[g] = snapshot[g]; reading[g] = (owed[g] -> owing : done) }
  :: d_step { reading[g] == owing ->
       note[OTHER(g)] = (state[OTHER(g)] != dead);
       told[g] = told[g] | seen[g]; owed[g] = false; reading[g] = done }
  :: d_step { reading[g] == done ->
       if
       :: settles[g] && (snapshot[g] & (BIT(upTo[g]) - 1)) == BIT(upTo[g]) - 1 -> state[g] = asleep; upTo[g] = NONE
       :: else
       fi;
       settles[g] = false; snapshot[g] = 0; reading[g] = idle }

  /* Dies, once in a run. The rows of writers that trusted it alone, and that it has not rung for, may be stranded,
     unless the survivor settles after this. */
  :: d_step { !died && state[g] != asleep && state[g] != dead ->
       died = true; state[g] = dead; reading[g] = idle; release(g);
       note[g] = false; rung[g] = false; owed[g] = false; settles[g] = false; upTo[g] = NONE; snapshot[g] = 0;
       if
       :: WILL_SETTLE(OTHER(g))
       :: else ->
            excused = TRUSTED_ALONE(0, g) | TRUSTED_ALONE(1, g) | TRUSTED_ALONE(2, g);
            excused = excused & ~told[g]
       fi }
  od
}

#define STRANDED(g) (state[g] == asleep && (committed & ~seen[g] & ~excused) != 0)

init {
  atomic {
    byte i;
    for (i : 0 .. GATEWAYS - 1) { note[i] = true; run Gateway(i) } /* earlier writers rang */
    for (i : 0 .. WRITERS - 1) { run Writer(i) }
  }
  /* No step is left to anybody. */
  timeout ->
  assert(committed == BIT(WRITERS) - 1);
  assert(state[0] == asleep || state[0] == dead);
  assert(state[1] == asleep || state[1] == dead);
  assert(!STRANDED(0) && !STRANDED(1))
}
