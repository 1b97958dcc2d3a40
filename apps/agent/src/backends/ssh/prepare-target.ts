import type { Log } from '../../log.ts'
import type { Connections } from './connections.ts'
import { executed } from './executed.ts'
import type { Executed } from './executed.ts'
import { ownBoxFor } from './own-box.ts'
import type { OwnBox } from './own-box.ts'
import { shCommand } from './sh-command.ts'
import { SshFailure } from './ssh-failure.ts'

/** Where a target keeps what is ours. */
export interface Place {
  /** Absolute; each run has a directory of its own in it. */
  runs: string
  /** The box there, for `shCommand`. */
  box: string
}

/** In names of runs: whose they are. */
export interface Marks {
  /** Of this agent, also after a restart. */
  agent: string
  /** Of this process. */
  session: string
}

/** With which `box sweep` exits where all has ended, and something stayed. */
const notRemoved = 2

/**
 * Before the first run of a connection: brings the box there if it is not yet, ends and removes what earlier runs of this agent
 * left, and those `named`.
 *
 * @throws {SshFailure} `target_unfit` in words where the box can't run
 */
export async function prepareTarget(
  connections: Connections,
  marks: Marks,
  named: readonly string[],
  log: Log,
): Promise<Place> {
  const run = async (script: string, input?: Uint8Array): Promise<Executed> => {
    const ended = await executed(await connections.exec(shCommand(script)), input)
    if (ended.code === null)
      throw new SshFailure('link_lost', 'the link was lost while the target was prepared')
    return ended
  }
  const asked = await run('echo "errand-machine=$(uname -m)"; echo "errand-home=$HOME"')
  const [machine, home] = [valueOf(asked, 'machine'), valueOf(asked, 'home')]
  if (!machine || !home?.startsWith('/')) throw unfit('its login shell runs no commands for us', asked)
  const box = await ownBoxFor(machine)
  if (!box) throw unfit(`there is no box for its machine type ${machine}`, asked)
  await install(box, run)
  const path = `"$HOME"/.errand/${box.name}`
  const swept = await run(
    `exec ${[path, 'sweep', '"$HOME"/.errand/runs', marks.agent, marks.session, ...named].join(' ')}`,
  )
  // Another attempt of a job must not run beside an older one.
  if (swept.code !== 0 && swept.code !== notRemoved)
    throw unfit('what earlier runs left running there cannot be ended', swept)
  if (swept.code === notRemoved)
    log.warn({ home, said: swept.stderr }, 'what earlier runs left on the target cannot be removed')
  return { runs: `${home}/.errand/runs`, box: path }
}

async function install(
  { name, sha256, bytes }: OwnBox,
  run: (script: string, input?: Uint8Array) => Promise<Executed>,
): Promise<void> {
  const path = `"$HOME"/.errand/${name}`
  const there = await run(
    `umask 077; mkdir -p "$HOME"/.errand/runs; chmod 700 "$HOME"/.errand "$HOME"/.errand/runs; echo "errand-sum=$(${path} sum)"`,
  )
  if (valueOf(there, 'sum') === sha256) return
  const fresh = `${path}.${crypto.randomUUID()}`
  // A copy that was cut gives no sum, or another; only a whole one gets the name.
  const sent = await run(
    `umask 077; cat > ${fresh} && chmod 700 ${fresh} && test "$(${fresh} sum)" = ${sha256} && mv -f ${fresh} ${path} && echo errand-sum=${sha256}; rm -f ${fresh}`,
    bytes,
  )
  if (valueOf(sent, 'sum') !== sha256) throw unfit('the box cannot be run in ~/.errand there', sent)
}

/** Of `errand-name=value`; what a login shell prints beside is passed over. */
function valueOf({ stdout }: Executed, name: string): string | undefined {
  return new RegExp(`^errand-${name}=(.*)$`, 'm').exec(stdout)?.[1]
}

function unfit(reason: string, { stderr }: Executed): SshFailure {
  const said = stderr.trim()
  return new SshFailure('target_unfit', said === '' ? reason : `${reason}: ${said.slice(-500)}`)
}
