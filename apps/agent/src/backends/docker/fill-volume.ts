import { createAfresh } from './create-afresh.ts'
import type { Engine } from './engine.ts'
import { expiresIn, labels } from './labels.ts'

export interface VolumeContent {
  /** What is to lie at `target`, and who owns that folder. */
  tar: Buffer
  target: string
  /** Of the volume, with the agent's mark. */
  labels: Record<string, string>
}

/**
 * Makes a volume with a content, on an Engine that may be another machine's: the Engine itself fills it from an image with
 * nothing else in it, as it does for the first container with an empty volume. That container never starts; while this goes
 * on it has the volume's name.
 */
export async function fillVolume(
  engine: Engine,
  name: string,
  { tar, target, labels: own }: VolumeContent,
): Promise<void> {
  const mark = own[labels.agent]!
  const [, repo, tag] = /^(.*)-([^-]+)$/.exec(name)!
  try {
    await engine.importImage(tar, { repo: repo!, tag: tag!, label: `${labels.agent}=${mark}` })
    const filler = await createAfresh(engine, name, {
      Image: `${repo}:${tag}`,
      Entrypoint: [target],
      Labels: { [labels.agent]: mark, ...expiresIn(0) },
      NetworkDisabled: true,
      HostConfig: {
        NetworkMode: 'none',
        Mounts: [
          {
            Type: 'volume',
            Source: name,
            Target: target,
            VolumeOptions: { NoCopy: false, Labels: own, DriverConfig: { Name: 'local', Options: {} } },
          },
        ],
      },
    })
    await engine.remove(filler)
  } finally {
    await engine.removeImage(`${repo}:${tag}`).catch(() => {})
  }
}
