import { between, type Nemesis } from '../nemesis.ts'

/** Ends the connections of the first agent with a reset, in the middle of whatever passes. */
export const cutLink: Nemesis = {
  name: 'cut link',
  async strike({ link, random }) {
    // A renewal at the latest brings that many bytes.
    await link.cutAt('sent', link.sent + Math.floor(between(1, 100, random)))
    return 0
  },
}
