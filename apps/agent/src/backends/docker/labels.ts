/** By these labels, and by nothing else, we know what is ours on an Engine. */
export const labels = {
  /** The agent's mark. */
  agent: 'io.errand.agent',
  execution: 'io.errand.execution',
  fence: 'io.errand.fence',
  /** Unix seconds; whoever is there longer was forgotten. */
  expiresAt: 'io.errand.expires-at',
  /** SHA-256 of the box that a volume holds. */
  box: 'io.errand.box',
  /** The hash of the dependency set that a volume is for; whether it is whole its agent knows. */
  set: 'io.errand.set',
} as const

/** For what is needed during `ms` and then a minute. */
export function expiresIn(ms: number): Record<string, string> {
  return { [labels.expiresAt]: String(Math.ceil((Date.now() + ms) / 1_000) + 60) }
}
