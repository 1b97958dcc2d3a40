// node forward.mjs SOCKET -- command: runs the command with a port of 127.0.0.1 that leads to SOCKET.
// {port} in its words becomes that port. It ends as the command does.
import { spawn } from 'node:child_process'
import { connect, createServer } from 'node:net'
import { constants } from 'node:os'
import { pipeline } from 'node:stream'

const [path, , ...words] = process.argv.slice(2)

const server = createServer((client) => {
  const proxy = connect(path)
  proxy.on('error', ({ syscall, message }) => {
    if (syscall === 'connect') console.error(`forward.mjs: cannot reach ${path}: ${message}`)
  })
  pipeline(client, proxy, client, () => {})
})
server.listen(0, '127.0.0.1', () => {
  const port = String(server.address().port)
  const [command, ...args] = words.map((word) => word.replaceAll('{port}', port))
  const child = spawn(command, args, { stdio: 'inherit' })
  child.once('error', (error) => {
    console.error(`forward.mjs: ${error.message}`)
    process.exit(127)
  })
  child.once('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
})
