import type { Nemesis } from '../nemesis.ts'

export const killApi: Nemesis = {
  name: 'kill API',
  async strike({ api }) {
    await api.kill()
    await api.start()
    return 0
  },
}
