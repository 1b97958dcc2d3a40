import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './free-port.ts'
import { checkMachine, enterNamespaces } from './namespaced.ts'
import { ownedDirectory } from './owned-directory.ts'
import { runTool } from './run-tool.ts'

/**
 * An OpenSSH server of the caller's own as one finds them: Debian's settings, MaxSessions and MaxStartups too.
 * Behind it is a target of its own, with its own accounts, processes, /home and /tmp, and otherwise the files of this
 * machine. It ends with this process, however that dies, with all that runs there, and leaves nothing.
 */
export interface SshServer {
  readonly host: string
  readonly port: number
  /** An unprivileged account. `root` may log in by the same means. */
  readonly username: string
  readonly password: string
  readonly privateKey: string
  /** Another key, protected by `passphrase`. */
  readonly protectedKey: string
  readonly passphrase: string
  /** Its Ed25519 host key, as OpenSSH writes it; it has one for ECDSA too. */
  readonly hostKey: string
  /** Of that key, `SHA256:…`. */
  readonly fingerprint: string
  /** Where this machine sees the target's /home and /tmp. */
  readonly home: string
  readonly tmp: string
  /** What it has logged, at level VERBOSE. */
  log(): string
  /** SIGKILL to the server and all its sessions; programs that those have started go on. */
  kill(): Promise<void>
  /** SIGKILL to everything on the target, as when it loses its power. Files stay. */
  crash(): Promise<void>
  /** Again on the same port, after `kill` or `crash`. */
  start(): Promise<void>
  /** New host keys; sessions are ended by it. */
  changeHostKey(): Promise<void>
  /** SIGSTOP to the server and all its sessions: connections are accepted, and nothing is answered until `resume`. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Ends everything and removes the files. */
  stop(): Promise<void>
}

const username = 'errand'
const uid = 60_900
const passphrase = 'two words'
const authorized = ['key', 'protected-key']

/** @throws where it cannot run here (the message says what is missing) or does not start */
export async function startSshServer(): Promise<SshServer> {
  checkMachine('sshd', 'openssh-server')
  const dir = ownedDirectory('errand-ssh-')
  const port = await freePort()
  const password = randomBytes(12).toString('hex')
  await makeAccounts(dir, password)
  const privateKey = await makeKey(join(dir, 'key'), 'ed25519')
  const protectedKey = await makeKey(join(dir, 'protected-key'), 'ed25519', passphrase)
  writeFileSync(join(dir, 'authorized_keys'), authorized.map((name) => publicKey(join(dir, name))).join(''))
  await makeHostKeys(dir)
  writeFileSync(join(dir, 'sshd_config'), settings(port))
  const inside = enterNamespaces({ script: 'sshd.sh', program: 'sshd', dir })
  const hostKey = (): string => publicKey(join(dir, 'host-key-ed25519')).trim()
  const log = (): string => readFileSync(join(dir, 'log'), 'utf8')

  const start = async (): Promise<void> => {
    await inside.order('start')
    const deadline = Date.now() + 20_000
    while (!(await greets(port))) {
      if (!(await inside.order('look')) || Date.now() > deadline)
        throw new Error(`sshd did not start:\n${log()}`)
      await sleep(10)
    }
  }
  const obey = (word: string) => async (): Promise<void> => void (await inside.order(word))
  const kill = obey('kill')
  try {
    await start()
  } catch (error) {
    await inside.end()
    throw error
  }
  return {
    host: '127.0.0.1',
    port,
    username,
    password,
    privateKey,
    protectedKey,
    passphrase,
    get hostKey() {
      return hostKey()
    },
    get fingerprint() {
      const blob = Buffer.from(hostKey().split(' ')[1] as string, 'base64')
      return `SHA256:${createHash('sha256').update(blob).digest('base64').replace('=', '')}`
    },
    home: join(dir, 'home', username),
    tmp: join(dir, 'tmp'),
    log,
    start,
    kill,
    crash: obey('crash'),
    pause: obey('pause'),
    resume: obey('resume'),
    async changeHostKey() {
      await kill()
      await makeHostKeys(dir)
      await start()
    },
    stop: () => inside.end(),
  }
}

/** The machine's own, for whom its programs run, with our two in the place of any of their names. */
async function makeAccounts(dir: string, password: string): Promise<void> {
  const others = (file: string): string =>
    readFileSync(file, 'utf8').replaceAll(new RegExp(`^(root|${username}):.*\n`, 'gm'), '')
  const hash = await runTool('perl', ['-e', 'print crypt($ENV{PASSWORD}, q($6$errand))'], {
    env: { ...process.env, PASSWORD: password },
  })
  // Whoever logs in reads the accounts and the authorized keys.
  chmodSync(dir, 0o711)
  writeFileSync(
    join(dir, 'passwd'),
    `root:x:0:0::/home/root:/bin/bash\n${username}:x:${uid}:${uid}::/home/${username}:/bin/sh\n${others('/etc/passwd')}`,
  )
  writeFileSync(join(dir, 'group'), `root:x:0:\n${username}:x:${uid}:\n${others('/etc/group')}`)
  const account = (name: string): string => `${name}:${hash}:20000:0:99999:7:::\n`
  writeFileSync(join(dir, 'shadow'), account('root') + account(username), { mode: 0o600 })
  for (const home of ['root', username]) mkdirSync(join(dir, 'home', home), { recursive: true, mode: 0o755 })
  chownSync(join(dir, 'home', username), uid, uid)
  mkdirSync(join(dir, 'tmp'))
  chmodSync(join(dir, 'tmp'), 0o1777)
}

async function makeHostKeys(dir: string): Promise<void> {
  for (const type of ['ed25519', 'ecdsa']) await makeKey(join(dir, `host-key-${type}`), type)
}

/** In the place of what is there. Returns the private one. */
async function makeKey(file: string, type: string, passphrase = ''): Promise<string> {
  rmSync(file, { force: true })
  await runTool('ssh-keygen', ['-q', '-t', type, '-N', passphrase, '-C', '', '-f', file])
  return readFileSync(file, 'utf8')
}

function publicKey(file: string): string {
  return readFileSync(`${file}.pub`, 'utf8')
}

/** Without PAM: it would ask for the machine's own accounts services. What is not named is as sshd has it. */
function settings(port: number): string {
  return `ListenAddress 127.0.0.1:${port}
HostKey /run/target/host-key-ed25519
HostKey /run/target/host-key-ecdsa
AuthorizedKeysFile /run/target/authorized_keys
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
LogLevel VERBOSE
PidFile none
Subsystem sftp internal-sftp
`
}

/** Whether somebody says there which version of SSH they speak. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('data', () => resolve(true))
    socket.once('data', () => socket.destroy())
    socket.on('error', () => {})
    socket.once('close', () => resolve(false))
  })
}
