const KiB = 1024
const MiB = 1024 * KiB

/** Sizes in bytes unless the name says otherwise. Each is where a promise or a refusal says "too large". */
export const sizeLimits = {
  /** One request body. */
  body: 16 * MiB,
  /** JSON nesting: PostgreSQL and readers stay far from their own limits. */
  jsonDepth: 32,
  /** Inputs above this go by `/agents/work/{id}/input`, not through the socket. */
  socketInput: 64 * KiB,
  /** One output chunk on the socket, and the most output that rides in the final message (both streams together). */
  outputChunk: 64 * KiB,
  /** One WebSocket frame, header and payload. */
  frame: 256 * KiB,
  /** Output that an agent has sent for one execution and the API has not acknowledged. */
  outputWindow: 512 * KiB,
  /** What may wait in a socket's send buffer before the source is slowed. */
  socketBuffer: 4 * MiB,
  /** What a compile step may print per stream; more is cut and said. */
  compileOutput: 64 * KiB,
  /** How much of each stream the JSON of a record shows as text; all of it is at `/stdout` and `/stderr`. */
  recordOutput: 4 * MiB,
  /** The largest `output_limit_kb` a caller or executor may set, in KiB (64 MiB). */
  outputLimitKb: 64 * KiB,
  /** The log of one attempt of a maintenance job, in KiB; more is cut. */
  jobLogKb: 256,
  /** All arguments together. */
  args: 1 * MiB,
  /** Files of one execution, and the bytes of one path. */
  files: 1_000,
  path: 1_024,
  pathSegment: 255,
} as const
