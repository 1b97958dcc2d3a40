/** Whether a statement was refused since another row has that name or key already (SQLSTATE 23505). */
export function isUniqueViolation(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if ((at as { code?: unknown }).code === '23505') return true
  return false
}
