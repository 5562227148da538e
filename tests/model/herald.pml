/* Copyright: (c) 2026, Herald contributors
 * SPDX-License-Identifier: Apache-2.0
 *
 * Who announces an address: presences, VIP leases and kernels of N nodes, for spin.
 * Rule numbers are those of docs/design/election.md. README.md says what is bounded and why the abstractions hold.
 *
 * Nothing here has to happen in time: an agent may act, or wait for ever (a pause, a hang, a kill); a request may be
 * executed at once, late, after its sender gave it up or died, or never; an answer may come or not. Only the Clock
 * goes on for all, and the kernels obey it.
 *
 * resourceVersions are modelled by what they decide: of everything that was read from, or is on its way to, an object,
 * whether the object is still as it was then ("fresh"). A write that is not fresh is a 409.
 *
 * -DNODES=3  -DADDRESSES=1  -DDURATION=4  -DEPOCHS=2  -DHOLD (else Withdraw)
 * -DLIVENESS (what is found again, once faults have ended)
 */

#ifndef NODES
#define NODES 3
#endif
#ifndef ADDRESSES
#define ADDRESSES 1 /* or 2: each with a VIP lease of its own */
#endif
#ifndef EPOCHS
#define EPOCHS 2 /* epochs of each presence */
#endif
#ifndef MAX_FAULTS
#define MAX_FAULTS 3 /* requests given up, kills, stops, crashes and cuts, all nodes together */
#endif
#ifndef DURATION
#define DURATION 4 /* D, in ticks; one tick is the margin: 0.9 D is D - 1 */
#endif
#define DRIFT 1 /* by how many ticks a kernel's clock is late over D, at worst */
#ifdef NO_MARGIN
#define VALID (DURATION + DRIFT)
#else
#define VALID (DURATION - 1 + DRIFT)
#endif
#define FUSE 1
#define NOBODY NODES
#define PAIRS (NODES * ADDRESSES)
#define AT(k, a) ((k) * ADDRESSES + (a)) /* where what node k has of address a is kept */

mtype = { OFF, READ, JOIN, LIVE };          /* an agent's phase; OFF: killed, stopped, not started */
mtype = { NONE, FLIGHT, OK };               /* a request: none; on its way; executed, its answer on the way */
mtype = { CONTINUE, NEXT, LEAVE };          /* writes to one's presence: renewal (also a process's first), epoch, release */
mtype = { CLAIM, RELEASE };                 /* writes to a VIP lease */

/* --- at the API server */
bool alive[NODES];      /* presence: it has a holder */
byte epoch[NODES];      /* presence: its epoch */
bool this_boot[NODES];  /* presence: its instance names the machine's present boot */
byte still[NODES];      /* ticks since its last change, up to D: what an observer in touch has counted at most */
byte vip[ADDRESSES] = NOBODY; /* VIP lease: holder */
byte vip_epoch[ADDRESSES]; /* VIP lease: holder's epoch */

/* --- on their way */
#ifdef FENCE_WITHOUT_CAS
bool fence[NODES];      /* somebody's fence of this presence */
#endif

mtype req[NODES] = NONE; /* a node's request for its presence */
mtype req_kind[NODES] = CONTINUE;
bool req_fresh[NODES];
byte req_epoch[NODES];
byte req_age[NODES];    /* ticks since before it was sent */
bool req_confirms[PAIRS]; /* the entry was there when it was sent */

mtype vreq[PAIRS] = NONE; /* a node's request for a VIP lease */
mtype vreq_kind[PAIRS] = CLAIM;
bool vreq_fresh[PAIRS];
byte vreq_epoch[PAIRS];

/* Orphans: given up, or their sender has gone. */
bool lost[NODES];
mtype lost_kind[NODES] = CONTINUE;
byte lost_epoch[NODES];
bool vlost[PAIRS];
mtype vlost_kind[PAIRS] = CLAIM;
byte vlost_epoch[PAIRS];
#ifdef LATE_ANSWER_FILLS
bool vlate[PAIRS];      /* the answer to a given-up claim that had succeeded */
#endif

/* --- agents */
mtype phase[NODES] = OFF;
byte mine[NODES];       /* the epoch that the agent is in */
bool fresh[NODES];      /* its presence is as it knows it */
bool asked[PAIRS];      /* an entry is asked of the kernel and not yet there */

byte faults; /* so far */

/* --- kernels */
byte left[NODES];       /* ticks to the deadline */
bool entry[PAIRS];
#ifdef HOLD
byte fuse[NODES];       /* ticks that it goes on past the deadline */
bool confirmed[PAIRS];  /* a renewal sent after the fill has succeeded */
bool silenced[PAIRS];   /* latched by a conflict */
bool may_hold[NODES];   /* agent: nothing but the API server's silence was met since the last renewal */
bool cut[NODES];        /* from the segment */
bool missed[PAIRS];     /* another's frames, meanwhile */
#define ANSWERS(k, a) \
  (entry[AT(k, a)] && !silenced[AT(k, a)] && !cut[k] && (left[k] > 0 || (fuse[k] > 0 && confirmed[AT(k, a)])))
#else
#define ANSWERS(k, a) (entry[AT(k, a)] && left[k] > 0)
#endif

#if NODES == 2
#define ANNOUNCERS(a) (ANSWERS(0, a) + ANSWERS(1, a))
#define ANY(p) (p(0) || p(1))
#define LIVE_BUT(k) IS_LIVE(1 - k)
#elif NODES == 3
#define ANNOUNCERS(a) (ANSWERS(0, a) + ANSWERS(1, a) + ANSWERS(2, a))
#define ANY(p) (p(0) || p(1) || p(2))
#define LIVE_BUT(k) (IS_LIVE((k + 1) % 3) || IS_LIVE((k + 2) % 3))
#endif

#if ADDRESSES == 1
#define FIRST true /* of a node's processes, one for each address: the one that sees to its presence */
#define ON_ANY(k, what) what[k]
#define AT_MOST_ONE assert(ANNOUNCERS(0) <= 1)
#define SOME_DARK (ANNOUNCERS(0) == 0)
#elif ADDRESSES == 2
#define FIRST (a == 0)
#define ON_ANY(k, what) (what[AT(k, 0)] || what[AT(k, 1)]) /* of any address */
#define OTHER(i) ((i) ^ 1) /* the other address, or where what a node has of it is kept */
#define AT_MOST_ONE assert(ANNOUNCERS(0) <= 1 && ANNOUNCERS(1) <= 1)
#define SOME_DARK (ANNOUNCERS(0) == 0 || ANNOUNCERS(1) == 0)
#endif

#ifdef LIVENESS
bool calm;              /* faults have ended */
#ifndef WITHIN
#define WITHIN (DURATION + 1) /* ticks: what remains of D, and the tick in which the kernels fall silent */
#endif
byte dark;              /* ticks in which an address had no announcer since then */
#define FAULTS (!calm && faults < MAX_FAULTS)
#define CHOICE (!calm)
#define RUNNING(k) (phase[k] != OFF)
#define MAX_EPOCH (EPOCHS + calm)
#define DUE(k) (!calm || left[k] < VALID)
#else
#define FAULTS (faults < MAX_FAULTS)
#define CHOICE true
#define MAX_EPOCH EPOCHS
#define DUE(k) true
#endif

#ifdef HOLD
#define IS_CUT(k) cut[k]
#define SEGMENT_IS_WHOLE (!ANY(IS_CUT))
#define SILENCED(i) silenced[i]
#define ELIGIBLE(k) (!cut[k]) /* it hears the segment: else its first pair would be lost */
#else
#define SEGMENT_IS_WHOLE true
#define SILENCED(i) false
#define ELIGIBLE(k) true
#endif

#define IS_LIVE(k) (phase[k] == LIVE && left[k] > 0)
#ifdef EPOCH_NOT_COMPARED
#define SAME_EPOCH(a, b) true
#else
#define SAME_EPOCH(a, b) (a == b)
#endif
#ifdef EPOCH_OF_ANOTHER /* address */
#define HELD_IN(a) vip_epoch[OTHER(a)]
#else
#define HELD_IN(a) vip_epoch[a]
#endif
#define OURS(k, a) (vip[a] == k && SAME_EPOCH(HELD_IN(a), mine[k]))
#define OVER(a) (vip[a] == NOBODY || !alive[vip[a]] || epoch[vip[a]] != HELD_IN(a))

/* Was this write made to what it believes? */
#ifdef PUT_WITHOUT_RV
#define CAS(f) true
#else
#define CAS(f) (f)
#endif

inline presence_written(k) {
  fresh[k] = false;
  req_fresh[k] = false;
#ifndef PUT_WITHOUT_RV
  /* All that is on its way to it will be refused. Nothing depends on when the 409 arrives: it is here at once. */
  clear_lost(k);
  if
  :: req[k] == FLIGHT ->
       clear_presence_request(k);
       if
       :: phase[k] == JOIN -> phase[k] = READ
       :: else
       fi
  :: else
  fi;
#endif
  still[k] = 0;
}

inline overtaken(i) {
  vreq_fresh[i] = false;
#ifndef PUT_WITHOUT_RV
  clear_vlost(i);
  if
  :: vreq[i] == FLIGHT -> clear_vip_request(i)
  :: else
  fi
#endif
}

inline vip_written(a) {
  overtaken(AT(0, a));
  overtaken(AT(1, a))
#if NODES == 3
  ; overtaken(AT(2, a))
#endif
}

inline execute_presence(k, kind, ep) {
  if
  :: kind == LEAVE -> alive[k] = false
  :: else -> alive[k] = true; epoch[k] = ep; this_boot[k] = true
  fi;
  presence_written(k)
}

inline execute_vip(k, a, kind, ep) {
  if
  :: kind == CLAIM -> vip[a] = k; vip_epoch[a] = ep
  :: else -> vip[a] = NOBODY; vip_epoch[a] = 0
  fi;
  vip_written(a)
}

/* The node gives its requests up; what was on its way may still be executed. One that is not fresh never will be. */
inline orphan_presence(k) {
  if
  :: req[k] == FLIGHT && CAS(req_fresh[k]) ->
       lost[k] = true; lost_kind[k] = req_kind[k]; lost_epoch[k] = req_epoch[k]
  :: else
  fi;
  clear_presence_request(k)
}

inline orphan_vip(i) {
  if
  :: vreq[i] == FLIGHT && CAS(vreq_fresh[i]) ->
       vlost[i] = true; vlost_kind[i] = vreq_kind[i]; vlost_epoch[i] = vreq_epoch[i]
#ifdef LATE_ANSWER_FILLS
  :: vreq[i] == OK && vreq_kind[i] == CLAIM -> vlate[i] = true
#endif
  :: else
  fi;
  clear_vip_request(i)
}

/* The process is gone, and with it what it asked of its kernel. */
inline orphan_vips(k) {
  orphan_vip(AT(k, 0)); asked[AT(k, 0)] = false
#if ADDRESSES == 2
  ; orphan_vip(AT(k, 1)); asked[AT(k, 1)] = false
#endif
}

/* Unused fields are zero, so that states that mean the same are the same. */
inline clear_presence_request(k) {
  req[k] = NONE; req_kind[k] = CONTINUE; req_epoch[k] = 0; req_age[k] = 0; req_fresh[k] = false;
  req_confirms[AT(k, 0)] = false
#if ADDRESSES == 2
  ; req_confirms[AT(k, 1)] = false
#endif
}

inline clear_vip_request(i) {
  vreq[i] = NONE; vreq_kind[i] = CLAIM; vreq_epoch[i] = 0; vreq_fresh[i] = false
}

inline clear_lost(k) { lost[k] = false; lost_kind[k] = CONTINUE; lost_epoch[k] = 0 }
inline clear_vlost(i) { vlost[i] = false; vlost_kind[i] = CLAIM; vlost_epoch[i] = 0 }

/* Empty the map and zero the deadline, confirmed (rule 2). */
inline silence(k) {
  left[k] = 0;
#ifdef HOLD
  fuse[k] = 0;
#endif
  drop_entry(AT(k, 0))
#if ADDRESSES == 2
  ; drop_entry(AT(k, 1))
#endif
}

inline drop_entry(i) {
  entry[i] = false;
#ifdef HOLD
  confirmed[i] = false; silenced[i] = false
#endif
}

#ifdef CONFIRMED_SINCE_CLAIM
#define CONFIRMS(i) (entry[i] || asked[i])
#else
#define CONFIRMS(i) (entry[i] && !asked[i])
#endif

inline send_presence(k, kind, ep) {
  req[k] = FLIGHT; req_kind[k] = kind; req_epoch[k] = ep; req_fresh[k] = true; req_age[k] = 0;
#ifdef HOLD
  req_confirms[AT(k, 0)] = CONFIRMS(AT(k, 0))
#if ADDRESSES == 2
  ; req_confirms[AT(k, 1)] = CONFIRMS(AT(k, 1))
#endif
#endif
}

inline send_vip(k, i, kind) {
  vreq[i] = FLIGHT; vreq_kind[i] = kind; vreq_epoch[i] = mine[k]; vreq_fresh[i] = true
}

inline confirm(i) {
  confirmed[i] = confirmed[i] || (req_confirms[i] && (entry[i] || asked[i]))
}

/* A renewal, or a process's first, has succeeded (rule 1). */
inline accept(k) {
  phase[k] = LIVE; mine[k] = req_epoch[k]; fresh[k] = req_fresh[k];
#ifdef VALID_FROM_ANSWER
  left[k] = VALID;
#else
  left[k] = (req_age[k] < VALID -> VALID - req_age[k] : 0);
#endif
#ifdef HOLD
  fuse[k] = 0;
#ifdef LATE_ANSWER_HOLDS
  may_hold[k] = true;
#else
  may_hold[k] = (left[k] > 0); /* an answer that comes past its own deadline proves nothing (rule 9) */
#endif
  confirm(AT(k, 0));
#if ADDRESSES == 2
  confirm(AT(k, 1));
#endif
#endif
  clear_presence_request(k);
  AT_MOST_ONE
}

/* A write that is executed and answered at once. */
inline write_presence(k, kind, ep) {
  send_presence(k, kind, ep);
  req[k] = OK;
  execute_presence(k, req_kind[k], req_epoch[k]);
  req_fresh[k] = true;
  accept(k)
}

inline before_release(i) {
#ifndef RELEASE_BEFORE_REMOVAL
  drop_entry(i)
#else
  skip
#endif
}

/* The first GARP/NA pair of node k for address a comes to node o (rule 8). */
#ifdef HOLD
inline frame(k, o, a) {
  if
  :: o == k
  :: o != k && cut[o] -> missed[AT(o, a)] = entry[AT(o, a)]
#if defined(HOLD_IGNORES_CONFLICTS)
  :: else
#elif defined(HOLD_WITHOUT_LATCH)
  :: o != k && !cut[o] && left[o] == 0 -> fuse[o] = 0
  :: else
#elif defined(HOLD_SILENCES_ONLY_ARMED)
  :: o != k && !cut[o] && left[o] == 0 && fuse[o] > 0 -> silenced[AT(o, a)] = entry[AT(o, a)]
  :: else
#else
  :: o != k && !cut[o] && left[o] == 0 -> silenced[AT(o, a)] = entry[AT(o, a)]
  :: else
#endif
  fi
}
#endif

#ifdef HOLD
inline mend_cut(k) {
  cut[k] = false; missed[AT(k, 0)] = false;
#if ADDRESSES == 2
  missed[AT(k, 1)] = false;
#endif
  AT_MOST_ONE
}
#endif

/* A claim has succeeded, before the deadline: pair, then entry (rule 4). */
inline won(k, a) {
#ifdef HOLD
  req_confirms[AT(k, a)] = false;
#ifndef FILL_BEFORE_PAIR
  frame(k, 0, a); frame(k, 1, a);
#if NODES == 3
  frame(k, 2, a);
#endif
#endif
#endif
#ifdef CLAIM_FILLS_ANOTHER /* address */
  asked[OTHER(AT(k, a))] = true
#else
  asked[AT(k, a)] = true
#endif
}

/* What a node does about one address, and, once for all of them, about its presence; and what befalls it. */
active [PAIRS] proctype Node() {
  byte i = _pid;
  byte n = i / ADDRESSES;
  byte a = i % ADDRESSES;
  do
  /* --- the agent and its presence */

  :: d_step { FIRST && phase[n] == OFF && CHOICE -> phase[n] = READ }

  /* Released or fenced: fall silent, then the next epoch (rule 2). The answer comes at once, or late. */
#define MAY_BEGIN(k) (phase[k] == READ && req[k] == NONE && !alive[k] && epoch[k] < MAX_EPOCH && !ON_ANY(k, asked))

  :: d_step { FIRST && MAY_BEGIN(n) -> silence(n); write_presence(n, NEXT, epoch[n] + 1) }
  :: d_step { FIRST && MAY_BEGIN(n) && FAULTS ->
       faults++; silence(n); phase[n] = JOIN; send_presence(n, NEXT, epoch[n] + 1) }

  /* The same epoch on the same boot: swap the nonce in by CAS (rule 7). */
#define MAY_CONTINUE(k) (phase[k] == READ && req[k] == NONE && alive[k] && this_boot[k] && !ON_ANY(k, asked))

#ifdef RESTART_WITHOUT_CAS
  :: d_step { FIRST && MAY_CONTINUE(n) -> send_presence(n, CONTINUE, epoch[n]); accept(n) }
#else
  :: d_step { FIRST && MAY_CONTINUE(n) -> write_presence(n, CONTINUE, epoch[n]) }
  :: d_step { FIRST && MAY_CONTINUE(n) && FAULTS -> faults++; phase[n] = JOIN; send_presence(n, CONTINUE, epoch[n]) }
#endif

  /* Another boot's: watch it, and fence it like everybody else. */
  :: d_step { FIRST && phase[n] == READ && alive[n] && !this_boot[n] && still[n] == DURATION ->
       presence_written(n); alive[n] = false }

  /* Renew (rule 1). */
#define MAY_RENEW(k) (phase[k] == LIVE && req[k] == NONE && fresh[k] && DUE(k))

  :: d_step { FIRST && MAY_RENEW(n) -> write_presence(n, CONTINUE, mine[n]) }
  :: d_step { FIRST && MAY_RENEW(n) && FAULTS -> faults++; send_presence(n, CONTINUE, mine[n]) }

  :: d_step { FIRST && req[n] == OK -> accept(n) }

  /* Read back: still mine, or lost (rule 2)? */
  :: d_step { FIRST && phase[n] == LIVE && !fresh[n] && req[n] == NONE ->
       if
       :: alive[n] && epoch[n] == mine[n] -> fresh[n] = true
       :: else ->
            phase[n] = READ; mine[n] = 0
#ifdef HOLD
            ; may_hold[n] = false
#endif
       fi }

  /* SIGTERM: fall silent, release the presence, end. The release is on its way when the process is gone (rule 5). */
  :: d_step { FIRST && phase[n] == LIVE && FAULTS && fresh[n] && !ON_ANY(n, asked) ->
       faults++;
#ifndef LEAVE_BEFORE_SILENCE
       silence(n);
#endif
       orphan_vips(n); clear_presence_request(n);
       req[n] = FLIGHT; req_kind[n] = LEAVE; req_fresh[n] = true; orphan_presence(n);
       phase[n] = OFF; mine[n] = 0; fresh[n] = false
#ifdef HOLD
       ; may_hold[n] = false
#endif
     }

  /* Fence whoever has been still for its D (rule 3); n is the target, the fencer another node that is itself live.
   * By CAS: a fence that succeeds late found the presence as still as one that succeeds at once. */
  :: d_step { FIRST && alive[n] && still[n] == DURATION && LIVE_BUT(n) ->
#ifdef FENCE_WITHOUT_CAS
       fence[n] = true }
  :: d_step { FIRST && fence[n] && alive[n] ->
       fence[n] = false;
#endif
       presence_written(n); alive[n] = false }

  /* --- Hold (rule 8) */
#ifdef HOLD
  :: d_step { FIRST && phase[n] == LIVE && left[n] == 0 && may_hold[n] && !cut[n] && fuse[n] < FUSE ->
       fuse[n] = FUSE; AT_MOST_ONE }
#ifndef HOLD_WITHOUT_HEARING
  :: d_step { FIRST && phase[n] == LIVE && left[n] == 0 && may_hold[n] && cut[n] -> may_hold[n] = false; fuse[n] = 0 }
#endif
  :: d_step { FIRST && !cut[n] && FAULTS -> faults++; cut[n] = true }
  /* A cut in which frames were missed lasts until it is noticed, or the fuse is out and nobody feeds it. */
#ifdef HOLD_WITHOUT_HEARING
  :: d_step { FIRST && cut[n] -> mend_cut(n) }
#else
  :: d_step { FIRST && cut[n] && (!ON_ANY(n, missed) || (fuse[n] == 0 && !may_hold[n])) -> mend_cut(n) }
#endif
#endif

  /* --- the API server executes, or nobody ever will */

  :: d_step { FIRST && req[n] == FLIGHT && CAS(req_fresh[n]) ->
       req[n] = OK; execute_presence(n, req_kind[n], req_epoch[n]); req_fresh[n] = true }
  :: d_step { FIRST && lost[n] -> execute_presence(n, lost_kind[n], lost_epoch[n]); clear_lost(n) }
  :: d_step { FIRST && lost[n] && !CHOICE -> clear_lost(n) }

  /* --- faults */

  :: d_step { FIRST && req[n] != NONE && phase[n] != OFF ->
       orphan_presence(n);
       if
       :: phase[n] == JOIN -> phase[n] = READ
       :: else
       fi }

  /* The agent is killed; its kernel goes on. */
  :: d_step { FIRST && phase[n] != OFF && FAULTS ->
       faults++;
       orphan_presence(n); orphan_vips(n);
       phase[n] = OFF; mine[n] = 0; fresh[n] = false
#ifdef HOLD
       ; may_hold[n] = false
#endif
     }

  /* The node crashes, kernel and all. */
  :: d_step { FIRST && phase[n] == OFF && FAULTS && (this_boot[n] || ON_ANY(n, entry)) ->
       faults++; silence(n); this_boot[n] = false }

  /* --- the agent and the VIP lease (rule 4) */

  /* Free, or mine without an entry: claim. The answer comes at once, or late. */
#define MAY_CLAIM \
  (IS_LIVE(n) && ELIGIBLE(n) && vreq[i] == NONE && !asked[i] && \
   (OVER(a) || (OURS(n, a) && !(entry[i] && !SILENCED(i)))))

  :: d_step { MAY_CLAIM -> execute_vip(n, a, CLAIM, mine[n]); won(n, a) }
  :: d_step { MAY_CLAIM && FAULTS -> faults++; send_vip(n, i, CLAIM) }

  :: d_step { vreq[i] == OK ->
       if
       :: IS_LIVE(n) && ELIGIBLE(n) && !asked[i] && SAME_EPOCH(vreq_epoch[i], mine[n]) ->
            clear_vip_request(i); won(n, a)
       :: else -> clear_vip_request(i)
       fi }

#ifdef FILL_ON_READ
  :: d_step { IS_LIVE(n) && OURS(n, a) && vreq[i] == NONE && !asked[i] && !entry[i] -> won(n, a) }
#endif
#ifdef LATE_ANSWER_FILLS
  :: d_step { vlate[i] && IS_LIVE(n) && !asked[i] -> vlate[i] = false; won(n, a) }
#endif

  /* The entry comes into the map when it comes. */
  :: d_step { asked[i] ->
       asked[i] = false; entry[i] = true;
#ifdef HOLD
#ifndef CONFIRMED_SINCE_CLAIM
       confirmed[i] = false; req_confirms[i] = false;
#endif
       silenced[i] = false;
#ifdef CLAIM_ENDS_EVERY_SILENCE
       silenced[OTHER(i)] = false;
#endif
#endif
       AT_MOST_ONE }

  /* The watch shows a VIP lease that is not mine: nothing here may answer for it. */
  :: d_step { phase[n] == LIVE && !OURS(n, a) && !asked[i] &&
       (entry[i] || (vreq[i] == OK && !vreq_fresh[i])) ->
       drop_entry(i);
       if
       :: vreq[i] == OK && !vreq_fresh[i] -> clear_vip_request(i)
       :: else
       fi }

  /* Hand over: the entry goes, then the holder is cleared (rule 5). */
#define MAY_RELEASE (phase[n] == LIVE && CHOICE && OURS(n, a) && vreq[i] == NONE && !asked[i])

  :: d_step { MAY_RELEASE -> before_release(i); execute_vip(n, a, RELEASE, 0) }
  :: d_step { MAY_RELEASE && FAULTS -> faults++; before_release(i); send_vip(n, i, RELEASE) }

  /* The API server executes, or nobody ever will. */
  :: d_step { vreq[i] == FLIGHT && CAS(vreq_fresh[i]) ->
       vreq[i] = OK; execute_vip(n, a, vreq_kind[i], vreq_epoch[i]);
       if
       :: vreq_kind[i] == CLAIM -> vreq_fresh[i] = true
       :: else -> clear_vip_request(i) /* the answer to a release says nothing */
       fi }
  :: d_step { vlost[i] -> execute_vip(n, a, vlost_kind[i], vlost_epoch[i]); clear_vlost(i) }
  :: d_step { vlost[i] && !CHOICE -> clear_vlost(i) }

  /* It is given up. */
  :: d_step { vreq[i] != NONE && phase[n] != OFF -> orphan_vip(i) }
  od
}

/* One tick. */
inline tick() {
#ifdef LIVENESS
  if
  :: calm && SOME_DARK -> dark++; assert(dark <= WITHIN)
  :: calm && !SOME_DARK -> dark = 0
  :: else
  fi;
#endif
  k = 0;
  do
  :: k < NODES ->
       if
       :: left[k] > 0 -> left[k]--
       :: else
       fi;
       if
       :: alive[k] && still[k] < DURATION -> still[k]++
       :: else
       fi;
       if
       :: req[k] != NONE && req_age[k] < VALID -> req_age[k]++
       :: else
       fi;
#ifdef HOLD
       if
       :: fuse[k] > 0 -> fuse[k]--
       :: else
       fi;
#endif
       k++
  :: else -> break
  od;
  k = 0
}

active proctype Clock() {
  byte k;
  do
#ifdef LIVENESS
  :: d_step { !calm -> tick() }
  :: atomic { calm && timeout -> d_step { tick() } } /* once nothing else can be done */
  :: d_step { !calm && ANY(RUNNING) && SEGMENT_IS_WHOLE -> calm = true }
#else
  :: d_step { true -> tick() }
#endif
  od
}
