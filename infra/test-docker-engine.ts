import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { inject } from 'vitest'

/**
 * The socket of the Docker Engine that all tests of this run share; it has the images of `test-images.ts`. A test
 * removes what it makes there, and counts only what bears its own label. The first call on a machine makes the
 * images, which takes up to a minute.
 *
 * @throws where no Engine can run here
 */
export async function testDockerEngine(): Promise<string> {
  const answer = JSON.parse(await text(connect(inject('dockerEnginePort'), '127.0.0.1'))) as
    | { socketPath: string }
    | { error: string }
  if ('error' in answer) throw new Error(answer.error)
  return answer.socketPath
}
