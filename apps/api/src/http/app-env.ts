import type { Principal } from '@errand/shared'

/** What a request carries besides itself. */
export interface AppEnv {
  Variables: {
    requestId: string
    /** Set by the authenticator: not there on keyless routes. */
    principal: Principal
  }
}
