import { posix } from 'node:path'
import type { ContainerCreateOptions } from 'dockerode'
import { boxDir, boxPath } from './box-volume.ts'
import type { ContainerLimits } from './container-limits.ts'
import type { Image } from './engine.ts'

export interface ContainerUser {
  uid: number
  gid: number
}

export interface ContainerParts {
  image: Image
  limits: ContainerLimits
  /** Whom code runs as. */
  user: ContainerUser
  boxVolume: string
  /** What it has beside: volumes, folders of the Engine's host. */
  mounts?: readonly Mount[]
  labels: Record<string, string>
}

export interface Mount {
  type: 'volume' | 'bind'
  /** A volume's name, or a path. */
  source: string
  target: string
  readOnly: boolean
}

/** Where code runs in a container, and its place for temporary files. */
export const workDir = '/sandbox'
export const tmpDir = '/tmp'

/**
 * One container for one job: its first process is the box, which waits for what it is to do on its standard input.
 * What is not said here is Docker's default of 20.10 and later; what is, differs from it or must not be left to it.
 */
export function containerSpec({
  image,
  limits,
  user,
  boxVolume,
  mounts = [],
  labels,
}: ContainerParts): ContainerCreateOptions {
  const all = [{ type: 'volume', source: boxVolume, target: boxDir, readOnly: true } as const, ...mounts]
  return {
    Image: image.id,
    Entrypoint: [boxPath, 'once'],
    // Code runs as `user`: the box becomes it.
    User: '0:0',
    WorkingDir: '/',
    Hostname: 'sandbox',
    Labels: labels,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    OpenStdin: true,
    StdinOnce: true,
    Tty: false,
    // The image's own would run beside the job, unlimited.
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      NetworkMode: 'none',
      ReadonlyRootfs: true,
      Tmpfs: {
        // The Engine would make a volume on its disk for each path that the image's maker declared.
        ...Object.fromEntries(
          volumePaths(image, all).map((path) => [path, 'ro,noexec,nosuid,nodev,size=4k']),
        ),
        [workDir]: tmpfs(limits.diskBytes, user),
        [tmpDir]: tmpfs(limits.tmpBytes, user),
      },
      Mounts: all.map(({ type, source, target, readOnly }) => ({
        Type: type,
        Source: source,
        Target: target,
        ReadOnly: readOnly,
        ...(type === 'volume' && {
          VolumeOptions: { NoCopy: true, Labels: {}, DriverConfig: { Name: 'local', Options: {} } },
        }),
      })),
      // To become the user and to drop, kill and leave it nothing; code has none of them, nor can it gain any.
      CapDrop: ['ALL'],
      CapAdd: ['SETUID', 'SETGID', 'SETPCAP', 'KILL'],
      SecurityOpt: ['no-new-privileges'],
      Privileged: false,
      Memory: limits.memoryBytes,
      // Else the same again as swap.
      MemorySwap: limits.memoryBytes,
      MemorySwappiness: 0,
      OomKillDisable: false,
      OomScoreAdj: 500,
      NanoCpus: limits.nanoCpus,
      PidsLimit: limits.pids,
      Ulimits: [
        { Name: 'nofile', Soft: 1_024, Hard: 1_024 },
        { Name: 'core', Soft: 0, Hard: 0 },
      ],
      IpcMode: 'private',
      ShmSize: Math.min(64 * 1_024 * 1_024, limits.tmpBytes),
      // The box reaps.
      Init: false,
      RestartPolicy: { Name: 'no' },
      // Then nobody could ask how it ended.
      AutoRemove: false,
      // Bounded, and exact byte for byte, unlike `json-file`; one file does not start with compression.
      LogConfig: {
        Type: 'local',
        Config: { compress: 'false', 'max-file': '1', 'max-size': String(32 * limits.outputBytes) },
      },
    },
  }
}

/** But for those that are ours. */
function volumePaths({ volumes }: Image, mounts: readonly Mount[]): string[] {
  const paths = volumes.map((path) => posix.join('/', path, '/').slice(0, -1))
  const ours = new Set([workDir, tmpDir, ...mounts.map(({ target }) => target)])
  return paths.filter((path) => !ours.has(path))
}

/** Code may execute what it makes in both: compilers write there. */
function tmpfs(bytes: number, { uid, gid }: ContainerUser): string {
  const inodes = Math.max(1_024, Math.ceil(bytes / 4_096))
  return `rw,exec,nosuid,nodev,size=${bytes},nr_inodes=${inodes},mode=0700,uid=${uid},gid=${gid}`
}
