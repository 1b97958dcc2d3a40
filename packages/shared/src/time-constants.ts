/**
 * All the waits that the promises of leases and delivery are made of, in milliseconds, in one object so that tests
 * shrink them together. Their relations matter more than their values: a renewal fits several times into a lease,
 * the stand-still covers one whole reconnect window, `lostAfterMs` covers a promised outage, the window and a start.
 */
export const timeConstants = {
  /** An agent's right to its jobs after the last renewal. */
  leaseMs: 30_000,
  /** An agent renews at least this often. */
  renewEveryMs: 10_000,
  /** Replicas write `api_alive_at` this often. */
  beatEveryMs: 5_000,
  /** A beat that finds a longer gap than this stands expiry still. */
  beatGapMs: 10_000,
  /** For how long expiry then stands still. */
  standStillMs: 75_000,
  /** Without an acknowledged renewal for this long the agent ends its jobs. */
  lostAfterMs: 180_000,
  /** A run shorter than this is never stored as `running`. */
  runningAfterMs: 250,
  /** Output waits at most this long, or 64 KiB, before it is sent. */
  flushEveryMs: 50,
  /** Each side pings an idle socket this often and gives up after two misses. */
  pingEveryMs: 10_000,
  /** The first and the largest reconnect window; each failure doubles it, the delay is drawn from all of it. */
  reconnectMinMs: 1_000,
  reconnectMaxMs: 64_000,
  /** A session that has lasted so long makes the next window the first again. */
  stableMs: 60_000,
  /** An API that goes down spreads the return of its agents over this for each of them. */
  reconnectSpreadMs: 20,
  /** An API lets no more agents in than one each so often, of many that come at once. */
  admitEveryMs: 10,
  /** An API that goes down and is not the only one still answers for this long, while balancers learn of it. */
  notReadyMs: 3_000,
  /** Hints to other replicas are gathered for this long. */
  hintEveryMs: 10,
  /** A socket that has not proved who it is by then is closed. */
  handshakeMs: 5_000,
  /** An agent looks this often whether a backend has come or gone. */
  probeEveryMs: 15_000,
  /** The slow poll that is the truth behind every hint: unclaimed work, missed notices. */
  pollEveryMs: 1_000,
  /** The first delay of a retry; doubles each attempt, with full jitter, up to the largest. */
  retryMinMs: 1_000,
  retryMaxMs: 60_000,
  /** After its program ended, output pipes that a background child still holds are read for at most this long. */
  drainMs: 500,
  /** An agent looks this often for dependency sets that are too old. */
  tidyEveryMs: 3_600_000,
  /** A job that was unlocked goes to nobody but the agent that has what it waited for, for this long. */
  preferAgentMs: 10_000,
  /** A Docker Engine that has not answered by then is taken for one that hangs. */
  engineAnswerMs: 30_000,
  /** So is one that says nothing for so long of a pull, which itself may take any time. */
  pullSilenceMs: 120_000,
  /** An Engine that has gone may be back within this, before what ran there is lost. */
  engineBackMs: 20_000,
  /** How long a connected agent has to answer a cancel before the API asks again. */
  cancelAgainMs: 2_000,
  /** An agent that has lived so long with a job that it adopted did not die of it. */
  adoptionProvedMs: 1_000,
  /** Figures for `/metrics` and `/stats` are read no more often than this. */
  figuresEveryMs: 1_000,
  /** A scrape waits no longer for the database. */
  figuresWithinMs: 3_000,
  /** An agent answers a check of an executor within this; the API waits a handshake longer. */
  checkMs: 20_000,
}

export type TimeConstants = typeof timeConstants

/** The same constants, all multiplied: tests run at a tenth. `scale` is above 0 and at most 1. */
export function scaleTime(scale: number): TimeConstants {
  const scaled = Object.entries(timeConstants).map(([key, ms]) => [key, Math.max(1, Math.round(ms * scale))])
  return Object.fromEntries(scaled) as TimeConstants
}
