import { fullImageName } from '@errand/shared'
import type { CheckFinding, CheckReport, DockerExecutor } from '@errand/shared'
import { describeSearch } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { Rejected } from '../backend.ts'
import type { Check } from '../backend.ts'
import { orAborted } from '../or-aborted.ts'
import { containerLimits } from './container-limits.ts'
import { containerUser } from './container-user.ts'
import type { Place } from './containers.ts'
import { freeMbOf, lackOfRoom } from './engine-disk.ts'
import type { Engine, EngineFacts } from './engine.ts'
import { engineLacks } from './engine-lacks.ts'
import { namedInterpreter } from './image-of.ts'
import { directoriesOf } from './image-tools.ts'
import { refuseWhatIsToCome } from './refusals.ts'

export interface EngineParts {
  engine: Engine
  /** `disk.min_free_mb` of the policy. */
  minFreeMb: number
  find(place: Place, asked: Check): Promise<FoundRuntime | undefined>
}

/** Everything that a run on this Engine would be refused for, or fail by. */
export async function checkEngine(asked: Check, parts: EngineParts): Promise<CheckReport> {
  const findings: CheckFinding[] = []
  const runtime = await look(asked, parts, findings)
  return { runtime_id: runtime?.id ?? null, findings }
}

/** Each step needs those before it. */
async function look(
  asked: Check,
  { engine, minFreeMb, ...parts }: EngineParts,
  findings: CheckFinding[],
): Promise<FoundRuntime | undefined> {
  const settings = asked.executor.settings as DockerExecutor
  const say = (what: string, ok: boolean, detail: string, advice?: string): void =>
    void findings.push({ what, ok, detail, ...(advice !== undefined && { advice }) })

  const orFault = <T>(act: Promise<T>): Promise<T | Error> => answerOf(act, asked.signal)

  const facts = await orFault(engine.factsNow())
  if (facts instanceof Error) {
    say(
      'connection',
      false,
      facts.message,
      'start Docker on the host of the agent, or set DOCKER_HOST for the agent',
    )
    return undefined
  }
  say('connection', true, `the Docker Engine ${facts.version} answers`)
  const lacking = engineLacks(facts)
  if (lacking.length === 0) say('sandbox', true, 'containers have control groups and a seccomp profile')
  for (const words of lacking) say('sandbox', false, words, "mend it on the Engine's host")
  const place = placeOf(asked, facts)
  if (place instanceof Error) say('limits', false, place.message, 'change the executor')
  else say('limits', true, 'memory, cpu, processes and disk can be kept')
  const freeMb = await orFault(freeMbOf(engine, facts))
  if (freeMb instanceof Error) say('disk', false, freeMb.message)
  else findings.push(room(freeMb, facts))

  const image = await orFault(engine.image(fullImageName(settings.image)!))
  if (image instanceof Error) {
    say('image', false, image.message)
    return undefined
  }
  if (!image) {
    const lack = freeMb instanceof Error ? undefined : lackOfRoom(freeMb, facts, { minFreeMb })
    const pull = `docker pull ${settings.image}`
    if (settings.pull_policy === 'never')
      say(
        'image',
        false,
        `${settings.image} is not there, and pull_policy is never`,
        `run on the agent's host: ${pull}`,
      )
    else if (lack !== undefined) say('image', false, `${settings.image} is not there: ${lack}`, 'make room')
    else say('image', true, `${settings.image} is not there yet: the first execution waits for its download`)
    return undefined
  }
  const mb = Math.ceil(image.bytes / 1e6)
  const anew =
    settings.pull_policy === 'always' ? '; executions look for a newer one first (pull_policy: always)' : ''
  say('image', true, `${settings.image} is there: ${image.id}, ${mb} MB${anew}`)
  if (place instanceof Error) return undefined
  const found = await orFault(parts.find({ image, ...place }, asked))
  if (found instanceof Error) say('interpreter', false, found.message)
  else if (found) say('interpreter', true, `${found.id} at ${found.interpreter} in the image`)
  else {
    const search = describeSearch(asked.runtime, namedInterpreter(asked), directoriesOf(image))
    const advice = 'use an image that has it, or name one with code_executor_path'
    say(
      'interpreter',
      false,
      `no interpreter for ${asked.runtime} in the image: looked for ${search}`,
      advice,
    )
  }
  return found instanceof Error ? undefined : found
}

function placeOf(asked: Check, facts: EngineFacts): Omit<Place, 'image'> | Rejected {
  const settings = asked.executor.settings as DockerExecutor
  try {
    refuseWhatIsToCome(settings)
    return { limits: containerLimits(asked, facts), user: containerUser(settings.user, 0) }
  } catch (error) {
    if (error instanceof Rejected) return error
    throw error
  }
}

/** Containers write to memory alone: the Engine needs room for its own records and logs. */
function room(freeMb: number | undefined, { rootDir }: EngineFacts): CheckFinding {
  const what = 'disk'
  if (freeMb === undefined)
    return {
      what,
      ok: true,
      detail: "the Engine's disk is not this host's to look at; programs write to memory",
    }
  const detail = `${freeMb} MB are free in ${rootDir}, where the Engine keeps images and logs`
  if (freeMb >= leastFreeMb) return { what, ok: true, detail }
  return { what, ok: false, detail, advice: `make room: at least ${leastFreeMb} MB` }
}

const leastFreeMb = 256

/** What is asked when there is no more time is a fault too, so that all that was found is told. */
function answerOf<T>(act: Promise<T>, signal: AbortSignal): Promise<T | Error> {
  return orAborted(act, signal).catch((error: Error) =>
    signal.aborted ? new Error('there was no answer in time') : error,
  )
}
