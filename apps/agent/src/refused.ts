/** The API knows this agent, its token or its protocol no more: only its operator can mend that. */
export class Refused extends Error {
  override readonly name = 'Refused'
}
