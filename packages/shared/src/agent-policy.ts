import { z } from 'zod'
import { executorType } from './executor-config.ts'
import { imageName } from './image-reference.ts'
import { plainText } from './text.ts'

/**
 * `agent-policy.yaml` in the agent's directory: what its operator allows, whatever the control plane asks
 * (a captured control plane cannot exceed it).
 */
export const agentPolicy = z.strictObject({
  backends: z.array(executorType).default(['docker', 'ssh', 'localhost']),
  /**
   * Unsandboxed localhost runs; never by an agent that shares the API's user. `config`: only of executors that the
   * operator wrote in the API's `config.yaml`, not of those made by REST.
   */
  allow_unsandboxed: z.union([z.boolean(), z.literal('config')]).default(false),
  /** Set by `npm start` for the agent beside the API when both run as one user. */
  shares_api_user: z.boolean().default(false),
  /** `work_dir` values that executors may name. */
  work_dirs: z.array(plainText(4_096)).default([]),
  /** Interpreters outside the standard search path that executors may name; absent: any. */
  code_executor_paths: z.array(plainText(4_096)).optional(),
  private_key_paths: z.array(plainText(4_096)).default([]),
  /** Images that executors may name, however they are written (`python:3.11` is `docker.io/library/python:3.11`); absent: any. */
  images: z.array(imageName).optional(),
  /** Package indexes that executors may name, each as a prefix of `index_url`; absent: any. */
  index_urls: z.array(plainText(2_048)).optional(),
  /** `index_dir` values that executors may name. */
  index_dirs: z.array(plainText(4_096)).default([]),
  /**
   * Room for what Errand brings: images and dependency sets that were not used for longest go first, and what is in use
   * never does. Nothing is brought that would leave less than `min_free_mb` on its disk.
   */
  disk: z
    .strictObject({
      images_mb: z.int().positive().default(20_480),
      sets_mb: z.int().positive().default(10_240),
      /** Dependency sets that were not used for so long go too. */
      sets_max_age_days: z.number().positive().default(30),
      min_free_mb: z.int().min(0).default(1_024),
    })
    .prefault({}),
  max_timeout_sec: z.number().positive().optional(),
  max_output_limit_kb: z.int().positive().optional(),
  max_mem_limit_mb: z.int().positive().optional(),
  max_cpus_limit_cores: z.number().positive().optional(),
  max_pids_limit: z.int().positive().optional(),
  max_disk_limit_mb: z.int().positive().optional(),
  /**
   * One for each core if absent. An inventory or renewal lists what runs and up to 500 ended jobs that wait for their
   * delivery, at most 90 bytes each: (1,000 + 500) * 90 = 135,000 bytes, which a frame of 256 KiB holds.
   */
  slots: z.strictObject({ run: z.int().min(1).max(1_000).optional() }).default({}),
})
export type AgentPolicy = z.infer<typeof agentPolicy>
