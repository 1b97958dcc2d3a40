import { constants } from 'node:os'

/** `SIGSEGV` of 11; real-time signals have no names of their own. */
export function signalName(number: number): string {
  const known = Object.entries(constants.signals).find(([, value]) => value === number)
  return known?.[0] ?? `SIG${number}`
}
