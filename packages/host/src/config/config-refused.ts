/** The configuration cannot be used. Its message is for the operator: one line for each reason, and no secret. */
export class ConfigRefused extends Error {
  override readonly name = 'ConfigRefused'
  readonly reasons: readonly string[]

  constructor(reasons: readonly string[]) {
    super(reasons.join('\n'))
    this.reasons = reasons
  }
}
