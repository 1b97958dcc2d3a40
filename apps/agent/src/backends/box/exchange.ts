import { encodeBundle } from '@errand/box'
import type { Bundle, Frame } from '@errand/box'
import { BoxFailed } from './box-connection.ts'
import type { BoxConnection } from './box-connection.ts'

/**
 * Hands a bundle to a box that has none yet, and to `onFrame` what the box says; settles at its last word.
 *
 * @throws {BoxFailed} when the box could not do it, and the connection's reason when it closed before the end
 */
export async function exchange(
  connection: BoxConnection,
  bundle: Bundle | undefined,
  onFrame: (frame: Frame) => void,
  onEnding: () => void = () => {},
): Promise<void> {
  let failed: BoxFailed | undefined
  await new Promise<void>((resolve, reject) => {
    connection.listen({
      frame(frame) {
        if (frame.type === 'failed') failed = new BoxFailed(frame.stage, frame.reason, frame.errno)
        else if (frame.type === 'done') resolve()
        else onFrame(frame)
      },
      ending: onEnding,
      closed: reject,
    })
    if (bundle) connection.send(connection.encode?.(bundle) ?? encodeBundle(bundle))
    else connection.follow?.()
  })
  if (failed) throw failed
}
