import type { Context } from 'hono'
import type { Role } from '@errand/shared'
import type { AppEnv } from './app-env.ts'
import { Problem } from './problem.ts'

/** Refuses keys of other roles. `admin` may do everything and need not be named. */
export function requireRole(c: Context<AppEnv>, ...roles: Role[]): void {
  const { role } = c.get('principal')
  if (role === 'admin' || roles.includes(role)) return
  throw new Problem('forbidden', `A key with the role ${role} may not do that.`)
}

/** The project whose jobs this key sees, or null when it sees them all. */
export function visibleProject(c: Context<AppEnv>): string | null {
  const { role, project } = c.get('principal')
  return role === 'admin' ? null : project
}
