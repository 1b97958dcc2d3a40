import { Agent, request } from 'node:http'

/** One execution by REST that waits for its record, over kept-alive connections. */
export function throughErrand(url: string, key: string, executor: string, code: string, expected: string) {
  const agent = new Agent({ keepAlive: true })
  const body = Buffer.from(JSON.stringify({ executor, code }))
  const headers = {
    authorization: `Bearer ${key}`,
    'content-type': 'application/json',
    'content-length': body.length,
    prefer: 'wait=60',
  }
  const run = () =>
    new Promise<void>((resolve, reject) => {
      const sent = request(`${url}/executions`, { method: 'POST', headers, agent }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (text += chunk))
        response.on('end', () => {
          const record = JSON.parse(text)
          if (response.statusCode === 200 && record.outcome === 'succeeded' && record.stdout === expected)
            resolve()
          else reject(new Error(`${executor}: ${response.statusCode} ${text.slice(0, 500)}`))
        })
      })
      sent.on('error', reject)
      sent.end(body)
    })
  return { run, close: () => agent.destroy() }
}
