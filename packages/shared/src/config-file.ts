import { z } from 'zod'
import { dockerExecutor, localhostExecutor, sshExecutor } from './executor-config.ts'
import { loggingConfig } from './logging-config.ts'
import { name, oneLine, plainText } from './text.ts'

const section = <Schema extends z.ZodType>(schema: Schema) => z.record(name, schema).default({})

/** The environment variables of architecture.md, in the file without `ERRAND_` and in lower case. */
export const serverConfig = z.strictObject({
  host: oneLine(253).optional(),
  port: z.int().min(0).max(65_535).optional(),
  public_url: z.url({ protocol: /^https?$/ }).optional(),
  tls_cert_file: plainText(4_096).optional(),
  tls_key_file: plainText(4_096).optional(),
  trusted_proxies: z.array(oneLine(64)).optional(),
  data_dir: plainText(4_096).optional(),
  database_url: plainText(4_096).optional(),
  admin_key: plainText(512).optional(),
  secret_key: plainText(4_096).optional(),
  retention_days: z.number().positive().max(36_500).optional(),
  local_agent: z.enum(['on', 'off']).optional(),
})
export type ServerConfig = z.infer<typeof serverConfig>

/**
 * `config.yaml`: the seed's `code_executors` and `logging`, key for key, and `server`. The `localhost` type's
 * section is called `local`, as in the seed. Unknown keys are refused.
 */
export const configFile = z.strictObject({
  server: serverConfig.default({}),
  code_executors: z
    .strictObject({
      docker: section(dockerExecutor),
      ssh: section(sshExecutor),
      local: section(localhostExecutor),
    })
    .optional(),
  logging: loggingConfig.default({}),
})
export type ConfigFile = z.infer<typeof configFile>
