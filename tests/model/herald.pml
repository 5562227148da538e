/* Copyright: (c) 2026, Herald contributors
 * SPDX-License-Identifier: Apache-2.0
 *
 * Who announces an address: presences, VIP lease and kernels of N nodes, for spin.
 * Rule numbers are those of docs/design/election.md. README.md says what is bounded and why the abstractions hold.
 *
 * Nothing here has to happen in time: an agent may act, or wait for ever (a pause, a hang, a kill); a request may be
 * executed at once, late, after its sender gave it up or died, or never; an answer may come or not. Only the Clock
 * goes on for all, and the kernels obey it.
 *
 * resourceVersions are modelled by what they decide: of everything that was read from, or is on its way to, an object,
 * whether the object is still as it was then ("fresh"). A write that is not fresh is a 409.
 *
 * -DNODES=3  -DDURATION=4  -DEPOCHS=2  -DHOLD (else Withdraw)  -DLIVENESS (what is found again, once faults have ended)
 */

#ifndef NODES
#define NODES 3
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

mtype = { OFF, READ, JOIN, LIVE };          /* an agent's phase; OFF: killed, stopped, not started */
mtype = { NONE, FLIGHT, OK };               /* a request: none; on its way; executed, its answer on the way */
mtype = { CONTINUE, NEXT, LEAVE };          /* writes to one's presence: renewal (also a process's first), epoch, release */
mtype = { CLAIM, RELEASE };                 /* writes to the VIP lease */

/* --- at the API server */
bool alive[NODES];      /* presence: it has a holder */
byte epoch[NODES];      /* presence: its epoch */
bool this_boot[NODES];  /* presence: its instance names the machine's present boot */
byte still[NODES];      /* ticks since its last change, up to D: what an observer in touch has counted at most */
byte vip = NOBODY;      /* VIP lease: holder */
byte vip_epoch;         /* VIP lease: holder's epoch */

/* --- on their way */
#ifdef FENCE_WITHOUT_CAS
bool fence[NODES];      /* somebody's fence of this presence */
#endif

mtype req[NODES] = NONE; /* a node's request for its presence */
mtype req_kind[NODES] = CONTINUE;
bool req_fresh[NODES];
byte req_epoch[NODES];
byte req_age[NODES];    /* ticks since before it was sent */
bool req_confirms[NODES]; /* the entry was there when it was sent */

mtype vreq[NODES] = NONE; /* a node's request for the VIP lease */
mtype vreq_kind[NODES] = CLAIM;
bool vreq_fresh[NODES];
byte vreq_epoch[NODES];

/* Orphans: given up, or their sender has gone. */
bool lost[NODES];
mtype lost_kind[NODES] = CONTINUE;
byte lost_epoch[NODES];
bool vlost[NODES];
mtype vlost_kind[NODES] = CLAIM;
byte vlost_epoch[NODES];
#ifdef LATE_ANSWER_FILLS
bool vlate[NODES];      /* the answer to a given-up claim that had succeeded */
#endif

/* --- agents */
mtype phase[NODES] = OFF;
byte mine[NODES];       /* the epoch that the agent is in */
bool fresh[NODES];      /* its presence is as it knows it */
bool asked[NODES];      /* its entry is asked of the kernel and not yet there */

byte faults; /* so far */

/* --- kernels */
byte left[NODES];       /* ticks to the deadline */
bool entry[NODES];
#ifdef HOLD
byte fuse[NODES];       /* ticks that it goes on past the deadline */
bool confirmed[NODES];  /* a renewal sent after the fill has succeeded */
bool silenced[NODES];   /* latched by a conflict */
bool may_hold[NODES];   /* agent: nothing but the API server's silence was met since the last renewal */
bool cut[NODES];        /* from the segment */
bool missed[NODES];     /* another's frames, meanwhile */
#define ANSWERS(k) (entry[k] && !silenced[k] && !cut[k] && (left[k] > 0 || (fuse[k] > 0 && confirmed[k])))
#else
#define ANSWERS(k) (entry[k] && left[k] > 0)
#endif

#if NODES == 2
#define ANNOUNCERS (ANSWERS(0) + ANSWERS(1))
#define ANY(p) (p(0) || p(1))
#define LIVE_BUT(k) IS_LIVE(1 - k)
#elif NODES == 3
#define ANNOUNCERS (ANSWERS(0) + ANSWERS(1) + ANSWERS(2))
#define ANY(p) (p(0) || p(1) || p(2))
#define LIVE_BUT(k) (IS_LIVE((k + 1) % 3) || IS_LIVE((k + 2) % 3))
#endif

#define AT_MOST_ONE assert(ANNOUNCERS <= 1)

#ifdef LIVENESS
bool calm;              /* faults have ended */
#ifndef WITHIN
#define WITHIN (DURATION + 1) /* ticks: what remains of D, and the tick in which the kernels fall silent */
#endif
byte dark;              /* ticks without an announcer since then */
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
#define SILENCED(k) silenced[k]
#define ELIGIBLE(k) (!cut[k]) /* it hears the segment: else its first pair would be lost */
#else
#define SEGMENT_IS_WHOLE true
#define SILENCED(k) false
#define ELIGIBLE(k) true
#endif

#define IS_LIVE(k) (phase[k] == LIVE && left[k] > 0)
#ifdef EPOCH_NOT_COMPARED
#define SAME_EPOCH(a, b) true
#else
#define SAME_EPOCH(a, b) (a == b)
#endif
#define OURS(k) (vip == k && SAME_EPOCH(vip_epoch, mine[k]))
#define OVER (vip == NOBODY || !alive[vip] || epoch[vip] != vip_epoch)

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

inline overtaken(k) {
  vreq_fresh[k] = false;
#ifndef PUT_WITHOUT_RV
  clear_vlost(k);
  if
  :: vreq[k] == FLIGHT -> clear_vip_request(k)
  :: else
  fi
#endif
}

inline vip_written() {
  overtaken(0);
  overtaken(1)
#if NODES == 3
  ; overtaken(2)
#endif
}

inline execute_presence(k, kind, ep) {
  if
  :: kind == LEAVE -> alive[k] = false
  :: else -> alive[k] = true; epoch[k] = ep; this_boot[k] = true
  fi;
  presence_written(k)
}

inline execute_vip(k, kind, ep) {
  if
  :: kind == CLAIM -> vip = k; vip_epoch = ep
  :: else -> vip = NOBODY; vip_epoch = 0
  fi;
  vip_written()
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

inline orphan_vip(k) {
  if
  :: vreq[k] == FLIGHT && CAS(vreq_fresh[k]) ->
       vlost[k] = true; vlost_kind[k] = vreq_kind[k]; vlost_epoch[k] = vreq_epoch[k]
#ifdef LATE_ANSWER_FILLS
  :: vreq[k] == OK && vreq_kind[k] == CLAIM -> vlate[k] = true
#endif
  :: else
  fi;
  clear_vip_request(k)
}

/* Unused fields are zero, so that states that mean the same are the same. */
inline clear_presence_request(k) {
  req[k] = NONE; req_kind[k] = CONTINUE; req_epoch[k] = 0; req_age[k] = 0; req_fresh[k] = false;
  req_confirms[k] = false
}

inline clear_vip_request(k) {
  vreq[k] = NONE; vreq_kind[k] = CLAIM; vreq_epoch[k] = 0; vreq_fresh[k] = false
}

inline clear_lost(k) { lost[k] = false; lost_kind[k] = CONTINUE; lost_epoch[k] = 0 }
inline clear_vlost(k) { vlost[k] = false; vlost_kind[k] = CLAIM; vlost_epoch[k] = 0 }

/* Empty the map and zero the deadline, confirmed (rule 2). */
inline silence(k) {
  entry[k] = false; left[k] = 0;
#ifdef HOLD
  fuse[k] = 0; confirmed[k] = false; silenced[k] = false
#endif
}

inline drop_entry(k) {
  entry[k] = false;
#ifdef HOLD
  confirmed[k] = false; silenced[k] = false
#endif
}

inline send_presence(k, kind, ep) {
  req[k] = FLIGHT; req_kind[k] = kind; req_epoch[k] = ep; req_fresh[k] = true; req_age[k] = 0;
#ifdef HOLD
#ifdef CONFIRMED_SINCE_CLAIM
  req_confirms[k] = entry[k] || asked[k]
#else
  req_confirms[k] = entry[k] && !asked[k]
#endif
#endif
}

inline send_vip(k, kind) {
  vreq[k] = FLIGHT; vreq_kind[k] = kind; vreq_epoch[k] = mine[k]; vreq_fresh[k] = true
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
  confirmed[k] = confirmed[k] || (req_confirms[k] && (entry[k] || asked[k]));
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

inline before_release(k) {
#ifndef RELEASE_BEFORE_REMOVAL
  drop_entry(k)
#else
  skip
#endif
}

/* The first GARP/NA pair of node k comes to node o (rule 8). */
#ifdef HOLD
inline frame(k, o) {
  if
  :: o == k
  :: o != k && cut[o] -> missed[o] = entry[o]
#if defined(HOLD_IGNORES_CONFLICTS)
  :: else
#elif defined(HOLD_WITHOUT_LATCH)
  :: o != k && !cut[o] && left[o] == 0 -> fuse[o] = 0
  :: else
#elif defined(HOLD_SILENCES_ONLY_ARMED)
  :: o != k && !cut[o] && left[o] == 0 && fuse[o] > 0 -> silenced[o] = entry[o]
  :: else
#else
  :: o != k && !cut[o] && left[o] == 0 -> silenced[o] = entry[o]
  :: else
#endif
  fi
}
#endif

/* A claim has succeeded, before the deadline: pair, then entry (rule 4). */
inline won(k) {
#ifdef HOLD
  req_confirms[k] = false;
#ifndef FILL_BEFORE_PAIR
  frame(k, 0); frame(k, 1);
#if NODES == 3
  frame(k, 2);
#endif
#endif
#endif
  asked[k] = true
}

active [NODES] proctype Node() {
  byte n = _pid;
  do
  /* --- the agent and its presence */

  :: d_step { phase[n] == OFF && CHOICE -> phase[n] = READ }

  /* Released or fenced: fall silent, then the next epoch (rule 2). The answer comes at once, or late. */
#define MAY_BEGIN(k) (phase[k] == READ && req[k] == NONE && !alive[k] && epoch[k] < MAX_EPOCH && !asked[k])

  :: d_step { MAY_BEGIN(n) -> silence(n); write_presence(n, NEXT, epoch[n] + 1) }
  :: d_step { MAY_BEGIN(n) && FAULTS -> faults++; silence(n); phase[n] = JOIN; send_presence(n, NEXT, epoch[n] + 1) }

  /* The same epoch on the same boot: swap the nonce in by CAS (rule 7). */
#define MAY_CONTINUE(k) (phase[k] == READ && req[k] == NONE && alive[k] && this_boot[k] && !asked[k])

#ifdef RESTART_WITHOUT_CAS
  :: d_step { MAY_CONTINUE(n) -> send_presence(n, CONTINUE, epoch[n]); accept(n) }
#else
  :: d_step { MAY_CONTINUE(n) -> write_presence(n, CONTINUE, epoch[n]) }
  :: d_step { MAY_CONTINUE(n) && FAULTS -> faults++; phase[n] = JOIN; send_presence(n, CONTINUE, epoch[n]) }
#endif

  /* Another boot's: watch it, and fence it like everybody else. */
  :: d_step { phase[n] == READ && alive[n] && !this_boot[n] && still[n] == DURATION ->
       presence_written(n); alive[n] = false }

  /* Renew (rule 1). */
#define MAY_RENEW(k) (phase[k] == LIVE && req[k] == NONE && fresh[k] && DUE(k))

  :: d_step { MAY_RENEW(n) -> write_presence(n, CONTINUE, mine[n]) }
  :: d_step { MAY_RENEW(n) && FAULTS -> faults++; send_presence(n, CONTINUE, mine[n]) }

  :: d_step { req[n] == OK -> accept(n) }

  /* Read back: still mine, or lost (rule 2)? */
  :: d_step { phase[n] == LIVE && !fresh[n] && req[n] == NONE ->
       if
       :: alive[n] && epoch[n] == mine[n] -> fresh[n] = true
       :: else ->
            phase[n] = READ; mine[n] = 0
#ifdef HOLD
            ; may_hold[n] = false
#endif
       fi }

  /* SIGTERM: fall silent, release the presence, end. The release is on its way when the process is gone (rule 5). */
  :: d_step { phase[n] == LIVE && FAULTS && fresh[n] && !asked[n] ->
       faults++;
#ifndef LEAVE_BEFORE_SILENCE
       silence(n);
#endif
       orphan_vip(n); clear_presence_request(n);
       req[n] = FLIGHT; req_kind[n] = LEAVE; req_fresh[n] = true; orphan_presence(n);
       phase[n] = OFF; mine[n] = 0; fresh[n] = false; asked[n] = false
#ifdef HOLD
       ; may_hold[n] = false
#endif
     }

  /* Fence whoever has been still for its D (rule 3); n is the target, the fencer another node that is itself live.
   * By CAS: a fence that succeeds late found the presence as still as one that succeeds at once. */
  :: d_step { alive[n] && still[n] == DURATION && LIVE_BUT(n) ->
#ifdef FENCE_WITHOUT_CAS
       fence[n] = true }
  :: d_step { fence[n] && alive[n] ->
       fence[n] = false;
#endif
       presence_written(n); alive[n] = false }

  /* --- the agent and the VIP lease (rule 4) */

  /* Free, or mine without an entry: claim. The answer comes at once, or late. */
#define MAY_CLAIM(k) \
  (IS_LIVE(k) && ELIGIBLE(k) && vreq[k] == NONE && !asked[k] && (OVER || (OURS(k) && !(entry[k] && !SILENCED(k)))))

  :: d_step { MAY_CLAIM(n) -> execute_vip(n, CLAIM, mine[n]); won(n) }
  :: d_step { MAY_CLAIM(n) && FAULTS -> faults++; send_vip(n, CLAIM) }

  :: d_step { vreq[n] == OK ->
       if
       :: IS_LIVE(n) && ELIGIBLE(n) && !asked[n] && SAME_EPOCH(vreq_epoch[n], mine[n]) -> clear_vip_request(n); won(n)
       :: else -> clear_vip_request(n)
       fi }

#ifdef FILL_ON_READ
  :: d_step { IS_LIVE(n) && OURS(n) && vreq[n] == NONE && !asked[n] && !entry[n] -> won(n) }
#endif
#ifdef LATE_ANSWER_FILLS
  :: d_step { vlate[n] && IS_LIVE(n) && !asked[n] -> vlate[n] = false; won(n) }
#endif

  /* The entry comes into the map when it comes. */
  :: d_step { asked[n] ->
       asked[n] = false; entry[n] = true;
#ifdef HOLD
#ifndef CONFIRMED_SINCE_CLAIM
       confirmed[n] = false; req_confirms[n] = false;
#endif
       silenced[n] = false;
#endif
       AT_MOST_ONE }

  /* The watch shows a VIP lease that is not mine: nothing here may answer for it. */
  :: d_step { phase[n] == LIVE && !OURS(n) && !asked[n] &&
       (entry[n] || (vreq[n] == OK && !vreq_fresh[n])) ->
       drop_entry(n);
       if
       :: vreq[n] == OK && !vreq_fresh[n] -> clear_vip_request(n)
       :: else
       fi }

  /* Hand over: the entry goes, then the holder is cleared (rule 5). */
#define MAY_RELEASE(k) (phase[k] == LIVE && CHOICE && OURS(k) && vreq[k] == NONE && !asked[k])

  :: d_step { MAY_RELEASE(n) -> before_release(n); execute_vip(n, RELEASE, 0) }
  :: d_step { MAY_RELEASE(n) && FAULTS -> faults++; before_release(n); send_vip(n, RELEASE) }

  /* --- Hold (rule 8) */
#ifdef HOLD
  :: d_step { phase[n] == LIVE && left[n] == 0 && may_hold[n] && !cut[n] && fuse[n] < FUSE ->
       fuse[n] = FUSE; AT_MOST_ONE }
#ifndef HOLD_WITHOUT_HEARING
  :: d_step { phase[n] == LIVE && left[n] == 0 && may_hold[n] && cut[n] -> may_hold[n] = false; fuse[n] = 0 }
#endif
  :: d_step { !cut[n] && FAULTS -> faults++; cut[n] = true }
  /* A cut in which frames were missed lasts until it is noticed, or the fuse is out and nobody feeds it. */
#ifdef HOLD_WITHOUT_HEARING
  :: d_step { cut[n] -> cut[n] = false; missed[n] = false; AT_MOST_ONE }
#else
  :: d_step { cut[n] && (!missed[n] || (fuse[n] == 0 && !may_hold[n])) ->
       cut[n] = false; missed[n] = false; AT_MOST_ONE }
#endif
#endif

  /* --- the API server executes, or nobody ever will */

  :: d_step { req[n] == FLIGHT && CAS(req_fresh[n]) ->
       req[n] = OK; execute_presence(n, req_kind[n], req_epoch[n]); req_fresh[n] = true }
  :: d_step { vreq[n] == FLIGHT && CAS(vreq_fresh[n]) ->
       vreq[n] = OK; execute_vip(n, vreq_kind[n], vreq_epoch[n]);
       if
       :: vreq_kind[n] == CLAIM -> vreq_fresh[n] = true
       :: else -> clear_vip_request(n) /* the answer to a release says nothing */
       fi }
  :: d_step { lost[n] -> execute_presence(n, lost_kind[n], lost_epoch[n]); clear_lost(n) }
  :: d_step { vlost[n] -> execute_vip(n, vlost_kind[n], vlost_epoch[n]); clear_vlost(n) }
  :: d_step { lost[n] && !CHOICE -> clear_lost(n) }
  :: d_step { vlost[n] && !CHOICE -> clear_vlost(n) }

  /* --- faults */

  :: d_step { req[n] != NONE && phase[n] != OFF ->
       orphan_presence(n);
       if
       :: phase[n] == JOIN -> phase[n] = READ
       :: else
       fi }
  :: d_step { vreq[n] != NONE && phase[n] != OFF -> orphan_vip(n) }

  /* The agent is killed; its kernel goes on. */
  :: d_step { phase[n] != OFF && FAULTS ->
       faults++;
       orphan_presence(n); orphan_vip(n);
       phase[n] = OFF; mine[n] = 0; fresh[n] = false; asked[n] = false
#ifdef HOLD
       ; may_hold[n] = false
#endif
     }

  /* The node crashes, kernel and all. */
  :: d_step { phase[n] == OFF && FAULTS && (this_boot[n] || entry[n]) -> faults++; silence(n); this_boot[n] = false }
  od
}

/* One tick. */
inline tick() {
#ifdef LIVENESS
  if
  :: calm && ANNOUNCERS == 0 -> dark++; assert(dark <= WITHIN)
  :: calm && ANNOUNCERS > 0 -> dark = 0
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
