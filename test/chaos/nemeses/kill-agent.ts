import { until } from '../../system/harness/until.ts'
import { oneOf, type Nemesis } from '../nemesis.ts'

/** SIGKILL; its programs on this host die with it. */
export const killAgent: Nemesis = {
  name: 'kill agent',
  async strike({ agents, random }) {
    const agent = oneOf(agents, random)
    await agent.kill()
    // What was on its way to it counts too, and may go back unstarted.
    const { jobs_held } = await until('the API tells what the agent held', () => agent.record())
    await agent.start()
    return jobs_held
  },
}
