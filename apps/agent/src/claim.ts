/** What every message about a job is bound to: the job and the number of its claim. */
export interface Claim {
  id: string
  fence: number
}

/** The claim as the key of a map. */
export function claimKey({ id, fence }: Claim): string {
  return `${id}/${fence}`
}
