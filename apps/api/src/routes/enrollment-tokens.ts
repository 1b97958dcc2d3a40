import { Hono } from 'hono'
import { newEnrollmentToken } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { requireRole } from '../http/require-role.ts'
import { noQuery, validBody, validQuery } from '../http/validate.ts'
import { audit } from '../store/audit.ts'
import {
  createEnrollmentToken,
  deleteEnrollmentToken,
  listEnrollmentTokens,
} from '../store/enrollment-tokens.ts'

/** Tokens that let an agent in, once. For admins; a token is shown only where it is made. */
export function enrollmentTokenRoutes({ db }: Pick<Parts, 'db'>) {
  return new Hono<AppEnv>()
    .get('/enrollment-tokens', async (c) => {
      requireRole(c)
      validQuery(c, noQuery)
      return c.json({ data: await listEnrollmentTokens(db), next_cursor: null })
    })

    .post('/enrollment-tokens', async (c) => {
      requireRole(c)
      validQuery(c, noQuery)
      const { name, labels, expires_in_sec } = await validBody(c, newEnrollmentToken)
      const made = await createEnrollmentToken(db, { name, labels, expiresInSec: expires_in_sec })
      await audit(db, { actor: c.get('principal').name, action: 'enrollment_token.create', target: made.id })
      return c.json(made, 201)
    })

    .delete('/enrollment-tokens/:id', async (c) => {
      requireRole(c)
      validQuery(c, noQuery)
      const id = idParam(c)
      if (!(await deleteEnrollmentToken(db, id))) throw notFound()
      await audit(db, { actor: c.get('principal').name, action: 'enrollment_token.delete', target: id })
      return c.body(null, 204)
    })
}
