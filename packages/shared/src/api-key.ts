import { z } from 'zod'

/** `admin` may do everything; `runner` submits and sees its project; `viewer` sees its project. */
export const role = z.enum(['admin', 'runner', 'viewer'])
export type Role = z.infer<typeof role>

/** Whoever a request comes from, once its key is known. */
export interface Principal {
  key_id: string
  name: string
  role: Role
  project: string
}
