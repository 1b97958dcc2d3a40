import { until } from '../../system/harness/until.ts'
import type { Nemesis } from '../nemesis.ts'

export const killApi: Nemesis = {
  name: 'kill API',
  async strike({ api }) {
    await api.kill()
    // Where its database does not answer at once it ends by itself, and whoever supervises it starts it again.
    const started = () =>
      api.start().then(
        () => true,
        () => false,
      )
    await until('the API has started', started)
    return 0
  },
}
