import type { Nemesis } from '../nemesis.ts'
import { cutLink } from './cut-link.ts'
import { dropPackets } from './drop-packets.ts'
import { killAgent } from './kill-agent.ts'
import { killApi } from './kill-api.ts'
import { killPostgres } from './kill-postgres.ts'
import { loseAnswer } from './lose-answer.ts'
import { pauseAgent } from './pause-agent.ts'
import { pauseApi } from './pause-api.ts'
import { resetConnections } from './reset-connections.ts'

export const allNemeses: readonly Nemesis[] = [
  killAgent,
  killApi,
  killPostgres,
  pauseAgent,
  pauseApi,
  cutLink,
  dropPackets,
  resetConnections,
  loseAnswer,
]
