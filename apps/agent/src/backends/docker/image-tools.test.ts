import { describe, expect, it, vi } from 'vitest'
import type { Answer } from '../box/ask-in-box.ts'
import type { Place } from './containers.ts'
import type { Image } from './engine.ts'
import { directoriesOf, ImageTools } from './image-tools.ts'
import type { Commands } from '../box/find-in-box.ts'

const image = (env: Record<string, string> = {}): Image => ({
  id: 'sha256:1',
  env,
  volumes: [],
  digests: [],
  bytes: 1,
})
const place = (env?: Record<string, string>): Place => ({ image: image(env) }) as Place
const absent: Answer = { exitCode: null, signal: null, notExecuted: 2, killed: null, stdout: '', stderr: '' }
const prints = (stdout: string, exitCode = 0): Answer => ({ ...absent, notExecuted: null, exitCode, stdout })

/** An image in which these paths answer so. */
const withTools = (tools: Record<string, Answer>) =>
  vi.fn(async (_: Place, commands: Commands) => commands.map(([path]) => tools[path!] ?? absent))

describe('ImageTools', () => {
  it("takes the first tool of the image's own PATH that tells its version", async () => {
    const ask = withTools({
      '/opt/bin/python3': prints('python: broken', 1),
      '/opt/bin/python': prints('Python 3.99.1'),
      '/usr/bin/python3': prints('Python 3.1.1'),
    })
    const found = await new ImageTools(ask).find(place({ PATH: '/opt/bin:/usr/bin' }), 'python', undefined)
    expect(found).toMatchObject({ id: 'python3.1.1', interpreter: '/usr/bin/python3' })
    expect(ask).toHaveBeenCalledOnce()
  })

  it('wants the launcher too, where the runtime has one', async () => {
    const tools = { '/usr/bin/javac': prints('javac 21.0.1') }
    expect(await new ImageTools(withTools(tools)).find(place(), 'java', undefined)).toBeUndefined()
    const both = withTools({ ...tools, '/bin/java': prints('Unrecognized option', 1) })
    const found = await new ImageTools(both).find(place(), 'java', undefined)
    expect(found).toMatchObject({ interpreter: '/usr/bin/javac', launcher: '/bin/java' })
  })

  it('takes a tool that was named without a version too, and no other', async () => {
    const ask = withTools({ '/opt/mine': prints('hello'), '/usr/bin/python3': prints('Python 3.1.1') })
    const found = await new ImageTools(ask).find(place(), 'python', '/opt/mine')
    expect(found).toMatchObject({ id: 'python', interpreter: '/opt/mine' })
    expect(await new ImageTools(ask).find(place(), 'python', '/opt/other')).toBeUndefined()
  })

  it('asks once for each image, runtime and interpreter, and again after it found nothing or failed', async () => {
    let answer: () => Answer = () => absent
    const ask = vi.fn(async (_: Place, commands: Commands) => commands.map(() => answer()))
    const tools = new ImageTools(ask)
    const find = () => tools.find(place(), 'python', undefined)
    await find()
    answer = () => {
      throw new Error('the Engine is away')
    }
    await expect(find()).rejects.toThrow('the Engine is away')
    answer = () => prints('Python 3.99.1')
    await Promise.all([find(), find()])
    await find()
    expect(ask).toHaveBeenCalledTimes(3)
  })
})

describe('directoriesOf', () => {
  it.each([
    ['/opt/bin:/usr/bin:/opt/bin', ['/opt/bin', '/usr/bin']],
    ['relative::/usr/bin', ['/usr/bin']],
    ['', ['/usr/local/bin', '/usr/bin', '/bin']],
  ])('of PATH=%s', (PATH, expected) => {
    expect(directoriesOf(image({ PATH }))).toEqual(expected)
  })
})
