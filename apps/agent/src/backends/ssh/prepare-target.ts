import type { Log } from '../../log.ts'
import type { Connections } from './connections.ts'
import { executed } from './executed.ts'
import type { Executed } from './executed.ts'
import type { OwnBox } from './own-box.ts'
import { ownShellBox } from './own-box.ts'
import { runScript, setsScript } from './run-script.ts'
import { shCommand } from './sh-command.ts'
import { SshFailure } from './ssh-failure.ts'

/** Where a target keeps what is ours. */
export interface Place {
  /** Absolute; each run has a directory of its own in it. */
  runs: string
  /** The command of what serves runs there, for `shCommand`: the box, or the script in its place. */
  helper: string
  /** Why it is the script; undefined: it is the box. */
  withoutBox: string | undefined
}

/** In names of runs: whose they are. */
export interface Marks {
  /** Of this agent, also after a restart. */
  agent: string
  /** Of this process. */
  session: string
}

export type FindBox = (machine: string) => Promise<OwnBox | undefined>

type RunScript = (script: string, input?: Uint8Array) => Promise<Executed>

export interface Left {
  /** Names of runs of which something may be left. */
  runs: readonly string[]
  /** Of those that an earlier process began and this one goes on with. */
  adopted: readonly string[]
  installing: readonly string[]
}

/** With which a sweep exits where all has ended, and something stayed. */
const notRemoved = 2

/**
 * Before the first run of a connection: brings the box there if it is not yet (where it cannot run, a script that does
 * its work), ends and removes what earlier runs of this agent left but for those that are adopted, and those of
 * `left.runs`; then what its installations left but for those that are under way.
 *
 * @throws {SshFailure} `target_unfit` in words where neither can run
 */
export async function prepareTarget(
  connections: Connections,
  marks: Marks,
  left: Left,
  log: Log,
  findBox: FindBox,
): Promise<Place> {
  const run: RunScript = async (script, input) => {
    const ended = await executed(await connections.exec(shCommand(script)), input)
    if (ended.code === null)
      throw new SshFailure('link_lost', 'the link was lost while the target was prepared')
    return ended
  }
  const asked = await run(
    'echo "errand-machine=$(uname -m)"; echo "errand-home=$HOME"; test -d "$HOME"/.errand/sets && echo errand-sets=yes',
  )
  const [machine, home] = [valueOf(asked, 'machine'), valueOf(asked, 'home')]
  if (!machine || !home?.startsWith('/')) throw unfit('its login shell runs no commands for us', asked)
  const box = await findBox(machine)
  const withoutBox = box ? await install(box, run) : `there is none for its machine type ${machine}`
  const helper =
    withoutBox === undefined ? `"$HOME"/.errand/${box!.name}` : await installShell(withoutBox, run)
  const words =
    left.adopted.length === 0
      ? [marks.agent, marks.session, ...left.runs]
      : [nobody, marks.session, ...left.runs, ...(await leftBeside(left.adopted, marks, run))]
  const swept = await run(`exec ${helper} sweep "$HOME"/.errand/runs ${words.join(' ')}`)
  // Another attempt of a job must not run beside an older one.
  if (swept.code !== 0 && swept.code !== notRemoved)
    throw unfit('what earlier runs left running there cannot be ended', swept)
  if (swept.code === notRemoved)
    log.warn({ home, said: swept.stderr }, 'what earlier runs left on the target cannot be removed')
  // After its runs: those wrote there.
  if (valueOf(asked, 'sets') === 'yes') {
    const given = ['sweep', marks.agent, ...left.installing]
    const { code, stderr } = await runScript(connections, await setsScript(), given, sweepSetsMs)
    if (code !== 0)
      log.warn({ home, said: stderr }, 'what earlier installations left on the target cannot be removed')
  }
  return { runs: `${home}/.errand/runs`, helper, withoutBox }
}

/** What a sweep takes for the mark of an agent: then it ends what is named, and what is old. */
const nobody = 'nobody'

/** The names of what earlier processes of this agent left there and nobody goes on with. */
async function leftBeside(
  adopted: readonly string[],
  { agent, session }: Marks,
  run: RunScript,
): Promise<string[]> {
  const listed = await run('cd "$HOME"/.errand/runs && for run in *; do echo "errand-run=$run"; done')
  // Code may have made others there.
  const names = [...listed.stdout.matchAll(/^errand-run=([0-9a-z-]+)$/gm)].map(([, name]) => name!)
  return names.filter(
    (name) =>
      name.startsWith(`${agent}-`) && !name.startsWith(`${agent}-${session}-`) && !adopted.includes(name),
  )
}

/** Undefined when it is there; else, in words, why it cannot run. */
async function install({ name, sha256, bytes }: OwnBox, run: RunScript): Promise<string | undefined> {
  const path = `"$HOME"/.errand/${name}`
  const there = await run(`${makeOurs}; echo "errand-sum=$(${path} sum)"`)
  if (valueOf(there, 'sum') === sha256) return undefined
  const fresh = `${path}.${crypto.randomUUID()}`
  // A copy that was cut gives no sum, or another; only a whole one gets the name.
  const sent = await run(
    `umask 077; cat > ${fresh} && chmod 700 ${fresh} && test "$(${fresh} sum)" = ${sha256} && mv -f ${fresh} ${path} && echo errand-sum=${sha256}; rm -f ${fresh}`,
    bytes,
  )
  return valueOf(sent, 'sum') === sha256 ? undefined : reasonOf('it cannot be run in ~/.errand there', sent)
}

/** Its command. */
async function installShell(withoutBox: string, run: RunScript): Promise<string> {
  const { name, bytes, sum } = await ownShellBox()
  const path = `"$HOME"/.errand/${name}`
  const command = `/bin/sh ${path} ${name}`
  const there = await run(`${makeOurs}; echo "errand-sum=$(cksum < ${path})"`)
  if (valueOf(there, 'sum') !== sum) {
    const fresh = `${path}.${crypto.randomUUID()}`
    await run(
      `umask 077; cat > ${fresh} && test "$(cksum < ${fresh})" = "${sum}" && mv -f ${fresh} ${path}; rm -f ${fresh}`,
      bytes,
    )
  }
  const fit = await run(`${command} fit && echo errand-fit=yes`)
  if (valueOf(fit, 'fit') !== 'yes')
    throw unfit(`the box cannot run (${withoutBox}), nor a script in its place`, fit)
  return command
}

/** There may be many files. */
const sweepSetsMs = 300_000

const makeOurs = 'umask 077; mkdir -p "$HOME"/.errand/runs; chmod 700 "$HOME"/.errand "$HOME"/.errand/runs'

/** Of a line `errand-name=value`; what a login shell prints beside is passed over. */
export function valueOf({ stdout }: Executed, name: string): string | undefined {
  return new RegExp(`^errand-${name}=(.*)$`, 'm').exec(stdout)?.[1]
}

function unfit(reason: string, said: Executed): SshFailure {
  return new SshFailure('target_unfit', reasonOf(reason, said))
}

function reasonOf(reason: string, { stderr }: Executed): string {
  const said = stderr.trim()
  return said === '' ? reason : `${reason}: ${said.slice(-500)}`
}
