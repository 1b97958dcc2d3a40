// Read once: each look into the environment costs as much as a write to a disk.
const [crashAt, crashWith] = process.env['ERRAND_CRASH_AT']?.split('/') ?? []

/** Whether tests want this process to die anywhere: elsewhere no point need be looked at. */
export const hasCrashPoint = crashAt !== undefined

/**
 * Dies here, as a power cut of the process would have it, when `ERRAND_CRASH_AT` names this point: with whatever job, or as
 * `POINT/ID` with that one alone.
 */
export function crashPoint(point: string, id?: string): void {
  if (crashAt === point && (crashWith === undefined || crashWith === id)) process.kill(process.pid, 'SIGKILL')
}
