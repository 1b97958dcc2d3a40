import { secretFields, type ExecutorSettings, type ExecutorType } from '@errand/shared'
import { docker_executors, executor_secrets, local_executors, ssh_executors } from '@errand/drizzle/schema'
import { eq } from 'drizzle-orm'
import type { Secrets } from '../secrets/secrets.ts'
import type { Database } from './database.ts'
import { newId } from './new-id.ts'

/** The settings of a version by field name, without its type; `secrets` are those of `secretFields`. */
interface Split {
  settings: Record<string, unknown>
  secrets: Record<string, unknown>
}

/** Stores an immutable version of an executor in the table of its type, its secrets sealed. Resolves to the `config_id`. */
export async function storeVersion(
  tx: Database,
  secrets: Secrets,
  executorId: string,
  given: ExecutorSettings,
): Promise<string> {
  const configId = newId()
  const split = splitSecrets(given)
  const version = { code_executor: executorId, settings: split.settings as unknown as ExecutorSettings }
  switch (given.executor_type) {
    case 'docker':
      await tx.drizzle
        .insert(docker_executors)
        .values({ ...version, docker_executor_id: configId, image: given.image })
      break
    case 'ssh': {
      const { host, port, username } = given
      await tx.drizzle
        .insert(ssh_executors)
        .values({ ...version, ssh_executor_id: configId, host, port, username })
      break
    }
    case 'localhost': {
      const { code_executor_path, timeout_sec, work_dir } = given
      await tx.drizzle.insert(local_executors).values({
        ...version,
        local_executor_id: configId,
        executor_path: code_executor_path ?? null,
        timeout_sec,
        work_dir: work_dir ?? null,
      })
      break
    }
  }
  for (const [field, value] of Object.entries(split.secrets)) {
    const sealed = await secrets.seal(placeOf(configId, field), JSON.stringify(value))
    await tx.drizzle
      .insert(executor_secrets)
      .values({ executor_id: executorId, config_id: configId, field, ...sealed })
  }
  return configId
}

/** The secrets of a version, by field. Throws `CannotOpen` when the key ring lost its key. */
export async function openSecrets(
  db: Database,
  secrets: Secrets,
  configId: string,
): Promise<Record<string, unknown>> {
  const sealed = await db.drizzle
    .select()
    .from(executor_secrets)
    .where(eq(executor_secrets.config_id, configId))
  const opened = sealed.map(async (one) => {
    return [one.field, JSON.parse(await secrets.open(placeOf(configId, one.field), one))] as const
  })
  return Object.fromEntries(await Promise.all(opened))
}

/** The settings of every version, whatever its type: a subselect for statements. */
export const allVersions = `(
  select docker_executor_id as config_id, code_executor, settings from docker_executors
  union all select ssh_executor_id, code_executor, settings from ssh_executors
  union all select local_executor_id, code_executor, settings from local_executors)`

function splitSecrets({ executor_type, ...fields }: ExecutorSettings): Split {
  const isSecret = (field: string) => secretFieldsOf(executor_type).includes(field)
  const given = Object.entries(fields).filter(([, value]) => value !== undefined)
  return {
    settings: Object.fromEntries(given.filter(([field]) => !isSecret(field))),
    secrets: Object.fromEntries(given.filter(([field]) => isSecret(field))),
  }
}

export function secretFieldsOf(type: ExecutorType): readonly string[] {
  return secretFields[type]
}

function placeOf(configId: string, field: string): string {
  return `executor_secrets/${configId}/${field}`
}
