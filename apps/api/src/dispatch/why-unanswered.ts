import type { CheckFinding } from '@errand/shared'
import type { Unanswered } from './questions.ts'

/** In words, why an agent that is online has not answered. */
export const whyUnanswered: Record<Unanswered, Required<Pick<CheckFinding, 'detail' | 'advice'>>> = {
  not_here: {
    detail: 'it is not connected right now',
    advice: 'ask again in a moment; if that does not change, look whether it runs, and into its log',
  },
  silent: {
    detail: 'it did not answer in time',
    advice: 'ask again; if it never answers, look into its log, and update it if it is older than this API',
  },
}
