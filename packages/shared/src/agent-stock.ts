import { z } from 'zod'
import { runtimeName } from './runtimes.ts'

/** Where something of the agent lies, and what room is there. `null`: it cannot be told (another host's Engine). */
const disk = z.strictObject({
  path: z.string().max(4_096),
  total_bytes: z.int().min(0),
  free_bytes: z.int().min(0),
})

/** An image that Errand downloaded to the agent's Engine, or that its executions used there. */
const image = z.strictObject({
  /** In full. */
  name: z.string().max(512),
  /** Of the Engine: `sha256:…`. */
  id: z.string().max(128),
  bytes: z.int().min(0),
  last_used_at: z.iso.datetime().nullable(),
  /** Whether Errand downloaded it: only such are ever removed. */
  downloaded: z.boolean(),
  in_use: z.boolean(),
})

/** A dependency set on the agent's host, its Engine, or a target that it reaches over SSH. */
export const dependencySet = z.strictObject({
  /** Hash of its requirements and its interpreter. */
  hash: z.string().max(128),
  /** The executor that it was installed for first. */
  executor: z.string().max(63),
  /** For people: `this host`, `docker`, `user@host:22`. */
  place: z.string().max(512),
  runtime: runtimeName,
  /** With its version: `python3.11.2`. */
  runtime_id: z.string().max(128),
  dependencies: z.array(z.string().max(512)).max(1_000),
  bytes: z.int().min(0),
  last_used_at: z.iso.datetime().nullable(),
  in_use: z.boolean(),
})
export type DependencySet = z.infer<typeof dependencySet>

/** What lies on an agent's host because of Errand. A frame holds it: the most recently used of each kind come first. */
export const agentStock = z.strictObject({
  /** Of the agent's directory and of its Engine's. */
  disk: z.array(disk).max(8),
  images: z.array(image).max(200),
  sets: z.array(dependencySet).max(200),
})
export type AgentStock = z.infer<typeof agentStock>
