import type { Socket } from 'node:net'

/** Of a proxy: what closes one of the two closes the other, and both are among `open` until then. */
export function tieSockets(near: Socket, far: Socket, open: Set<Socket>): void {
  for (const socket of [near, far]) {
    open.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => {
      open.delete(socket)
      near.destroy()
      far.destroy()
    })
  }
}
